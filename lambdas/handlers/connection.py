"""The WebSocket API's routes: ``$connect``, ``$disconnect``, ``ping`` and ``$default``."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.aws import Client
from lambdas.common.observability import logger
from lambdas.common.settings import from_environment
from lambdas.live import connection_events


@dataclasses.dataclass(frozen=True)
class Settings:
    """The registry of connections."""

    connections_table: str


SETTINGS = from_environment(Settings)

_DYNAMODB = Client("dynamodb")


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Serve one event of a connection (WebSocket proxy integration)."""
    request = event["requestContext"]
    frame = connection_events.answer(_DYNAMODB, SETTINGS.connections_table, request, datetime.now(UTC))
    logger.info(request["eventType"].lower(), extra={"connection_id": request["connectionId"]})
    return connection_events.response(frame)
