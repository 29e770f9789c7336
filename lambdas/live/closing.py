"""Closing connections from our side."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from lambdas.common import connections
from lambdas.common.aws import Client
from lambdas.common.connections import Connection
from lambdas.common.observability import logger
from lambdas.common.viewers import OpenConnection
from lambdas.live.frames import Frame, encode
from lambdas.live.posting import CLOSE, ForbiddenError, Poster, Posting

# At most so long for the frame, and again for closing: whoever has it closed waits for both.
CLOSING_SECONDS = 1.0


class Closer:
    """Closes connections that are in the registry ``connections_table``."""

    def __init__(self, dynamodb: Client, poster: Poster, connections_table: str) -> None:
        self._dynamodb = dynamodb
        self._poster = poster
        self._connections_table = connections_table

    def close(self, to_close: Sequence[OpenConnection], reason: Mapping[str, Any] | None = None) -> None:
        """Close the connections, each after a frame with the reason, if there is one. Raises AwsError."""
        for one in to_close:
            connections.remove(
                self._dynamodb, self._connections_table, streamer_id=one.streamer_id, connection_id=one.id
            )
        frames = [CLOSE] if reason is None else [Frame(encode(reason)), CLOSE]
        try:
            for frame in frames if to_close else ():
                self._poster.begin()
                postings = [
                    Posting(one.streamer_id, Connection(one.id, one.since // 1000), [frame])
                    for one in to_close
                ]
                until = time.monotonic() + CLOSING_SECONDS
                self._poster.deliver(postings, until)
                self._poster.finish(until)
        except ForbiddenError:
            # They are no longer in the registry, so they get no more events.
            logger.exception("Connections are not closed.")
