"""``POST /api/channels/{login}/watch``: follow a channel and hand out a ticket for its events.

Overlays ask at ``POST /api/overlays/{login}/watch``, with their key instead of a viewer's token.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common import tickets
from lambdas.common.aws import Client
from lambdas.common.event import format_time
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.common.topics_frame import TopicsFrame, send
from lambdas.common.webhook_secret import WebhookSecretSource
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.grants import GrantsTable, grant_of
from lambdas.subscriptions.helix import (
    BudgetExceededError,
    Credentials,
    Helix,
    NoSuchChannelError,
    RateLimitedError,
    TransientError,
    connection_pool,
)
from lambdas.subscriptions.model import parse_login
from lambdas.subscriptions.overlay_keys import OverlaysTable
from lambdas.subscriptions.responses import INVALID_LOGIN, answer, error_answer
from lambdas.subscriptions.subscriber import Subscriber
from lambdas.subscriptions.subscription_status import StatusUpdater, metric_name
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES, summarize
from lambdas.subscriptions.watching import Following, follow, resolve

# The reconciler makes room at its next run.
BUDGET_RETRY_SECONDS = 5 * 60
# A secret that was rotated less than this ago may still be used: the reconciler replaces what it signs.
SECRET_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Settings:
    """The environment variables, with what the infrastructure calls them in capitals."""

    channels_table: str
    grants_table: str
    tickets_table: str
    overlays_table: str
    broadcast_queue_url: str
    streamer_provider: str
    twitch_secret_arn: str
    webhook_secret_arn: str
    webhook_url: str
    websocket_url: str
    twitch_api_url: str
    twitch_auth_url: str


SETTINGS = from_environment(Settings)
DYNAMODB = boto3.client("dynamodb")
TICKETS = Client("dynamodb")
SECRETS = boto3.client("secretsmanager")
SQS = boto3.client("sqs")
HELIX = Helix(
    connection_pool(),
    lambda: Credentials.from_json(
        SECRETS.get_secret_value(SecretId=SETTINGS.twitch_secret_arn)["SecretString"]
    ),
    api_url=SETTINGS.twitch_api_url,
    auth_url=SETTINGS.twitch_auth_url,
)
OVERLAYS = OverlaysTable(DYNAMODB, SETTINGS.overlays_table)
CHANNELS = ChannelsTable(DYNAMODB, SETTINGS.channels_table)
WEBHOOK_SECRET = WebhookSecretSource(Client("secretsmanager"), SETTINGS.webhook_secret_arn)
SUBSCRIBER = Subscriber(
    HELIX,
    StatusUpdater(CHANNELS, lambda status: metrics.add_metric(metric_name(status), MetricUnit.Count, 1)),
    GrantsTable(DYNAMODB, SETTINGS.grants_table),
    SETTINGS.webhook_url,
    lambda: WEBHOOK_SECRET.get(SECRET_SECONDS),
    ThreadPoolExecutor(len(SUBSCRIPTION_TYPES)),
)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP API request (payload 2.0) of a viewer whom the JWT authorizer knows, or an overlay."""
    try:
        login = event["pathParameters"]["login"]
        claims = _claims(event, login)
        if claims is None:
            return error_answer(
                401, "unknown_key", "This overlay's key does not work any more: make a new one."
            )
        return _watch(login, claims)
    except NoSuchChannelError as error:
        return error_answer(404, error.reason, str(error))
    except BudgetExceededError as error:
        logger.warning("Twitch's budget has no room for the channel", exc_info=error)
        message = "Too many channels are being watched right now; try again in a few minutes."
        return error_answer(503, error.reason, message, {"Retry-After": str(BUDGET_RETRY_SECONDS)})
    except TransientError as error:
        logger.warning("Twitch cannot be asked now", extra={"reason": error.reason}, exc_info=error)
        status = 429 if isinstance(error, RateLimitedError) else 503
        message = "Twitch cannot be asked right now; try again in a moment."
        return error_answer(status, error.reason, message, {"Retry-After": str(error.retry_after)})
    except Exception:
        logger.exception("The watch failed")
        return error_answer(500, "internal_error", "Something went wrong on our side.")
    finally:
        # Most watches change nothing: without the condition, each would publish an empty metric.
        if metrics.metric_set:
            metrics.flush_metrics()


def _claims(event: dict[str, Any], login: str) -> dict[str, str] | None:
    """Who asks: the claims of a viewer's token, or whom an overlay's key belongs to; None for a bad key."""
    if authorizer := event["requestContext"].get("authorizer"):
        claims: dict[str, str] = authorizer["jwt"]["claims"]
        return claims
    _, _, key = event["headers"].get("authorization", "").partition(" ")
    owner = OVERLAYS.owner(key, parse_login(login) or "")
    return None if owner is None else {"sub": owner}


def _watch(text: str, claims: dict[str, str]) -> dict[str, Any]:
    login = parse_login(text)
    if login is None:
        return INVALID_LOGIN
    now = int(datetime.now(UTC).timestamp())
    resolution = resolve(HELIX, CHANNELS, login, now)
    channel = resolution.channel
    grant = grant_of(claims, SETTINGS.streamer_provider, channel.id)
    following = follow(SUBSCRIBER, resolution, grant, now)
    if following.created:
        metrics.add_metric("SubscriptionsCreated", MetricUnit.Count, following.created)
    _tell_others(channel.id, following)
    ticket = tickets.issue(
        TICKETS,
        SETTINGS.tickets_table,
        viewer_id=claims["sub"],
        streamer_id=channel.id,
        streamer_name=channel.login,
        # The ticket's minute begins when it is handed out, not when Twitch was first asked.
        now=datetime.now(UTC),
    )
    return answer(
        200,
        {
            "channel": dataclasses.asdict(channel),
            "topics": summarize(following.topics),
            "ticket": ticket.value,
            "websocket_url": SETTINGS.websocket_url,
            "expires_at": format_time(ticket.expires_at),
        },
    )


def _tell_others(streamer_id: str, following: Following) -> None:
    """Tell those who watch the channel already if this watch has changed how its topics stand."""
    topics = summarize(following.topics)
    if following.before and topics != summarize(following.before):
        send(SQS, SETTINGS.broadcast_queue_url, TopicsFrame(streamer_id, topics))
