"""``POST /api/channels/{login}/watch``: subscribe a channel's events and issue a ticket for them.

Overlays use ``POST /api/overlays/{login}/watch``, with their key instead of a viewer's token.
"""

import dataclasses
import functools
from datetime import UTC, datetime
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
from lambdas.subscriptions.following import Following, FollowingSettings
from lambdas.subscriptions.grants import GrantsTable, grant_of
from lambdas.subscriptions.requests import Requests
from lambdas.subscriptions.responses import NOT_FOUND, not_found_answer
from lambdas.subscriptions.sign_ins import SignIns, SignInSettings
from lambdas.subscriptions.subscription_types import summarize
from lambdas.subscriptions.watching import Watching


@dataclasses.dataclass(frozen=True)
class Settings(SignInSettings, FollowingSettings):
    """The environment variables, with what the infrastructure calls them in capitals."""

    grants_table: str
    subscribe_queue_url: str
    tickets_table: str
    overlays_table: str
    websocket_url: str


SETTINGS = from_environment(Settings)
DYNAMODB = Client("dynamodb")
SIGN_INS = SignIns(SETTINGS, DYNAMODB)
OVERLAY_KEYS = OverlayKeysTable(DYNAMODB, SETTINGS.overlays_table)
VIEWERS = ViewersTable(DYNAMODB, SETTINGS.viewers_table)
CHANNELS = ChannelsTable(DYNAMODB, SETTINGS.channels_table)
FOLLOWING = Following(SETTINGS, DYNAMODB)
WATCHING = Watching(
    CHANNELS,
    GrantsTable(DYNAMODB, SETTINGS.grants_table),
    Requests(Client("sqs"), SETTINGS.subscribe_queue_url, CHANNELS),
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
    except NOT_FOUND as error:
        return not_found_answer(error)
    except Exception:
        logger.exception("The watch failed")
        return error_answer(500, "internal_error", "Something went wrong on our side.")


def _watch(login: str, sign_in: SignIn) -> dict[str, Any]:
    now, viewer_id = datetime.now(UTC), sign_in.viewer_id
    return _answer(viewer_id, login, FOLLOWING.find(viewer_id, login, now), now, sign_in=sign_in)


def _watch_as_overlay(overlay: Overlay) -> dict[str, Any]:
    """The key says which channel it is; the login in the address may be one that the channel had before."""
    now, viewer_id, login = datetime.now(UTC), viewer_of(overlay.viewer_id), overlay.login
    resolution = FOLLOWING.find(viewer_id, login, now, streamer_id=overlay.streamer_id)
    return _answer(viewer_id, login, resolution, now, overlay_key=overlay.version)


def _answer(
    viewer_id: str,
    login: str,
    resolution: Resolution,
    now: datetime,
    *,
    sign_in: SignIn | None = None,
    overlay_key: str = "",
) -> dict[str, Any]:
    """The answer; ``login`` is under which the channel counts as followed."""
    channel = resolution.channel
    grant = grant_of(sign_in, channel.id) if sign_in else None
    may_try = functools.partial(VIEWERS.try_grant, viewer_id, channel.id, now)
    result = WATCHING.watch(resolution, grant, may_try, int(now.timestamp()))
    ticket = tickets.issue(
        DYNAMODB,
        SETTINGS.tickets_table,
        tickets.Claim(viewer_id, channel.id, login, overlay_key),
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
