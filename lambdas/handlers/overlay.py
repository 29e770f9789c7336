"""``POST`` and ``DELETE /api/overlays/{login}/key``: make and revoke the key of a viewer's overlay."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.aws import Client
from lambdas.common.login import parse_login
from lambdas.common.observability import logger
from lambdas.common.overlay_keys import OverlayKeysTable, viewer_of
from lambdas.common.responses import INVALID_LOGIN, SIGNED_OUT, answer, error_answer
from lambdas.common.settings import from_environment
from lambdas.common.viewers import ViewersTable
from lambdas.live.closing import Closer
from lambdas.live.posting import Poster
from lambdas.live.transport import CurlTransport
from lambdas.subscriptions.following import Following, FollowingSettings
from lambdas.subscriptions.responses import NOT_FOUND, not_found_answer
from lambdas.subscriptions.sign_ins import SignIns, SignInSettings


@dataclasses.dataclass(frozen=True)
class Settings(SignInSettings, FollowingSettings):
    """The environment variables, with what the infrastructure calls them in capitals."""

    connections_endpoint: str
    connections_table: str
    overlays_table: str


SETTINGS = from_environment(Settings)
DYNAMODB = Client("dynamodb")
SIGN_INS = SignIns(SETTINGS, DYNAMODB)
OVERLAY_KEYS = OverlayKeysTable(DYNAMODB, SETTINGS.overlays_table)
VIEWERS = ViewersTable(DYNAMODB, SETTINGS.viewers_table)
FOLLOWING = Following(SETTINGS, DYNAMODB)
CLOSER = Closer(DYNAMODB, Poster(CurlTransport(SETTINGS.connections_endpoint)), SETTINGS.connections_table)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP API request (payload 2.0) of a viewer."""
    login = parse_login(event["pathParameters"]["login"])
    try:
        sign_in = SIGN_INS.find(event)
        if sign_in is None:
            return SIGNED_OUT
        if login is None:
            return INVALID_LOGIN
        return _change_key(event["requestContext"]["http"]["method"], sign_in.viewer_id, login)
    except NOT_FOUND as error:
        return not_found_answer(error)
    except Exception:
        logger.exception("The overlay's key could not be changed")
        return error_answer(500, "internal_error", "Something went wrong on our side.")


def _change_key(method: str, viewer_id: str, login: str) -> dict[str, Any]:
    now, overlay_viewer = datetime.now(UTC), viewer_of(viewer_id)
    streamer_id = FOLLOWING.find(overlay_viewer, login, now).channel.id
    if method == "DELETE":
        OVERLAY_KEYS.revoke(viewer_id, streamer_id)
        changed = answer(204)
    else:
        changed = answer(200, {"key": OVERLAY_KEYS.make_key(viewer_id, streamer_id, login)})
    logger.info("The overlay's key was changed", extra={"channel": streamer_id, "method": method})
    _close_overlays(overlay_viewer, streamer_id, now)
    return changed


def _close_overlays(viewer_id: str, streamer_id: str, now: datetime) -> None:
    """Close the connections that were opened with the key before.

    One that opens meanwhile finds its key ended (``connection``).
    """
    opened = [one for one in VIEWERS.connections(viewer_id, now) if one.streamer_id == streamer_id]
    for one in opened:
        VIEWERS.disconnect(viewer_id, one.id)
    CLOSER.close(opened)
