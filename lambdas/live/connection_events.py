"""What happens on one viewer's connection: it opens, pings, says something else, closes."""

import dataclasses
import json
from datetime import datetime
from typing import Any

from lambdas.common import connections
from lambdas.common.aws import Client
from lambdas.common.overlay_keys import OverlayKeysTable
from lambdas.common.tickets import Claim
from lambdas.live.connection_limits import ConnectionLimits

PONG = {"type": "pong"}
UNKNOWN_ACTION = {
    "type": "error",
    "code": "unknown_action",
    "message": 'The only thing to send here is {"action": "ping"}.',
}


class EndedError(Exception):
    """The overlay's key ended after the ticket was issued: the connection must not open."""


def answer(
    client: Client,
    table: str,
    limits: ConnectionLimits,
    overlay_keys: OverlayKeysTable,
    request: dict[str, Any],
    *,
    now: datetime,
) -> dict[str, Any] | None:
    """Keep the registry up to date and the viewer within the limits; return the frame to answer with, if any.

    Raises EndedError.

    ``request`` is API Gateway's ``requestContext``. The event type decides, not the route: a viewer may send
    ``{"action": "$disconnect"}``, and that is no disconnection.
    """
    connection_id = request["connectionId"]
    claim = Claim(**{field.name: request["authorizer"][field.name] for field in dataclasses.fields(Claim)})
    match request["eventType"], request["routeKey"]:
        case "CONNECT", _:
            _store(client, table, claim, connection_id, now)
            limits.connected(claim, connection_id, now)
            # Stored first, checked then: if the key ends later, ``overlay`` finds the connection and closes
            # it.
            if claim.overlay_key and not overlay_keys.is_valid(claim.overlay_key):
                _forget(client, table, limits, claim, connection_id)
                raise EndedError
            return None
        case "DISCONNECT", _:
            _forget(client, table, limits, claim, connection_id)
            return None
        case "MESSAGE", _ if not limits.allow_message(claim, connection_id, now):
            return None
        case "MESSAGE", "ping":
            _store(client, table, claim, connection_id, now)
            return PONG
        case _:
            return UNKNOWN_ACTION


def response(frame: dict[str, Any] | None) -> dict[str, Any]:
    """The frame as a proxy integration's response; the route's response sends its body to the viewer."""
    return {"statusCode": 200} if frame is None else {"statusCode": 200, "body": json.dumps(frame)}


def _forget(client: Client, table: str, limits: ConnectionLimits, claim: Claim, connection_id: str) -> None:
    connections.remove(client, table, streamer_id=claim.streamer_id, connection_id=connection_id)
    limits.disconnected(claim.viewer_id, connection_id)


def _store(client: Client, table: str, claim: Claim, connection_id: str, now: datetime) -> None:
    connections.put(
        client,
        table,
        streamer_id=claim.streamer_id,
        connection_id=connection_id,
        viewer_id=claim.viewer_id,
        now=now,
    )
