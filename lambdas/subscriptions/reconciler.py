"""The scheduled run that deletes the subscriptions nobody needs and keeps the channels table true."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common import connections
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.helix import Credentials, Helix, connection_pool
from lambdas.subscriptions.reconciling import Reconciler


@dataclasses.dataclass(frozen=True)
class Settings:
    """The environment variables, with what the infrastructure calls them in capitals."""

    channels_table: str
    connections_table: str
    twitch_secret_arn: str
    webhook_url: str
    twitch_api_url: str
    twitch_auth_url: str
    grace_period_seconds: int


SETTINGS = from_environment(Settings)
DYNAMODB = boto3.client("dynamodb")
SECRETS = boto3.client("secretsmanager")
HELIX = Helix(
    connection_pool(),
    lambda: Credentials.from_json(
        SECRETS.get_secret_value(SecretId=SETTINGS.twitch_secret_arn)["SecretString"]
    ),
    api_url=SETTINGS.twitch_api_url,
    auth_url=SETTINGS.twitch_auth_url,
)
RECONCILER = Reconciler(
    HELIX,
    ChannelsTable(DYNAMODB, SETTINGS.channels_table),
    lambda streamer_id: connections.anyone(
        DYNAMODB, SETTINGS.connections_table, streamer_id, datetime.now(UTC)
    ),
    callback=SETTINGS.webhook_url,
    grace_seconds=SETTINGS.grace_period_seconds,
)


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Reconcile once; ``event`` is the schedule's and says nothing."""
    report = RECONCILER.run(int(datetime.now(UTC).timestamp()))
    logger.info("Reconciled", extra=dataclasses.asdict(report))
    metrics.add_metric("SubscriptionsDeleted", MetricUnit.Count, report.deleted)
    metrics.add_metric("SubscriptionCost", MetricUnit.Count, report.total_cost)
    metrics.add_metric("SubscriptionCostLimit", MetricUnit.Count, report.max_total_cost)
