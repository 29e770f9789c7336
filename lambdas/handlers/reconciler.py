"""The scheduled run that makes Twitch's subscriptions and the channels table what they should be."""

import dataclasses
import time
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common import connections
from lambdas.common.aws import Client
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.subscriptions.reconciler import Reconciler
from lambdas.subscriptions.reconciler_progress import ProgressItem
from lambdas.subscriptions.subscriber_factory import SubscriberSettings, make_subscriber
from lambdas.subscriptions.subscription_status import Announcer

# A run ends by itself this long before Lambda would end it.
MARGIN_SECONDS = 20


@dataclasses.dataclass(frozen=True)
class Settings(SubscriberSettings):
    """The environment variables, with what the infrastructure calls them in capitals."""

    connections_table: str
    grace_period_seconds: int
    sessions_table: str = ""
    """Set without Cognito: there are sessions to end."""


SETTINGS = from_environment(Settings)
DYNAMODB = Client("dynamodb")
SQS = Client("sqs")
SUBSCRIBER = make_subscriber(SETTINGS, DYNAMODB, SQS)
RECONCILER = Reconciler(
    SUBSCRIBER,
    Announcer(SUBSCRIBER.statuses.table, SUBSCRIBER.grants, SQS, SETTINGS.broadcast_queue_url),
    ProgressItem(DYNAMODB, SETTINGS.twitch_table),
    lambda: connections.count_by_channel(DYNAMODB, SETTINGS.connections_table, datetime.now(UTC)),
    SETTINGS.grace_period_seconds,
    sleep=time.sleep,
    tells_disconnections=bool(SETTINGS.sessions_table),
)


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Reconcile once; ``event`` is the schedule's and is not read."""
    report = RECONCILER.run(time.time() + context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS)
    logger.info("Reconciled", extra={"report": dataclasses.asdict(report)})
    metrics.add_metric("RunsCompleted", MetricUnit.Count, int(report.complete))
    metrics.add_metric("SubscriptionsDeleted", MetricUnit.Count, report.deleted)
    metrics.add_metric("SubscriptionsLimited", MetricUnit.Count, report.limited)
    metrics.add_metric("ChannelsFailed", MetricUnit.Count, report.failed)
    metrics.add_metric("SubscriptionCost", MetricUnit.Count, report.total_cost)
    metrics.add_metric("SubscriptionCostLimit", MetricUnit.Count, report.max_total_cost)
