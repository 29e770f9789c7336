"""Twitch has revoked a subscription: note why, so that the next watch subscribes the topic again."""

import dataclasses
import json
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.observability import logger
from lambdas.common.settings import from_environment
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.topics import TopicState, attribute


@dataclasses.dataclass(frozen=True)
class Settings:
    """The environment variables, with what the infrastructure calls them in capitals."""

    channels_table: str


SETTINGS = from_environment(Settings)
CHANNELS = ChannelsTable(boto3.client("dynamodb"), SETTINGS.channels_table)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Take the revocations that SNS delivers; each message is ``{"id", "subscription"}``."""
    for record in event["Records"]:
        message = json.loads(record["Sns"]["Message"])
        logger.append_keys(correlation_id=message["id"])
        _revoke(message["subscription"])


def _revoke(subscription: dict[str, Any]) -> None:
    """https://dev.twitch.tv/docs/eventsub/handling-webhook-events/#revoking-your-subscription"""
    match = attribute(subscription["type"], subscription["version"], subscription["condition"])
    if match is None:
        logger.warning("Revoked: a subscription of an unknown topic", extra={"subscription": subscription})
        return
    topic, streamer_id, _ = match
    reason = subscription["status"]
    known = CHANNELS.replace(
        streamer_id, topic.key, subscription["id"], TopicState("revoked", subscription["id"], reason)
    )
    logger.warning(
        "A subscription was revoked",
        extra={
            "streamer_id": streamer_id,
            "topic": topic.key,
            "subscription_id": subscription["id"],
            "reason": reason,
            "known": known,
        },
    )
