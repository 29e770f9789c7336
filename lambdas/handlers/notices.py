"""Twitch verifies a subscription's callback, or revokes a subscription: table and viewers learn of it."""

import dataclasses
import json
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.event import parse_time
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.common.topics_frame import TopicsFrame, send
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.notices import Notice, notice
from lambdas.subscriptions.subscription_status import StatusUpdater, metric_name
from lambdas.subscriptions.subscription_types import summarize


@dataclasses.dataclass(frozen=True)
class Settings:
    """The environment variables, with what the infrastructure calls them in capitals."""

    channels_table: str
    grants_table: str
    broadcast_queue_url: str


SETTINGS = from_environment(Settings)
DYNAMODB = boto3.client("dynamodb")
SQS = boto3.client("sqs")
TRANSITIONS = StatusUpdater(
    ChannelsTable(DYNAMODB, SETTINGS.channels_table),
    lambda status: metrics.add_metric(metric_name(status), MetricUnit.Count, 1),
)
GRANTS = GrantsTable(DYNAMODB, SETTINGS.grants_table)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Take what SNS delivers; each message is ``{"id", "sent_at", "subscription"}``."""
    for record in event["Records"]:
        message = json.loads(record["Sns"]["Message"])
        logger.append_keys(correlation_id=message["id"])
        _take(Notice(message["subscription"], int(parse_time(message["sent_at"]).timestamp())))


def _take(news: Notice) -> None:
    change = notice(TRANSITIONS, GRANTS, news)
    if change is not None:
        streamer_id, states = change
        # A viewer's WebSocket opens a moment after the watch that subscribed the topics.
        send(SQS, SETTINGS.broadcast_queue_url, TopicsFrame(streamer_id, summarize(states)), delay_seconds=2)
