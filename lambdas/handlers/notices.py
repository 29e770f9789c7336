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
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.notices import Notice, apply_notice
from lambdas.subscriptions.subscription_status import Announcer, StatusUpdater, count_status


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
CHANNELS = ChannelsTable(DYNAMODB, SETTINGS.channels_table)
GRANTS = GrantsTable(DYNAMODB, SETTINGS.grants_table)
SESSIONS = SessionsTable(DYNAMODB, SETTINGS.sessions_table) if SETTINGS.sessions_table else None
STATUSES = StatusUpdater(CHANNELS, count_status)
ANNOUNCER = Announcer(CHANNELS, GRANTS, Client("sqs"), SETTINGS.broadcast_queue_url)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Take what SNS delivers: ``{"id", "sent_at", "subscription"}``, or ``"user_id"`` of a disconnection."""
    for record in event["Records"]:
        message = json.loads(record["Sns"]["Message"])
        logger.append_keys(correlation_id=message["id"])
        sent_at = parse_time(message["sent_at"]).timestamp()
        if user_id := message.get("user_id"):
            if SESSIONS:
                # It may be late, or come again: who has signed in since stays signed in.
                SESSIONS.end_all(user_id, int(sent_at))
                logger.info("A user has disconnected the application", extra={"viewer": user_id})
            continue
        notice = Notice(message["subscription"], int(sent_at * 1000))
        streamer_id = apply_notice(STATUSES, GRANTS, notice)
        if streamer_id is not None:
            # Also if it changes nothing: it comes again after a call that failed.
            ANNOUNCER.tell(streamer_id, settled=notice.verifies)
