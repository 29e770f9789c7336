"""Sending a channel's frames to its viewers."""

import dataclasses
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lambdas.common.connections import Connection

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

# A connection is stored while its handshake still runs, and until that is over @connections says 410 for it.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
HANDSHAKE = timedelta(seconds=5)


@dataclasses.dataclass(slots=True)
class Outcome:
    """What became of a channel's connections: served, gone (to be removed), or failed (to be retried)."""

    served: int = 0
    gone: list[str] = dataclasses.field(default_factory=list)
    failed: dict[str, BaseException] = dataclasses.field(default_factory=dict)


def deliver(
    client: "ApiGatewayManagementApiClient",
    pool: Executor,
    connections: Iterable[Connection],
    frames: Sequence[bytes],
    now: datetime,
) -> Outcome:
    """Post the frames, in order, to every connection; connections are served side by side.

    A connection that answers 410 is gone, unless its handshake may still be under way. Whatever else goes
    wrong with one connection is its own failure and stops no other.
    """
    posts = [(connection, pool.submit(_post, client, connection.id, frames)) for connection in connections]
    outcome = Outcome()
    for connection, post in posts:
        error = post.exception()
        if error is None:
            outcome.served += 1
        elif _is_gone(client, error) and now - connection.renewed_at > HANDSHAKE:
            outcome.gone.append(connection.id)
        else:
            outcome.failed[connection.id] = error
    return outcome


def _post(client: "ApiGatewayManagementApiClient", connection_id: str, frames: Sequence[bytes]) -> None:
    for frame in frames:
        client.post_to_connection(ConnectionId=connection_id, Data=frame)


def _is_gone(client: "ApiGatewayManagementApiClient", error: BaseException) -> bool:
    return isinstance(error, client.exceptions.GoneException)
