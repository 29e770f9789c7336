"""``POST /api/channels/{login}/watch``: subscribe a channel's events and issue a ticket for them.

Overlays use ``POST /api/overlays/{login}/watch``, with their key instead of a viewer's token.
"""

import dataclasses
import math
from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common import tickets
from lambdas.common.aws import Client
from lambdas.common.event import format_time
from lambdas.common.login import parse_login
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.common.viewers import ViewersTable
from lambdas.subscriptions.grants import grant_of
from lambdas.subscriptions.helix import (
    BudgetExceededError,
    NoSuchChannelError,
    RateLimitedError,
    TransientError,
)
from lambdas.subscriptions.overlay_keys import OverlayKeysTable
from lambdas.subscriptions.responses import INVALID_LOGIN, answer, error_answer
from lambdas.subscriptions.subscriber_factory import SubscriberSettings, make_subscriber
from lambdas.subscriptions.subscription_status import send_if_changed
from lambdas.subscriptions.subscription_types import summarize
from lambdas.subscriptions.watching import resolve_login, watch_channel

# The reconciler makes room at its next run.
BUDGET_RETRY_SECONDS = 5 * 60
# A viewer may close another page any moment.
CHANNELS_RETRY_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Settings(SubscriberSettings):
    """The environment variables, with what the infrastructure calls them in capitals."""

    tickets_table: str
    overlays_table: str
    viewers_table: str
    streamer_provider: str
    websocket_url: str
    channels_per_viewer: int
    grace_period_seconds: int


SETTINGS = from_environment(Settings)
DYNAMODB = Client("dynamodb")
SQS = Client("sqs")
OVERLAY_KEYS = OverlayKeysTable(DYNAMODB, SETTINGS.overlays_table)
VIEWERS = ViewersTable(DYNAMODB, SETTINGS.viewers_table)
SUBSCRIBER = make_subscriber(SETTINGS, DYNAMODB)
# A channel stays subscribed for so long after a watch, and a ticket opens a connection.
FOLLOWED = max(timedelta(seconds=SETTINGS.grace_period_seconds), tickets.LIFETIME)
TOO_MANY_CHANNELS = error_answer(
    429,
    "too_many_channels",
    f"You follow {SETTINGS.channels_per_viewer} channels already, which is the most. Close one, and wait: "
    f"a channel counts for {math.ceil(FOLLOWED / timedelta(minutes=1))} minutes after it was opened.",
    {"Retry-After": str(CHANNELS_RETRY_SECONDS)},
)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP API request (payload 2.0) of a viewer whom the JWT authorizer knows, or an overlay."""
    try:
        login = event["pathParameters"]["login"]
        claims = _claims(event, login)
        if claims is None:
            message = "This overlay's key does not work any more: make a new one."
            return error_answer(401, "unknown_key", message)
        return _watch(login, claims)
    except NoSuchChannelError as error:
        return error_answer(404, error.reason, str(error))
    except BudgetExceededError as error:
        logger.warning("Twitch's budget has no room for the channel", exc_info=error)
        message = "Too many channels are being watched right now; try again in a few minutes."
        return error_answer(503, error.reason, message, {"Retry-After": str(BUDGET_RETRY_SECONDS)})
    except TransientError as error:
        logger.warning("Twitch is unavailable", extra={"reason": error.reason}, exc_info=error)
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
    """The claims of a viewer's token, or of an overlay; None if its key is not valid.

    Overlays of a viewer have the limits of a viewer of their own.
    """
    # An overlay's route has an authorizer, too: of requests that come through CloudFront.
    authorizer = event["requestContext"]["authorizer"]
    if "jwt" in authorizer:
        claims: dict[str, str] = authorizer["jwt"]["claims"]
        return claims
    _, _, key = event["headers"].get("authorization", "").partition(" ")
    owner = OVERLAY_KEYS.owner(key, parse_login(login) or "")
    return None if owner is None else {"sub": f"overlay/{owner}"}


def _watch(text: str, claims: dict[str, str]) -> dict[str, Any]:
    login = parse_login(text)
    if login is None:
        return INVALID_LOGIN
    began = datetime.now(UTC)
    viewer_id, most = claims["sub"], SETTINGS.channels_per_viewer
    if not VIEWERS.follow(viewer_id, login, most=most, now=began, keep=FOLLOWED):
        logger.warning("The viewer follows too many channels", extra={"viewer": viewer_id})
        return TOO_MANY_CHANNELS
    now = int(began.timestamp())
    try:
        resolution = resolve_login(SUBSCRIBER.helix, SUBSCRIBER.statuses.table, login, now)
    except NoSuchChannelError:
        VIEWERS.unfollow(viewer_id, login)
        raise
    channel = resolution.channel
    grant = grant_of(claims, SETTINGS.streamer_provider, channel.id)
    result = watch_channel(SUBSCRIBER, resolution, grant, now)
    if result.created:
        metrics.add_metric("SubscriptionsCreated", MetricUnit.Count, result.created)
    # Without states from before, this is the first viewer, who gets the states in the answer.
    if result.before:
        send_if_changed(
            channel.id,
            result.before,
            result.states,
            table=SUBSCRIBER.statuses.table,
            sqs=SQS,
            queue_url=SETTINGS.broadcast_queue_url,
        )
    ticket = tickets.issue(
        DYNAMODB,
        SETTINGS.tickets_table,
        viewer_id=viewer_id,
        streamer_id=channel.id,
        streamer_name=channel.login,
        # The ticket's minute begins now, not before the calls to Twitch.
        now=datetime.now(UTC),
    )
    return answer(
        200,
        {
            "channel": dataclasses.asdict(channel),
            "topics": summarize(result.states),
            "topics_version": result.revision,
            "ticket": ticket.value,
            "websocket_url": SETTINGS.websocket_url,
            "expires_at": format_time(ticket.expires_at),
        },
    )
