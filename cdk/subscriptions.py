"""Subscriptions: what Twitch is asked to deliver; `watch`, and the functions that keep it true afterwards."""

from aws_cdk import Duration
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as sns_subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk.acknowledge import acknowledge
from cdk.function import Function
from cdk.identity import STREAMER_PROVIDER
from cdk.ingest import only
from cdk.packaging import topic_table
from cdk.settings import Settings


class Subscriptions(Construct):
    """``POST /api/channels/{login}/watch``, the reconciler, and Twitch's notices about subscriptions."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        api: apigateway.HttpApi,
        viewers: apigateway.IHttpRouteAuthorizer,
        topic: sns.ITopic,
        channels: dynamodb.ITable,
        connections: dynamodb.ITable,
        grants: dynamodb.ITable,
        tickets: dynamodb.ITable,
        overlays: dynamodb.ITable,
        broadcast: sqs.IQueue,
        twitch_secret: secretsmanager.ISecret,
        webhook_secret: secretsmanager.ISecret,
        webhook_url: str,
        websocket_url: str,
    ) -> None:
        """``viewers`` admits who is signed in; ``webhook_url`` is where Twitch delivers.

        ``broadcast`` leads to the viewers, who are told when a channel's topics change.
        """
        super().__init__(scope, id_)
        state = {
            "CHANNELS_TABLE": channels.table_name,
            "GRANTS_TABLE": grants.table_name,
            "BROADCAST_QUEUE_URL": broadcast.queue_url,
        }
        twitch = {
            "TWITCH_SECRET_ARN": twitch_secret.secret_arn,
            "TWITCH_API_URL": settings.twitch.api_url,
            "TWITCH_AUTH_URL": settings.twitch.auth_url,
            "WEBHOOK_SECRET_ARN": webhook_secret.secret_arn,
            "WEBHOOK_URL": webhook_url,
        }
        # A secret's ARN ends in six characters of AWS's that its name does not tell.
        twitch_secret_arn = f"{twitch_secret.secret_arn}-??????"

        watch = Function(
            self,
            "Watch",
            settings,
            handler="lambdas.handlers.watch.handler",
            environment={
                **state,
                **twitch,
                "TICKETS_TABLE": tickets.table_name,
                "OVERLAYS_TABLE": overlays.table_name,
                "STREAMER_PROVIDER": STREAMER_PROVIDER,
                "WEBSOCKET_URL": websocket_url,
            },
            files=topic_table(),
            # What API Gateway waits for, at most.
            timeout=Duration.seconds(29),
            memory_mb=512,
        )
        watch.allow("dynamodb:DeleteItem", "dynamodb:UpdateItem", on=channels.table_arn)
        watch.allow("dynamodb:Query", on=f"{channels.table_arn}/index/login")
        watch.allow("dynamodb:Query", "dynamodb:UpdateItem", on=grants.table_arn)
        watch.allow("sqs:SendMessage", on=broadcast.queue_arn)
        watch.allow("dynamodb:GetItem", on=overlays.table_arn)
        watch.allow("dynamodb:PutItem", on=tickets.table_arn)
        watch.allow("secretsmanager:GetSecretValue", on=twitch_secret_arn)
        watch.allow("secretsmanager:GetSecretValue", on=webhook_secret.secret_arn)
        watches = integrations.HttpLambdaIntegration("WatchIntegration", watch.entry())
        api.add_routes(
            path="/api/channels/{login}/watch",
            methods=[apigateway.HttpMethod.POST],
            integration=watches,
            authorizer=viewers,
        )
        (route,) = api.add_routes(
            path="/api/overlays/{login}/watch", methods=[apigateway.HttpMethod.POST], integration=watches
        )
        acknowledge(route, "APIG4", because="Nobody can sign in inside OBS: the function checks a key.")

        overlay = Function(
            self,
            "Overlay",
            settings,
            handler="lambdas.handlers.overlay.handler",
            environment={"OVERLAYS_TABLE": overlays.table_name},
            timeout=Duration.seconds(10),
        )
        overlay.allow("dynamodb:DeleteItem", "dynamodb:PutItem", on=overlays.table_arn)
        api.add_routes(
            path="/api/overlays/{login}/key",
            methods=[apigateway.HttpMethod.POST, apigateway.HttpMethod.DELETE],
            integration=integrations.HttpLambdaIntegration("OverlayIntegration", overlay.entry()),
            authorizer=viewers,
        )

        reconciler = Function(
            self,
            "Reconciler",
            settings,
            handler="lambdas.handlers.reconciler.handler",
            environment={
                **state,
                **twitch,
                "CONNECTIONS_TABLE": connections.table_name,
                "GRACE_PERIOD_SECONDS": str(settings.grace_period_seconds),
            },
            files=topic_table(),
            timeout=Duration.minutes(4),
            memory_mb=512,
        )
        reconciler.allow(
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:Scan",
            "dynamodb:UpdateItem",
            on=channels.table_arn,
        )
        reconciler.allow("dynamodb:Scan", on=connections.table_arn)
        reconciler.allow("dynamodb:Scan", "dynamodb:UpdateItem", on=grants.table_arn)
        reconciler.allow("sqs:SendMessage", on=broadcast.queue_arn)
        reconciler.allow("secretsmanager:GetSecretValue", on=webhook_secret.secret_arn)
        reconciler.allow("secretsmanager:GetSecretValue", on=twitch_secret_arn)
        events.Rule(
            self,
            "ReconcilerSchedule",
            schedule=events.Schedule.rate(Duration.minutes(5)),
            # The next run does what a failed one left.
            targets=[targets.LambdaFunction(reconciler, retry_attempts=0)],
        )

        notices = Function(
            self,
            "Notices",
            settings,
            handler="lambdas.handlers.notices.handler",
            environment=state,
            files=topic_table(),
            timeout=Duration.seconds(10),
        )
        notices.allow("dynamodb:GetItem", "dynamodb:UpdateItem", on=channels.table_arn)
        notices.allow("dynamodb:Query", "dynamodb:UpdateItem", on=grants.table_arn)
        notices.allow("sqs:SendMessage", on=broadcast.queue_arn)
        # No dead-letter queue: the reconciler finds all of it in Twitch's own list, too.
        topic.add_subscription(
            sns_subscriptions.LambdaSubscription(
                notices, filter_policy=only("revocation", "webhook_callback_verification")
            )
        )
