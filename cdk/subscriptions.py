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
from constructs import Construct

from cdk.function import Function
from cdk.ingest import only
from cdk.packaging import topic_table
from cdk.settings import Settings


class Subscriptions(Construct):
    """``POST /api/channels/{login}/watch``, the reconciler and the revocations."""

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
        tickets: dynamodb.ITable,
        twitch_secret: secretsmanager.ISecret,
        webhook_secret: secretsmanager.ISecret,
        webhook_url: str,
        websocket_url: str,
    ) -> None:
        """``viewers`` admits who is signed in; ``webhook_url`` is where Twitch delivers."""
        super().__init__(scope, id_)
        twitch = {
            "TWITCH_SECRET_ARN": twitch_secret.secret_arn,
            "TWITCH_API_URL": settings.twitch.api_url,
            "TWITCH_AUTH_URL": settings.twitch.auth_url,
            "WEBHOOK_URL": webhook_url,
            "CHANNELS_TABLE": channels.table_name,
        }
        # A secret's ARN ends in six characters of AWS's that its name does not tell.
        twitch_secret_arn = f"{twitch_secret.secret_arn}-??????"

        watch = Function(
            self,
            "Watch",
            settings,
            handler="lambdas.subscriptions.watch.handler",
            environment={
                **twitch,
                "TICKETS_TABLE": tickets.table_name,
                "WEBHOOK_SECRET_ARN": webhook_secret.secret_arn,
                "WEBSOCKET_URL": websocket_url,
            },
            files=topic_table(),
            timeout=Duration.seconds(15),
            memory_mb=512,
        )
        watch.allow("dynamodb:UpdateItem", on=channels.table_arn)
        watch.allow("dynamodb:PutItem", on=tickets.table_arn)
        watch.allow("secretsmanager:GetSecretValue", on=twitch_secret_arn)
        watch.allow("secretsmanager:GetSecretValue", on=webhook_secret.secret_arn)
        api.add_routes(
            path="/api/channels/{login}/watch",
            methods=[apigateway.HttpMethod.POST],
            integration=integrations.HttpLambdaIntegration("WatchIntegration", watch),
            authorizer=viewers,
        )

        reconciler = Function(
            self,
            "Reconciler",
            settings,
            handler="lambdas.subscriptions.reconciler.handler",
            environment={
                **twitch,
                "CONNECTIONS_TABLE": connections.table_name,
                "GRACE_PERIOD_SECONDS": str(settings.grace_period_seconds),
            },
            files=topic_table(),
            timeout=Duration.minutes(4),
        )
        reconciler.allow(
            "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:UpdateItem", on=channels.table_arn
        )
        reconciler.allow("dynamodb:Query", on=connections.table_arn)
        reconciler.allow("secretsmanager:GetSecretValue", on=twitch_secret_arn)
        events.Rule(
            self,
            "ReconcilerSchedule",
            schedule=events.Schedule.rate(Duration.minutes(5)),
            # The next run does what a failed one left.
            targets=[targets.LambdaFunction(reconciler, retry_attempts=0)],
        )

        revocations = Function(
            self,
            "Revocations",
            settings,
            handler="lambdas.subscriptions.revocations.handler",
            environment={"CHANNELS_TABLE": channels.table_name},
            files=topic_table(),
            timeout=Duration.seconds(10),
        )
        revocations.allow("dynamodb:UpdateItem", on=channels.table_arn)
        # No dead-letter queue: the reconciler finds every revocation in Twitch's own list, too.
        topic.add_subscription(
            sns_subscriptions.LambdaSubscription(revocations, filter_policy=only("revocation"))
        )
