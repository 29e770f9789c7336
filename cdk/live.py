"""Live: the WebSocket API, the registry of its connections, and the broadcaster that sends events to them."""

from aws_cdk import Duration, Stack
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_apigatewayv2_authorizers as authorizers
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda_event_sources as event_sources
from aws_cdk import aws_sns as sns
from constructs import Construct

from cdk.acknowledge import acknowledge
from cdk.data import DataStack
from cdk.feed import Feed
from cdk.function import Function
from cdk.output import output
from cdk.queue import Queue
from cdk.route_throttle import throttle_route
from cdk.settings import Settings, Throttle

STAGE = "live"
# Of the account's API Gateway requests, broadcasting makes at most this part.
BROADCAST_SHARE = 0.95


class Live(Construct):
    """What a viewer's WebSocket talks to."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        topic: sns.ITopic,
        data: DataStack,
    ) -> None:
        super().__init__(scope, id_)
        self.api = apigateway.WebSocketApi(
            self,
            "Api",
            api_name=f"fanfare-{settings.stage}-live",
            route_selection_expression="$request.body.action",
        )
        stage = apigateway.WebSocketStage(
            self,
            "Stage",
            web_socket_api=self.api,
            stage_name=STAGE,
            auto_deploy=True,
            throttle=apigateway.ThrottleSettings(
                rate_limit=settings.websocket_throttle.rate, burst_limit=settings.websocket_throttle.burst
            ),
        )
        acknowledge(
            stage,
            "APIG1",
            because="Its access logs take a role that the account's stages share, and the functions log each "
            "connection anyway.",
        )
        names = {"api_id": self.api.api_id, "region": Stack.of(self).region, "stage": STAGE}
        self.url = settings.addresses.websocket.format(**names)
        output(self, "WebSocketUrl", self.url)
        self.connections_endpoint = settings.addresses.connections.format(**names)
        ping = self._add_routes(settings, data, self.connections_endpoint)
        throttle = settings.websocket_throttle
        # Who has connected at that rate pings at the same rate later, beside those who were there before.
        throttle_route(stage, ping, "ping", Throttle(rate=2 * throttle.rate, burst=2 * throttle.burst))
        self._add_broadcaster(settings, topic, data.connections, data.inboxes, self.connections_endpoint)

    def _add_routes(self, settings: Settings, data: DataStack, endpoint: str) -> apigateway.WebSocketRoute:
        """The four routes with their functions; returns that of pings."""
        authorizer = Function(
            self,
            "Authorizer",
            settings,
            environment={"TICKETS_TABLE": data.tickets.table_name},
            timeout=Duration.seconds(5),
            memory_mb=512,
        )
        authorizer.allow("dynamodb:DeleteItem", on=data.tickets.table_arn)
        connection = Function(
            self,
            "Connection",
            settings,
            environment={
                "CONNECTIONS_TABLE": data.connections.table_name,
                "CONNECTIONS_ENDPOINT": endpoint,
                "OVERLAYS_TABLE": data.overlays.table_name,
                "VIEWERS_TABLE": data.viewers.table_name,
                "CONNECTIONS_PER_VIEWER": str(settings.viewer_limits.connections),
                "CONNECTIONS_PER_CHANNEL": str(settings.viewer_limits.connections_per_channel),
            },
            timeout=Duration.seconds(5),
            memory_mb=512,
        )
        connection.allow("dynamodb:DeleteItem", "dynamodb:PutItem", on=data.connections.table_arn)
        connection.allow(
            "dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:Query", on=data.viewers.table_arn
        )
        connection.allow("dynamodb:GetItem", on=data.overlays.table_arn)
        self.allow_posting_and_closing(connection)
        routes = connection.entry()
        self.api.add_route(
            "$connect",
            integration=integrations.WebSocketLambdaIntegration("Connect", routes),
            authorizer=authorizers.WebSocketLambdaAuthorizer(
                "TicketAuthorizer", authorizer.entry(), identity_source=["route.request.querystring.ticket"]
            ),
        )
        added = {}
        for key, name in (("$disconnect", "Disconnect"), ("ping", "Ping"), ("$default", "UnknownAction")):
            added[key] = route = self.api.add_route(
                key,
                integration=integrations.WebSocketLambdaIntegration(name, routes),
                return_response=key != "$disconnect",
            )
            acknowledge(route, "APIG4", because="A WebSocket API authorizes once, on $connect.")
        return added["ping"]

    def _add_broadcaster(
        self,
        settings: Settings,
        topic: sns.ITopic,
        connections: dynamodb.ITable,
        inboxes: dynamodb.ITable,
        endpoint: str,
    ) -> None:
        """The broadcaster and its two queues (docs/live.md)."""
        # A message that failed comes again after 2 to 8 seconds: 18 tries take about two minutes.
        tries = 18
        self.feed = Feed(
            self,
            "Feed",
            settings,
            topic=topic,
            name="broadcast",
            max_receive_count=tries,
            # The message of an invocation that died comes again when that has certainly ended. The function's
            # concurrency is reserved, so nobody is throttled.
            visibility_timeout=Duration.seconds(20),
        )
        self.fan_out = Queue(
            self,
            "FanOut",
            settings,
            name="fan-out",
            max_receive_count=tries,
            # Then the lease has ended, too, also one that was taken to hand a part over
            # (lambdas/live/serving.py).
            visibility_timeout=Duration.seconds(30),
        )
        broadcaster = Function(
            self,
            "Broadcaster",
            settings,
            environment={
                "CONNECTIONS_TABLE": connections.table_name,
                "INBOXES_TABLE": inboxes.table_name,
                "CONNECTIONS_ENDPOINT": endpoint,
                "BROADCAST_QUEUE_URL": self.feed.queue.queue_url,
                "FAN_OUT_QUEUE_URL": self.fan_out.queue.queue_url,
                # The rest is for deliveries, viewers who come, and pings.
                "POSTS_PER_SECOND": str(round(BROADCAST_SHARE * settings.api_requests)),
            },
            timeout=Duration.seconds(15),
            # A whole CPU: signing and encrypting is what takes its time.
            # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
            memory_mb=1769,
            # Its own share, and no more: what the webhook needs is left to the webhook.
            concurrency=settings.broadcast_concurrency + settings.fan_out_concurrency,
        )
        broadcaster.allow("dynamodb:BatchWriteItem", "dynamodb:Query", on=connections.table_arn)
        broadcaster.allow(
            "dynamodb:BatchWriteItem",
            "dynamodb:DeleteItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
            on=inboxes.table_arn,
        )
        broadcaster.allow("sqs:SendMessage", on=self.fan_out.queue.queue_arn)
        self.allow_posting_and_closing(broadcaster)
        # Small batches without a window: an event waits for nothing.
        broadcaster.add_event_source(
            event_sources.SqsEventSource(
                self.feed.queue,
                batch_size=10,
                max_concurrency=settings.broadcast_concurrency,
                report_batch_item_failures=True,
            )
        )
        # Each part of an audience has an invocation to itself while it is served.
        broadcaster.add_event_source(
            event_sources.SqsEventSource(
                self.fan_out.queue,
                batch_size=1,
                max_concurrency=settings.fan_out_concurrency,
                report_batch_item_failures=True,
            )
        )

    def allow_posting_and_closing(self, function: Function) -> None:
        """Let the function post to connections and close them."""
        for method in ("DELETE", "POST"):
            function.allow(
                "execute-api:ManageConnections",
                on=Stack.of(self).format_arn(
                    service="execute-api",
                    resource=self.api.api_id,
                    resource_name=f"{STAGE}/{method}/@connections/*",
                ),
                any_because="Connections get their ids when they are opened.",
            )
