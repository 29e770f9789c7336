"""Ingest: the public webhook that verifies Twitch's deliveries, and the topic it publishes them on."""

from aws_cdk import Duration
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk.acknowledge import acknowledge
from cdk.function import Function
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
            handler="lambdas.ingest.webhook.handler",
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


class Feed(Construct):
    """A queue of the topic's notifications for one consumer, with a dead-letter queue and its alarm."""

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
        super().__init__(scope, id_)
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            queue_name=f"fanfare-{settings.stage}-{name}-dead-letters",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=f"fanfare-{settings.stage}-{name}",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            # As long as dead letters: whoever has to stop the consumer has that time to bring it back.
            retention_period=Duration.days(14),
            # Six times the function's: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
            visibility_timeout=Duration.seconds(6 * timeout.to_seconds()),
            dead_letter_queue=sqs.DeadLetterQueue(
                queue=self.dead_letters, max_receive_count=max_receive_count
            ),
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
        self.alarm = cloudwatch.Alarm(
            self,
            "DeadLettersAlarm",
            alarm_name=f"fanfare-{settings.stage}-{name}-dead-letters",
            alarm_description=f"Events that could not be handled wait in the {name} dead-letter queue.",
            metric=self.dead_letters.metric_approximate_number_of_messages_visible(
                period=Duration.minutes(1), statistic="Maximum"
            ),
            threshold=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )


def only(*message_types: str) -> dict[str, sns.SubscriptionFilter]:
    """Filter policy that lets only these ``message_type`` pass."""
    return {"message_type": sns.SubscriptionFilter.string_filter(allowlist=[*message_types])}
