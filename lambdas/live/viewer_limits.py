"""How many connections a viewer may have: the oldest give way to a new one, and their pages are told why."""

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

# The page does not come back by itself after this.
TOO_MANY_CONNECTIONS = {
    "type": "error",
    "code": "too_many_connections",
    "message": "You have opened Fanfare in too many other places, so it has stopped here. "
    "Close some of them, then try again.",
}
# For telling them, and again for closing them: whoever opens a connection waits for it.
CLOSING_SECONDS = 1.0


class ViewerLimits:
    """The limits, and what keeps viewers within them."""

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
        """Count a connection that opens, and close those that are too many. Raises AwsError."""
        opened = OpenConnection(
            connection_id, claim.streamer_id, claim.streamer_name, int(now.timestamp() * 1000)
        )
        giving_way = self._viewers.connect(
            claim.viewer_id, opened, most=self._most, most_per_channel=self._most_per_channel, now=now
        )
        if giving_way:
            logger.warning("The viewer's oldest connections give way: %s", [one.id for one in giving_way])
            self._close(giving_way)

    def disconnected(self, viewer_id: str, connection_id: str) -> None:
        """The connection counts no more. Raises AwsError."""
        self._viewers.disconnect(viewer_id, connection_id)

    def _close(self, giving_way: Sequence[OpenConnection]) -> None:
        for one in giving_way:
            connections.remove(
                self._dynamodb, self._connections_table, streamer_id=one.streamer_id, connection_id=one.id
            )
        try:
            for frame in (Frame(json.dumps(TOO_MANY_CONNECTIONS).encode()), CLOSE):
                self._poster.begin()
                postings = [
                    Posting(one.streamer_id, Connection(one.id, one.since // 1000), [frame])
                    for one in giving_way
                ]
                until = time.monotonic() + CLOSING_SECONDS
                self._poster.deliver(postings, until)
                self._poster.finish(until)
        except ForbiddenError:
            # They get no more events, and the new connection is good.
            logger.exception("Connections are not closed.")
