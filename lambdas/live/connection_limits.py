"""The two limits of a viewer's connections: in all, and to one channel.

A new connection above a limit closes the oldest, which first gets a frame that says why.
The limit of channels that a viewer follows is checked by the function ``watch``.
"""

from datetime import datetime

from lambdas.common.aws import Client
from lambdas.common.observability import logger
from lambdas.common.tickets import Claim
from lambdas.common.viewers import OpenConnection, ViewersTable
from lambdas.live.closing import Closer
from lambdas.live.posting import Poster

# After this frame the browser does not connect again by itself.
TOO_MANY_CONNECTIONS = {
    "type": "error",
    "code": "too_many_connections",
    "message": "You have opened Fanfare in too many other places, so it has stopped here. "
    "Close some of them, then try again.",
}


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
        self._viewers = viewers
        self._closer = Closer(dynamodb, poster, connections_table)
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
            self._closer.close(too_many, TOO_MANY_CONNECTIONS)

    def disconnected(self, viewer_id: str, connection_id: str) -> None:
        """Stop counting the connection. Raises AwsError."""
        self._viewers.disconnect(viewer_id, connection_id)
