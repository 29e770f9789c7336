"""The scheduled run that makes Twitch's subscriptions and the channels table what they should be."""

import dataclasses
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.aws import Client
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.common.topics_frame import TopicsFrame, send
from lambdas.common.webhook_secret import WebhookSecretSource
from lambdas.subscriptions import viewers
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.helix import Credentials, Helix, connection_pool
from lambdas.subscriptions.reconciler import Reconciler
from lambdas.subscriptions.subscriber import Subscriber
from lambdas.subscriptions.subscription_status import StatusUpdater, metric_name
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES, SubscriptionState, summarize

# A run ends by itself this long before Lambda would end it.
MARGIN_SECONDS = 20
# Within one run the secret is read once, or little more.
SECRET_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Settings:
    """The environment variables, with what the infrastructure calls them in capitals."""

    channels_table: str
    connections_table: str
    grants_table: str
    broadcast_queue_url: str
    twitch_secret_arn: str
    webhook_secret_arn: str
    webhook_url: str
    twitch_api_url: str
    twitch_auth_url: str
    grace_period_seconds: int


SETTINGS = from_environment(Settings)
DYNAMODB = boto3.client("dynamodb")
SECRETS = boto3.client("secretsmanager")
SQS = boto3.client("sqs")
WEBHOOK_SECRET = WebhookSecretSource(Client("secretsmanager"), SETTINGS.webhook_secret_arn)


def _tell(
    streamer_id: str, before: Mapping[str, SubscriptionState], after: Mapping[str, SubscriptionState]
) -> None:
    topics = summarize(after)
    if topics != summarize(before):
        send(SQS, SETTINGS.broadcast_queue_url, TopicsFrame(streamer_id, topics))


RECONCILER = Reconciler(
    Subscriber(
        Helix(
            connection_pool(),
            lambda: Credentials.from_json(
                SECRETS.get_secret_value(SecretId=SETTINGS.twitch_secret_arn)["SecretString"]
            ),
            api_url=SETTINGS.twitch_api_url,
            auth_url=SETTINGS.twitch_auth_url,
        ),
        StatusUpdater(
            ChannelsTable(DYNAMODB, SETTINGS.channels_table),
            lambda status: metrics.add_metric(metric_name(status), MetricUnit.Count, 1),
        ),
        GrantsTable(DYNAMODB, SETTINGS.grants_table),
        SETTINGS.webhook_url,
        lambda: WEBHOOK_SECRET.get(SECRET_SECONDS),
        ThreadPoolExecutor(len(SUBSCRIPTION_TYPES)),
    ),
    lambda: viewers.count(DYNAMODB, SETTINGS.connections_table, datetime.now(UTC)),
    SETTINGS.grace_period_seconds,
    _tell,
    clock=time.time,
    sleep=time.sleep,
)


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Reconcile once; ``event`` is the schedule's and says nothing."""
    report = RECONCILER.run(time.time() + context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS)
    logger.info("Reconciled", extra={"report": dataclasses.asdict(report)})
    metrics.add_metric("SubscriptionsCreated", MetricUnit.Count, report.created)
    metrics.add_metric("SubscriptionsDeleted", MetricUnit.Count, report.deleted)
    metrics.add_metric("SubscriptionsLimited", MetricUnit.Count, report.limited)
    metrics.add_metric("ChannelsFailed", MetricUnit.Count, report.failed)
    metrics.add_metric("SubscriptionCost", MetricUnit.Count, report.total_cost)
    metrics.add_metric("SubscriptionCostLimit", MetricUnit.Count, report.max_total_cost)
