"""Ingest: the public webhook that verifies Twitch's deliveries, and the topic it publishes them on."""

from aws_cdk import Duration
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from constructs import Construct

from cdk.data import DataStack
from cdk.function import Function
from cdk.http_api import HttpApi
from cdk.output import output
from cdk.settings import Settings

WEBHOOK_PATH = "/webhooks/twitch"
WEBHOOK_ROUTE = f"POST {WEBHOOK_PATH}"


class Ingest(Construct):
    """``POST /webhooks/twitch`` and the topic ``events`` behind it."""

    def __init__(
        self, scope: Construct, id_: str, settings: Settings, *, api: HttpApi, data: DataStack
    ) -> None:
        super().__init__(scope, id_)
        self.webhook_url = f"{api.base_url}{WEBHOOK_PATH}"
        # With the key that AWS manages for SNS, publishers need no grant on a key.
        self.topic = sns.Topic(
            self,
            "Events",
            topic_name=f"fanfare-{settings.stage}-events",
            master_key=kms.Alias.from_alias_name(self, "SnsKey", "alias/aws/sns"),
            enforce_ssl=True,
        )
        output(self, "WebhookUrl", self.webhook_url)
        output(self, "EventsTopicArn", self.topic.topic_arn)
        webhook = Function(
            self,
            "Webhook",
            settings,
            environment={
                "EVENTS_TOPIC_ARN": self.topic.topic_arn,
                "WEBHOOK_SECRET_ARN": data.webhook_secret.secret_arn,
            },
            # Twitch waits a few seconds; with 512 MB a cold start takes less.
            timeout=Duration.seconds(5),
            memory_mb=512,
        )
        webhook.allow("sns:Publish", on=self.topic.topic_arn)
        webhook.allow_reading(data.webhook_secret)
        api.route_to(
            webhook,
            {WEBHOOK_ROUTE: None},
            open_because="Twitch signs its deliveries; the function checks the signature.",
            throttle=settings.webhook_throttle,
        )
