"""What happens on one viewer's connection: it opens, pings, says something else, closes."""

import json
from datetime import datetime
from typing import Any

from lambdas.common import connections
from lambdas.common.aws import Client
from lambdas.common.tickets import Claim
from lambdas.live.connection_limits import ConnectionLimits

PONG = {"type": "pong"}
UNKNOWN_ACTION = {
    "type": "error",
    "code": "unknown_action",
    "message": 'The only thing to send here is {"action": "ping"}.',
}


def answer(
    client: Client, table: str, limits: ConnectionLimits, request: dict[str, Any], now: datetime
) -> dict[str, Any] | None:
    """Keep the registry up to date and the viewer within the limits; return the frame to answer with, if any.

    ``request`` is API Gateway's ``requestContext``. The event type decides, not the route: a viewer may send
    ``{"action": "$disconnect"}``, and that is no disconnection.
    """
    connection_id = request["connectionId"]
    claim = Claim(*(request["authorizer"][name] for name in ("viewer_id", "streamer_id", "streamer_name")))
    match request["eventType"], request["routeKey"]:
        case "CONNECT", _:
            _store(client, table, claim, connection_id, now)
            limits.connected(claim, connection_id, now)
            return None
        case "DISCONNECT", _:
            connections.remove(client, table, streamer_id=claim.streamer_id, connection_id=connection_id)
            limits.disconnected(claim.viewer_id, connection_id)
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


def _store(client: Client, table: str, claim: Claim, connection_id: str, now: datetime) -> None:
    connections.put(
        client,
        table,
        streamer_id=claim.streamer_id,
        connection_id=connection_id,
        viewer_id=claim.viewer_id,
        now=now,
    )
