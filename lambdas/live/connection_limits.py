"""The limits of a viewer's connections: how many in all, how many to one channel, how many messages on each.

A new connection above a limit closes the oldest, too many messages close theirs. Before it is closed, a
connection gets a frame that says why.
The limit of channels that a viewer follows is checked by the function ``watch``.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from lambdas.common import connections
from lambdas.common.aws import Client
from lambdas.common.connections import Connection
from lambdas.common.observability import logger
from lambdas.common.tickets import Claim
from lambdas.common.viewers import OpenConnection, ViewersTable
from lambdas.live.frames import Frame, encode
from lambdas.live.frequency_limit import FrequencyLimit
from lambdas.live.posting import CLOSE, ForbiddenError, Poster, Posting

# After this frame the browser does not connect again by itself.
TOO_MANY_CONNECTIONS = {
    "type": "error",
    "code": "too_many_connections",
    "message": "You have opened Fanfare in too many other places, so it has stopped here. "
    "Close some of them, then try again.",
}
TOO_MANY_MESSAGES = {
    "type": "error",
    "code": "too_many_messages",
    "message": "This connection has sent too many messages, so it is closed. "
    "One ping every few minutes is enough.",
}
# A page pings every four minutes, and whenever it is shown again. A flood reaches every execution environment
# of the function, so each can count for itself.
MESSAGE_INTERVAL_SECONDS, MESSAGES_IN_A_ROW = 1.0, 20
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
        self._messages = FrequencyLimit(MESSAGE_INTERVAL_SECONDS, MESSAGES_IN_A_ROW)

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
            self._close(too_many, TOO_MANY_CONNECTIONS)

    def disconnected(self, viewer_id: str, connection_id: str) -> None:
        """Stop counting the connection. Raises AwsError."""
        self._viewers.disconnect(viewer_id, connection_id)

    def allow_message(self, claim: Claim, connection_id: str, now: datetime) -> bool:
        """Count a message of an open connection; returns False if there are too many, and closes it then.

        Raises AwsError.
        """
        if self._messages.allows(connection_id, now.timestamp()):
            return True
        logger.warning(
            "The connection sends too many messages; it is closed.", extra={"connection_id": connection_id}
        )
        # Since long ago: if @connections answers 410, it is closed already.
        flooding = OpenConnection(connection_id, claim.streamer_id, claim.streamer_name, since=0)
        self._close([flooding], TOO_MANY_MESSAGES)
        return False

    def _close(self, to_close: Sequence[OpenConnection], reason: Mapping[str, Any]) -> None:
        for one in to_close:
            connections.remove(
                self._dynamodb, self._connections_table, streamer_id=one.streamer_id, connection_id=one.id
            )
        try:
            for frame in (Frame(encode(reason)), CLOSE):
                self._poster.begin()
                postings = [
                    Posting(one.streamer_id, Connection(one.id, one.since // 1000), [frame])
                    for one in to_close
                ]
                until = time.monotonic() + CLOSING_SECONDS
                self._poster.deliver(postings, until)
                self._poster.finish(until)
        except ForbiddenError:
            # They are no longer in the registry, so they get no more events. The new connection works.
            logger.exception("Connections are not closed.")
