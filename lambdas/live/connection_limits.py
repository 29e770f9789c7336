"""The two limits of a viewer's connections: in all, and to one channel.

A new connection above a limit closes the oldest, which first gets a frame that says why.
The limit of channels that a viewer follows is checked by the function ``watch``.
"""

import json
import time
from collections.abc import Sequence
from datetime import datetime

from lambdas.common import connections
from lambdas.common.aws import Client
from lambdas.common.connections import Connection
from lambdas.common.observability import logger
from lambdas.common.tickets import Claim
from lambdas.common.viewers import OpenConnection, ViewersTable
from lambdas.live.frames import Frame
from lambdas.live.posting import CLOSE, ForbiddenError, Poster, Posting

# After this frame the browser does not connect again by itself.
TOO_MANY_CONNECTIONS = {
    "type": "error",
    "code": "too_many_connections",
    "message": "You have opened Fanfare in too many other places, so it has stopped here. "
    "Close some of them, then try again.",
}
# At most so long for the frame, and again for closing: the viewer who opens a connection waits for both.
CLOSING_SECONDS = 1.0


class ConnectionLimits:
    """Counts the connections of viewers, and closes the oldest of a viewer who has too many."""

    def __init__(
        self,
        dynamodb: Client,
        viewers: ViewersTable,
        poster: Poster,
        *,
        connections_table: str,
        most: int,
        most_per_channel: int,
    ) -> None:
        """A viewer may have ``most`` connections, ``most_per_channel`` of them to one channel."""
        self._dynamodb = dynamodb
        self._viewers = viewers
        self._poster = poster
        self._connections_table = connections_table
        self._most = most
        self._most_per_channel = most_per_channel

    def connected(self, claim: Claim, connection_id: str, now: datetime) -> None:
        """Count a connection that opens, and close the oldest above the limits. Raises AwsError."""
        opened = OpenConnection(
            connection_id, claim.streamer_id, claim.streamer_name, int(now.timestamp() * 1000)
        )
        too_many = self._viewers.connect(
            claim.viewer_id, opened, most=self._most, most_per_channel=self._most_per_channel, now=now
        )
        if too_many:
            logger.warning(
                "The viewer has too many connections; the oldest are closed: %s", [one.id for one in too_many]
            )
            self._close(too_many)

    def disconnected(self, viewer_id: str, connection_id: str) -> None:
        """Stop counting the connection. Raises AwsError."""
        self._viewers.disconnect(viewer_id, connection_id)

    def _close(self, too_many: Sequence[OpenConnection]) -> None:
        for one in too_many:
            connections.remove(
                self._dynamodb, self._connections_table, streamer_id=one.streamer_id, connection_id=one.id
            )
        try:
            for frame in (Frame(json.dumps(TOO_MANY_CONNECTIONS).encode()), CLOSE):
                self._poster.begin()
                postings = [
                    Posting(one.streamer_id, Connection(one.id, one.since // 1000), [frame])
                    for one in too_many
                ]
                until = time.monotonic() + CLOSING_SECONDS
                self._poster.deliver(postings, until)
                self._poster.finish(until)
        except ForbiddenError:
            # They are no longer in the registry, so they get no more events. The new connection works.
            logger.exception("Connections are not closed.")
