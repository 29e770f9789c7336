"""The WebSocket API's routes: ``$connect``, ``$disconnect``, ``ping`` and ``$default``."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.aws import Client
from lambdas.common.observability import logger
from lambdas.common.overlay_keys import OverlayKeysTable
from lambdas.common.settings import from_environment
from lambdas.common.viewers import ViewersTable
from lambdas.live import connection_events
from lambdas.live.connection_limits import ConnectionLimits
from lambdas.live.posting import Poster
from lambdas.live.transport import CurlTransport


@dataclasses.dataclass(frozen=True)
class Settings:
    """The tables, the base URL of @connections, and how many connections a viewer may have."""

    connections_table: str
    connections_endpoint: str
    overlays_table: str
    viewers_table: str
    connections_per_viewer: int
    connections_per_channel: int


SETTINGS = from_environment(Settings)

_DYNAMODB = Client("dynamodb")
_OVERLAY_KEYS = OverlayKeysTable(_DYNAMODB, SETTINGS.overlays_table)
_LIMITS = ConnectionLimits(
    _DYNAMODB,
    ViewersTable(_DYNAMODB, SETTINGS.viewers_table),
    Poster(CurlTransport(SETTINGS.connections_endpoint)),
    connections_table=SETTINGS.connections_table,
    most=SETTINGS.connections_per_viewer,
    most_per_channel=SETTINGS.connections_per_channel,
)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Serve one event of a connection (WebSocket proxy integration)."""
    request = event["requestContext"]
    try:
        frame = connection_events.answer(
            _DYNAMODB, SETTINGS.connections_table, _LIMITS, _OVERLAY_KEYS, request, now=datetime.now(UTC)
        )
    except connection_events.EndedError:
        logger.info("The overlay's key has ended.", extra={"connection_id": request["connectionId"]})
        return {"statusCode": 403}
    logger.info(request["eventType"].lower(), extra={"connection_id": request["connectionId"]})
    return connection_events.response(frame)
