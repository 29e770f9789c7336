"""Subscriptions: what Twitch is asked to deliver; ``watch``, and the functions that keep it so."""

from aws_cdk import Duration
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns_subscriptions as sns_subscriptions
from constructs import Construct

from cdk.data import DataStack
from cdk.feed import message_types
from cdk.function import Function
from cdk.http_api import HttpApi
from cdk.identity import STREAMER_PROVIDER
from cdk.ingest import Ingest
from cdk.live import Live
from cdk.packaging import subscription_types_file
from cdk.settings import Settings


class Subscriptions(Construct):
    """The routes to watch a channel and to make overlay keys, the reconciler, and Twitch's notices."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        api: HttpApi,
        viewers: apigateway.IHttpRouteAuthorizer,
        ingest: Ingest,
        live: Live,
        data: DataStack,
    ) -> None:
        """``viewers`` admits requests of viewers who are signed in."""
        super().__init__(scope, id_)
        self._settings, self._data = settings, data
        self._webhook_url = ingest.webhook_url
        # To tell viewers when a channel's subscriptions change.
        self._broadcast = live.feed.queue
        self._twitch_secret = secretsmanager.Secret.from_secret_name_v2(
            self, "TwitchSecret", settings.twitch_secret_name
        )
        self._add_watch(api, viewers, live.url)
        self._add_overlay(api, viewers)
        self._add_reconciler()
        self._add_notices(ingest)

    def _add_watch(self, api: HttpApi, viewers: apigateway.IHttpRouteAuthorizer, websocket_url: str) -> None:
        data = self._data
        watch = self._function(
            "Watch",
            calls_twitch=True,
            environment={
                "TICKETS_TABLE": data.tickets.table_name,
                "OVERLAYS_TABLE": data.overlays.table_name,
                "VIEWERS_TABLE": data.viewers.table_name,
                "STREAMER_PROVIDER": STREAMER_PROVIDER,
                "WEBSOCKET_URL": websocket_url,
                "CHANNELS_PER_VIEWER": str(self._settings.viewer_limits.channels),
                "GRACE_PERIOD_SECONDS": str(self._settings.grace_period_seconds),
            },
            # API Gateway's own limit.
            timeout=Duration.seconds(29),
        )
        watch.allow(
            "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:UpdateItem", on=data.channels.table_arn
        )
        watch.allow("dynamodb:Query", on=f"{data.channels.table_arn}/index/login")
        watch.allow("dynamodb:Query", "dynamodb:UpdateItem", on=data.grants.table_arn)
        watch.allow("dynamodb:GetItem", on=data.overlays.table_arn)
        watch.allow("dynamodb:PutItem", on=data.tickets.table_arn)
        watch.allow("dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:Query", on=data.viewers.table_arn)
        api.route_to(
            watch,
            {
                "POST /api/channels/{login}/watch": viewers,
                # Nobody can sign in inside OBS: the function checks a key.
                "POST /api/overlays/{login}/watch": api.through_cloudfront,
            },
        )

    def _add_overlay(self, api: HttpApi, viewers: apigateway.IHttpRouteAuthorizer) -> None:
        overlays = self._data.overlays
        overlay = Function(
            self,
            "Overlay",
            self._settings,
            environment={"OVERLAYS_TABLE": overlays.table_name},
            timeout=Duration.seconds(10),
        )
        overlay.allow("dynamodb:DeleteItem", "dynamodb:PutItem", on=overlays.table_arn)
        routes = (f"{method} /api/overlays/{{login}}/key" for method in ("POST", "DELETE"))
        api.route_to(overlay, dict.fromkeys(routes, viewers))

    def _add_reconciler(self) -> None:
        data = self._data
        reconciler = self._function(
            "Reconciler",
            calls_twitch=True,
            environment={
                "CONNECTIONS_TABLE": data.connections.table_name,
                "GRACE_PERIOD_SECONDS": str(self._settings.grace_period_seconds),
            },
            timeout=Duration.minutes(4),
        )
        reconciler.allow(
            *(f"dynamodb:{action}" for action in ("DeleteItem", "GetItem", "Scan", "UpdateItem")),
            on=data.channels.table_arn,
        )
        reconciler.allow("dynamodb:Scan", on=data.connections.table_arn)
        reconciler.allow("dynamodb:Scan", "dynamodb:UpdateItem", on=data.grants.table_arn)
        # What a failed run left is done by the next one.
        reconciler.run_every(Duration.minutes(5), retry_attempts=0)

    def _add_notices(self, ingest: Ingest) -> None:
        notices = self._function("Notices", timeout=Duration.seconds(10))
        notices.allow("dynamodb:GetItem", "dynamodb:UpdateItem", on=self._data.channels.table_arn)
        notices.allow("dynamodb:Query", "dynamodb:UpdateItem", on=self._data.grants.table_arn)
        # Without a dead-letter queue: the reconciler finds the same in Twitch's list of subscriptions.
        ingest.topic.add_subscription(
            sns_subscriptions.LambdaSubscription(
                notices, filter_policy=message_types("revocation", "webhook_callback_verification")
            )
        )

    def _function(
        self,
        id_: str,
        *,
        timeout: Duration,
        environment: dict[str, str] | None = None,
        calls_twitch: bool = False,
    ) -> Function:
        """A function that changes channels' state and tells viewers of it."""
        twitch = {
            "TWITCH_SECRET_ARN": self._twitch_secret.secret_arn,
            "TWITCH_API_URL": self._settings.twitch.api_url,
            "TWITCH_AUTH_URL": self._settings.twitch.auth_url,
            "WEBHOOK_SECRET_ARN": self._data.webhook_secret.secret_arn,
            "WEBHOOK_URL": self._webhook_url,
        }
        function = Function(
            self,
            id_,
            self._settings,
            environment={
                "CHANNELS_TABLE": self._data.channels.table_name,
                "GRANTS_TABLE": self._data.grants.table_name,
                "BROADCAST_QUEUE_URL": self._broadcast.queue_url,
                **(twitch if calls_twitch else {}),
                **(environment or {}),
            },
            files=subscription_types_file(),
            timeout=timeout,
            memory_mb=512 if calls_twitch else 256,
        )
        function.allow("sqs:SendMessage", on=self._broadcast.queue_arn)
        if calls_twitch:
            function.allow_reading(self._twitch_secret)
            function.allow_reading(self._data.webhook_secret)
        return function
