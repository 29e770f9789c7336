"""Twitch has verified a subscription's callback or revoked a subscription: update the table and viewers.

Or a user has disconnected the application: end their sessions.
"""

import dataclasses
import json
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.aws import Client
from lambdas.common.event import parse_time
from lambdas.common.observability import logger, metrics
from lambdas.common.sessions import SessionsTable
from lambdas.common.settings import from_environment
from lambdas.common.topics_frame import TopicsFrame
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.notices import Notice, apply_notice
from lambdas.subscriptions.subscription_status import StatusUpdater, count_status, send_to_viewers
from lambdas.subscriptions.subscription_types import summarize


@dataclasses.dataclass(frozen=True)
class Settings:
    """The environment variables, with what the infrastructure calls them in capitals."""

    channels_table: str
    grants_table: str
    broadcast_queue_url: str
    sessions_table: str = ""
    """Empty with Cognito, whose tokens end by themselves."""


SETTINGS = from_environment(Settings)
DYNAMODB = Client("dynamodb")
SQS = Client("sqs")
STATUSES = StatusUpdater(ChannelsTable(DYNAMODB, SETTINGS.channels_table), count_status)
GRANTS = GrantsTable(DYNAMODB, SETTINGS.grants_table)
SESSIONS = SessionsTable(DYNAMODB, SETTINGS.sessions_table) if SETTINGS.sessions_table else None


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Take what SNS delivers: ``{"id", "sent_at", "subscription"}``, or ``"user_id"`` of a disconnection."""
    for record in event["Records"]:
        message = json.loads(record["Sns"]["Message"])
        logger.append_keys(correlation_id=message["id"])
        if user_id := message.get("user_id"):
            if SESSIONS:
                SESSIONS.end_all(user_id)
                logger.info("A user has disconnected the application", extra={"viewer": user_id})
            continue
        notice = Notice(message["subscription"], int(parse_time(message["sent_at"]).timestamp()))
        change = apply_notice(STATUSES, GRANTS, notice)
        if change is not None:
            streamer_id, states, revision = change
            frame = TopicsFrame(streamer_id, summarize(states), revision)
            send_to_viewers(SQS, SETTINGS.broadcast_queue_url, frame)
