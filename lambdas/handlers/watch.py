"""``POST /api/channels/{login}/watch``: subscribe a channel's events and issue a ticket for them.

Overlays use ``POST /api/overlays/{login}/watch``, with their key instead of a viewer's token.
"""

import dataclasses
import functools
import math
from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common import tickets
from lambdas.common.aws import Client
from lambdas.common.event import format_time
from lambdas.common.login import parse_login
from lambdas.common.observability import logger
from lambdas.common.overlay_keys import Overlay, OverlayKeysTable, viewer_of
from lambdas.common.responses import INVALID_LOGIN, SIGNED_OUT, answer, error_answer
from lambdas.common.sessions import SignIn
from lambdas.common.settings import from_environment
from lambdas.common.viewers import ViewersTable
from lambdas.subscriptions.channels import ChannelsTable, Resolution
from lambdas.subscriptions.grants import GrantsTable, grant_of
from lambdas.subscriptions.helix import CredentialsRefusedError, HelixError, NoSuchChannelError
from lambdas.subscriptions.logins import NOBODY_SECONDS, Logins
from lambdas.subscriptions.requests import Requests
from lambdas.subscriptions.responses import twitch_error_answer
from lambdas.subscriptions.sign_ins import SignIns, SignInSettings
from lambdas.subscriptions.subscriber_factory import TwitchSettings, make_helix
from lambdas.subscriptions.subscription_types import summarize
from lambdas.subscriptions.watching import Watching

# A viewer may close another page any moment.
CHANNELS_RETRY_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Settings(SignInSettings, TwitchSettings):
    """The environment variables, with what the infrastructure calls them in capitals."""

    channels_table: str
    grants_table: str
    subscribe_queue_url: str
    tickets_table: str
    overlays_table: str
    viewers_table: str
    websocket_url: str
    channels_per_viewer: int
    grace_period_seconds: int


SETTINGS = from_environment(Settings)
DYNAMODB = Client("dynamodb")
SIGN_INS = SignIns(SETTINGS, DYNAMODB)
OVERLAY_KEYS = OverlayKeysTable(DYNAMODB, SETTINGS.overlays_table)
VIEWERS = ViewersTable(DYNAMODB, SETTINGS.viewers_table)
CHANNELS = ChannelsTable(DYNAMODB, SETTINGS.channels_table)
LOGINS = Logins(make_helix(SETTINGS, DYNAMODB), CHANNELS, DYNAMODB, SETTINGS.twitch_table)
WATCHING = Watching(
    CHANNELS,
    GrantsTable(DYNAMODB, SETTINGS.grants_table),
    Requests(Client("sqs"), SETTINGS.subscribe_queue_url, CHANNELS),
)
# A channel stays subscribed for so long after a watch, and a ticket opens a connection.
FOLLOWED = max(timedelta(seconds=SETTINGS.grace_period_seconds), tickets.LIFETIME)
TOO_MANY_CHANNELS = error_answer(
    429,
    "too_many_channels",
    f"You follow {SETTINGS.channels_per_viewer} channels already, which is the most. Close one, and wait: "
    f"a channel counts for {math.ceil(FOLLOWED / timedelta(minutes=1))} minutes after it was opened.",
    {"Retry-After": str(CHANNELS_RETRY_SECONDS)},
)
OVERLAYS = "POST /api/overlays/"
UNKNOWN_KEY = error_answer(401, "unknown_key", "This overlay's key does not work any more: make a new one.")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP API request (payload 2.0) of a viewer or an overlay."""
    login = parse_login(event["pathParameters"]["login"])
    try:
        if event["routeKey"].startswith(OVERLAYS):
            overlay = OVERLAY_KEYS.find(event["headers"].get("authorization", "").partition(" ")[2])
            if overlay is None:
                return UNKNOWN_KEY
            return INVALID_LOGIN if login is None else _watch_as_overlay(overlay)
        sign_in = SIGN_INS.find(event)
        if sign_in is None:
            return SIGNED_OUT
        return INVALID_LOGIN if login is None else _watch(login, sign_in)
    except (HelixError, CredentialsRefusedError) as error:
        return twitch_error_answer(error)
    except Exception:
        logger.exception("The watch failed")
        return error_answer(500, "internal_error", "Something went wrong on our side.")


def _watch(login: str, sign_in: SignIn) -> dict[str, Any]:
    now, viewer_id = datetime.now(UTC), sign_in.viewer_id
    if not _follow(viewer_id, login, now):
        return TOO_MANY_CHANNELS
    try:
        resolution = LOGINS.resolve(login, int(now.timestamp()))
    except NoSuchChannelError:
        # It counts for as long as Twitch is not asked again, so nobody can make Twitch be asked for many.
        VIEWERS.follow_until(viewer_id, login, now + timedelta(seconds=NOBODY_SECONDS))
        raise
    return _answer(viewer_id, resolution, now, sign_in=sign_in)


def _watch_as_overlay(overlay: Overlay) -> dict[str, Any]:
    """The key says which channel it is; the login in the address may be one that the channel had before."""
    now, viewer_id = datetime.now(UTC), viewer_of(overlay.viewer_id)
    resolution = LOGINS.resolve_id(overlay.streamer_id, int(now.timestamp()))
    if not _follow(viewer_id, resolution.channel.login, now):
        return TOO_MANY_CHANNELS
    return _answer(viewer_id, resolution, now, overlay_key=overlay.version)


def _follow(viewer_id: str, login: str, now: datetime) -> bool:
    if VIEWERS.follow(viewer_id, login, most=SETTINGS.channels_per_viewer, now=now, keep=FOLLOWED):
        return True
    logger.warning("The viewer follows too many channels", extra={"viewer": viewer_id})
    return False


def _answer(
    viewer_id: str,
    resolution: Resolution,
    now: datetime,
    *,
    sign_in: SignIn | None = None,
    overlay_key: str = "",
) -> dict[str, Any]:
    channel = resolution.channel
    grant = grant_of(sign_in, channel.id) if sign_in else None
    may_try = functools.partial(VIEWERS.try_grant, viewer_id, channel.id, now)
    result = WATCHING.watch(resolution, grant, may_try, int(now.timestamp()))
    ticket = tickets.issue(
        DYNAMODB,
        SETTINGS.tickets_table,
        tickets.Claim(viewer_id, channel.id, channel.login, overlay_key),
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
