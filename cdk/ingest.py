"""Ingest: the public webhook that verifies Twitch's deliveries, and the topic it publishes them on."""

from aws_cdk import Duration
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from cdk.acknowledge import acknowledge
from cdk.function import Function
from cdk.queue import Queue
from cdk.settings import Settings

WEBHOOK_PATH = "/webhooks/twitch"


class Ingest(Construct):
    """``POST /webhooks/twitch`` and the topic ``events`` behind it."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        api: apigateway.HttpApi,
        webhook_secret: secretsmanager.ISecret,
    ) -> None:
        super().__init__(scope, id_)
        # The key that AWS manages for SNS: publishers need no grant on it, and the queues have their own.
        self.topic = sns.Topic(
            self,
            "Events",
            topic_name=f"fanfare-{settings.stage}-events",
            master_key=kms.Alias.from_alias_name(self, "SnsKey", "alias/aws/sns"),
            enforce_ssl=True,
        )
        self.webhook = Function(
            self,
            "Webhook",
            settings,
            handler="lambdas.handlers.webhook.handler",
            environment={
                "EVENTS_TOPIC_ARN": self.topic.topic_arn,
                "WEBHOOK_SECRET_ARN": webhook_secret.secret_arn,
            },
            # Twitch waits a few seconds; 512 MB is what makes a cold start fit.
            timeout=Duration.seconds(5),
            memory_mb=512,
        )
        self.webhook.allow("sns:Publish", on=self.topic.topic_arn)
        self.webhook.allow("secretsmanager:GetSecretValue", on=webhook_secret.secret_arn)
        (route,) = api.add_routes(
            path=WEBHOOK_PATH,
            methods=[apigateway.HttpMethod.POST],
            integration=integrations.HttpLambdaIntegration("WebhookIntegration", self.webhook.entry()),
        )
        acknowledge(route, "APIG4", because="Twitch signs its deliveries; the function checks the signature.")


class Feed(Queue):
    """A queue of the topic's notifications for one consumer."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        topic: sns.ITopic,
        name: str,
        timeout: Duration,
        max_receive_count: int = 5,
    ) -> None:
        """``timeout`` is the consumer's; a message that it failed so many times is given up."""
        super().__init__(
            scope, id_, settings, name=name, timeout=timeout, max_receive_count=max_receive_count
        )
        topic.add_subscription(
            subscriptions.SqsSubscription(
                self.queue,
                raw_message_delivery=True,
                filter_policy=only("notification"),
                # What SNS cannot hand to the queue ends where the rest of the failures do.
                dead_letter_queue=self.dead_letters,
            )
        )


def only(*message_types: str) -> dict[str, sns.SubscriptionFilter]:
    """Filter policy that lets only these ``message_type`` pass."""
    return {"message_type": sns.SubscriptionFilter.string_filter(allowlist=[*message_types])}
