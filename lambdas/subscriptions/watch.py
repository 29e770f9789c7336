"""``POST /api/channels/{login}/watch``: follow a channel and hand out a ticket for its events."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common import tickets
from lambdas.common.aws import Client
from lambdas.common.event import format_time
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.following import follow
from lambdas.subscriptions.helix import (
    Credentials,
    Helix,
    NoSuchChannelError,
    RateLimitedError,
    TransientError,
    connection_pool,
)
from lambdas.subscriptions.model import parse_login
from lambdas.subscriptions.topics import summarize


@dataclasses.dataclass(frozen=True)
class Settings:
    """The environment variables, with what the infrastructure calls them in capitals."""

    channels_table: str
    tickets_table: str
    twitch_secret_arn: str
    webhook_secret_arn: str
    webhook_url: str
    websocket_url: str
    twitch_api_url: str
    twitch_auth_url: str


SETTINGS = from_environment(Settings)
TICKETS = Client("dynamodb")
SECRETS = boto3.client("secretsmanager")


def _secret(arn: str) -> str:
    return SECRETS.get_secret_value(SecretId=arn)["SecretString"]


HELIX = Helix(
    connection_pool(),
    lambda: Credentials.from_json(_secret(SETTINGS.twitch_secret_arn)),
    api_url=SETTINGS.twitch_api_url,
    auth_url=SETTINGS.twitch_auth_url,
)
CHANNELS = ChannelsTable(boto3.client("dynamodb"), SETTINGS.channels_table)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP API request (payload 2.0) that the JWT authorizer has let through."""
    try:
        return _watch(
            event["pathParameters"]["login"], event["requestContext"]["authorizer"]["jwt"]["claims"]
        )
    except NoSuchChannelError as error:
        return _error(404, error.reason, str(error))
    except TransientError as error:
        logger.warning("Twitch cannot be asked now", extra={"reason": error.reason}, exc_info=error)
        status = 429 if isinstance(error, RateLimitedError) else 503
        message = "Twitch cannot be asked right now; try again in a moment."
        return _error(status, error.reason, message, {"Retry-After": str(error.retry_after)})
    except Exception:
        logger.exception("The watch failed")
        return _error(500, "internal_error", "Something went wrong on our side.")


def _watch(text: str, claims: dict[str, str]) -> dict[str, Any]:
    login = parse_login(text)
    if login is None:
        return _error(
            400,
            "invalid_login",
            "A channel name has 1 to 25 letters, digits or underscores, the first not an underscore.",
        )
    channel = HELIX.get_user(login)
    now = datetime.now(UTC)
    following = follow(
        HELIX,
        CHANNELS,
        channel,
        callback=SETTINGS.webhook_url,
        load_secret=lambda: _secret(SETTINGS.webhook_secret_arn),
        now=int(now.timestamp()),
    )
    if following.created:
        # Most watches create nothing: without this, each would publish an empty metric.
        metrics.add_metric("SubscriptionsCreated", MetricUnit.Count, following.created)
        metrics.flush_metrics()
    ticket = tickets.issue(
        TICKETS,
        SETTINGS.tickets_table,
        viewer_id=claims["sub"],
        streamer_id=channel.id,
        streamer_name=channel.login,
        # The ticket's minute begins when it is handed out, not when Twitch was first asked.
        now=datetime.now(UTC),
    )
    return _answer(
        200,
        {
            "channel": dataclasses.asdict(channel),
            "topics": summarize(following.topics),
            "ticket": ticket.value,
            "websocket_url": SETTINGS.websocket_url,
            "expires_at": format_time(ticket.expires_at),
        },
    )


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    return _answer(status, {"error": {"code": code, "message": message}}, headers)


def _answer(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "statusCode": status,
        # A ticket is for one viewer, once.
        "headers": {"Content-Type": "application/json", "Cache-Control": "no-store", **(headers or {})},
        "body": json.dumps(body),
    }
