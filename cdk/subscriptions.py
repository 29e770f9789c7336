"""Subscriptions: what Twitch is asked to deliver; ``watch``, and the functions that make and keep it so."""

from aws_cdk import Duration
from aws_cdk import aws_lambda_event_sources as event_sources
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns_subscriptions as sns_subscriptions
from constructs import Construct

from cdk.data import DataStack
from cdk.feed import message_types
from cdk.function import Function
from cdk.http_api import HttpApi
from cdk.identity import Identity
from cdk.ingest import Ingest
from cdk.live import Live
from cdk.packaging import subscription_types_file
from cdk.queue import Queue
from cdk.settings import Settings

SUBSCRIBER_TIMEOUT = Duration.seconds(60)


class Subscriptions(Construct):
    """The routes to watch a channel and to make overlay keys, what asks Twitch, and Twitch's notices."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        api: HttpApi,
        identity: Identity,
        ingest: Ingest,
        live: Live,
        data: DataStack,
    ) -> None:
        super().__init__(scope, id_)
        self._settings, self._data, self._live = settings, data, live
        self._webhook_url = ingest.webhook_url
        # To tell viewers when a channel's subscriptions change.
        self._broadcast = live.feed.queue
        self._twitch_secret = secretsmanager.Secret.from_secret_name_v2(
            self, "TwitchSecret", settings.twitch_secret_name
        )
        self._requests = Queue(
            self,
            "Requests",
            settings,
            name="subscribe",
            # Counts our own errors only: what Twitch refused is requested again by a new message.
            max_receive_count=5,
            visibility_timeout=SUBSCRIBER_TIMEOUT,
        )
        self._add_watch(api, identity)
        self._add_overlay(api, identity)
        self._add_subscriber()
        self._add_reconciler(identity)
        self._add_notices(ingest, identity)

    def _add_watch(self, api: HttpApi, identity: Identity) -> None:
        data = self._data
        watch = self._function(
            "Watch",
            environment={
                **self._finds_channels(),
                "GRANTS_TABLE": data.grants.table_name,
                "SUBSCRIBE_QUEUE_URL": self._requests.queue.queue_url,
                "TICKETS_TABLE": data.tickets.table_name,
                "OVERLAYS_TABLE": data.overlays.table_name,
                "WEBSOCKET_URL": self._live.url,
            },
            # It asks Twitch which channel a login is, for two seconds at most.
            timeout=Duration.seconds(15),
        )
        self._allow_finding_channels(watch)
        watch.allow("dynamodb:Query", "dynamodb:UpdateItem", on=data.grants.table_arn)
        watch.allow("dynamodb:GetItem", on=data.overlays.table_arn)
        watch.allow("dynamodb:PutItem", on=data.tickets.table_arn)
        watch.allow("sqs:SendMessage", on=self._requests.queue.queue_arn)
        api.route_to(
            watch,
            {
                "POST /api/channels/{login}/watch": identity.protects(watch),
                # Nobody can sign in inside OBS: the function checks a key.
                "POST /api/overlays/{login}/watch": api.through_cloudfront,
            },
        )

    def _add_overlay(self, api: HttpApi, identity: Identity) -> None:
        data = self._data
        overlay = self._function(
            "Overlay",
            environment={
                **self._finds_channels(),
                "CONNECTIONS_ENDPOINT": self._live.connections_endpoint,
                "CONNECTIONS_TABLE": data.connections.table_name,
                "OVERLAYS_TABLE": data.overlays.table_name,
            },
            timeout=Duration.seconds(15),
        )
        self._allow_finding_channels(overlay)
        overlay.allow("dynamodb:DeleteItem", on=data.connections.table_arn)
        overlay.allow("dynamodb:DeleteItem", "dynamodb:PutItem", on=data.overlays.table_arn)
        self._live.allow_posting_and_closing(overlay)
        routes = (f"{method} /api/overlays/{{login}}/key" for method in ("POST", "DELETE"))
        api.route_to(overlay, dict.fromkeys(routes, identity.protects(overlay)))

    def _add_subscriber(self) -> None:
        data = self._data
        subscriber = self._function(
            "Subscriber",
            environment={**self._asks_twitch(), **self._subscribes()},
            timeout=SUBSCRIBER_TIMEOUT,
        )
        self._allow_subscribing(subscriber)
        subscriber.allow(
            "dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:UpdateItem", on=data.grants.table_arn
        )
        subscriber.add_event_source(
            event_sources.SqsEventSource(
                self._requests.queue,
                # A channel takes two seconds for each of four steps at most, when Twitch does not answer.
                batch_size=5,
                max_concurrency=10,
                report_batch_item_failures=True,
            )
        )

    def _add_reconciler(self, identity: Identity) -> None:
        data = self._data
        reconciler = self._function(
            "Reconciler",
            environment={
                **self._asks_twitch(),
                **self._subscribes(),
                "CONNECTIONS_TABLE": data.connections.table_name,
                "GRACE_PERIOD_SECONDS": str(self._settings.grace_period_seconds),
            },
            timeout=Duration.minutes(4),
        )
        self._allow_subscribing(reconciler)
        reconciler.allow("dynamodb:DeleteItem", "dynamodb:Scan", on=data.channels.table_arn)
        reconciler.allow("dynamodb:Scan", on=data.connections.table_arn)
        reconciler.allow("dynamodb:Query", on=data.grants.table_arn)
        reconciler.allow("dynamodb:PutItem", on=data.twitch.table_arn)
        identity.tells_disconnections(reconciler)
        # What a failed run left is done by the next one.
        reconciler.run_every(Duration.minutes(5), retry_attempts=0)

    def _add_notices(self, ingest: Ingest, identity: Identity) -> None:
        data = self._data
        notices = self._function(
            "Notices",
            environment={
                "CHANNELS_TABLE": data.channels.table_name,
                "GRANTS_TABLE": data.grants.table_name,
                "BROADCAST_QUEUE_URL": self._broadcast.queue_url,
            },
            timeout=Duration.seconds(10),
            memory_mb=256,
        )
        notices.allow("dynamodb:GetItem", "dynamodb:UpdateItem", on=data.channels.table_arn)
        notices.allow(
            "dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:UpdateItem", on=data.grants.table_arn
        )
        notices.allow("sqs:SendMessage", on=self._broadcast.queue_arn)
        identity.ends_sessions(notices)
        # Without a dead-letter queue: the reconciler finds the same in Twitch's list of subscriptions.
        ingest.topic.add_subscription(
            sns_subscriptions.LambdaSubscription(
                notices,
                filter_policy=message_types("disconnection", "revocation", "webhook_callback_verification"),
            )
        )

    def _function(
        self, id_: str, *, timeout: Duration, environment: dict[str, str], memory_mb: int = 512
    ) -> Function:
        return Function(
            self,
            id_,
            self._settings,
            environment=environment,
            files=subscription_types_file(),
            timeout=timeout,
            memory_mb=memory_mb,
        )

    def _asks_twitch(self) -> dict[str, str]:
        return {
            "TWITCH_TABLE": self._data.twitch.table_name,
            "TWITCH_SECRET_ARN": self._twitch_secret.secret_arn,
            "TWITCH_API_URL": self._settings.twitch.api_url,
            "TWITCH_AUTH_URL": self._settings.twitch.auth_url,
        }

    def _allow_asking_twitch(self, function: Function) -> None:
        function.allow("dynamodb:GetItem", "dynamodb:UpdateItem", on=self._data.twitch.table_arn)
        function.allow_reading(self._twitch_secret)

    def _finds_channels(self) -> dict[str, str]:
        """What a function needs that finds channels for viewers, who may follow so many."""
        return {
            **self._asks_twitch(),
            "CHANNELS_TABLE": self._data.channels.table_name,
            "VIEWERS_TABLE": self._data.viewers.table_name,
            "CHANNELS_PER_VIEWER": str(self._settings.viewer_limits.channels),
            "GRACE_PERIOD_SECONDS": str(self._settings.grace_period_seconds),
        }

    def _allow_finding_channels(self, function: Function) -> None:
        data = self._data
        self._allow_asking_twitch(function)
        function.allow("dynamodb:PutItem", on=data.twitch.table_arn)
        function.allow("dynamodb:GetItem", "dynamodb:UpdateItem", on=data.channels.table_arn)
        function.allow("dynamodb:Query", on=f"{data.channels.table_arn}/index/login")
        function.allow("dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:Query", on=data.viewers.table_arn)

    def _subscribes(self) -> dict[str, str]:
        """What a function needs that changes channels' subscriptions and tells viewers of it."""
        return {
            "CHANNELS_TABLE": self._data.channels.table_name,
            "GRANTS_TABLE": self._data.grants.table_name,
            "BROADCAST_QUEUE_URL": self._broadcast.queue_url,
            "SUBSCRIBE_QUEUE_URL": self._requests.queue.queue_url,
            "WEBHOOK_SECRET_ARN": self._data.webhook_secret.secret_arn,
            "WEBHOOK_URL": self._webhook_url,
        }

    def _allow_subscribing(self, function: Function) -> None:
        self._allow_asking_twitch(function)
        function.allow("dynamodb:GetItem", "dynamodb:UpdateItem", on=self._data.channels.table_arn)
        function.allow("sqs:SendMessage", on=self._broadcast.queue_arn)
        function.allow("sqs:SendMessage", on=self._requests.queue.queue_arn)
        function.allow_reading(self._data.webhook_secret)
