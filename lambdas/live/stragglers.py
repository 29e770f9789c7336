"""Viewers who could not be served: told later that they missed something, or closed if they stay full.

What they missed is not kept: who is behind gets an empty frame with the mark, and reads the record.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lambdas.common import connections
from lambdas.common.aws import AwsError, Client
from lambdas.common.connections import Connection
from lambdas.common.observability import logger
from lambdas.live.batch import Call
from lambdas.live.clock import Clock
from lambdas.live.frames import pack
from lambdas.live.inboxes import Inboxes
from lambdas.live.parts import Part
from lambdas.live.posting import CLOSE, Poster, Posting

# When somebody who was left is tried again. The queue's delays are whole seconds.
AGAIN_SECONDS = 2
# The clocks of two machines differ by less.
CLOCKS_DIFFER_SECONDS = 0.5
# A connection that took nothing for so long is closed: the page opens another, and reads the record.
FULL_SECONDS = 5.0
# Connections in one entry of an inbox: far below DynamoDB's 400 KB.
_IN_AN_ENTRY = 1_000


class Stragglers:
    """Does what is left to do for connections that are gone or were left."""

    def __init__(
        self,
        dynamodb: Client,
        poster: Poster,
        inboxes: Inboxes,
        send: Callable[[Call, int], None],
        *,
        connections_table: str,
        clock: Clock,
    ) -> None:
        """``send`` puts a call into the fan-out queue, to come after so many seconds."""
        self._dynamodb = dynamodb
        self._poster = poster
        self._inboxes = inboxes
        self._send = send
        self._table = connections_table
        self._clock = clock

    def settle(self, until: float, part: Part | None = None) -> set[str]:
        """Remove who is gone, close who is full, and put off who was left; returns the latter's ids.

        ``part`` is the part that they belong to; without one their channels have small audiences. Raises
        AwsError if somebody could not be put off.
        """
        gone, left = self._poster.take_unserved()
        self._forget(gone)
        now = self._clock.time()
        full: list[Posting] = []
        behind: dict[Part, list[Posting]] = {}
        for posting in left:
            posting.full_since = (posting.full_since or now) if posting.is_refused() else 0.0
            if (
                posting.full_since
                and now - posting.full_since >= FULL_SECONDS
                and CLOSE not in posting.frames
            ):
                full.append(_closing(posting))
            else:
                behind.setdefault(part or Part(posting.streamer_id, 0, 1), []).append(posting)
        self._poster.leave(full[self._poster.deliver(full, until) :])
        for of_part, postings in behind.items():
            self._put_off(of_part, postings, now)
        return {posting.connection.id for posting in left}

    def _forget(self, gone: Sequence[Posting]) -> None:
        """Remove connections from the registry. One that stays is found gone again, or expires."""
        by_channel: dict[str, list[str]] = {}
        for posting in gone:
            by_channel.setdefault(posting.streamer_id, []).append(posting.connection.id)
        for streamer_id, ids in by_channel.items():
            try:
                connections.remove_all(self._dynamodb, self._table, streamer_id, ids)
            except AwsError:
                logger.exception("Connections that are gone stay.", extra={"streamer_id": streamer_id})

    def _put_off(self, part: Part, postings: Sequence[Posting], now: float) -> None:
        behind = [
            [posting.connection.id, posting.connection.renewed_at, posting.full_since] for posting in postings
        ]
        for start in range(0, len(behind), _IN_AN_ENTRY):
            entry = {"behind": behind[start : start + _IN_AN_ENTRY], "due": now + AGAIN_SECONDS}
            self._inboxes.put([part], entry)
        self._send(Call(part), AGAIN_SECONDS)

    def is_due(self, entry: Mapping[str, Any]) -> bool:
        """Whether the time has come to try those again who are in an entry of an inbox."""
        return float(entry["due"]) <= self._clock.time() + CLOCKS_DIFFER_SECONDS


def ids(entry: Mapping[str, Any]) -> set[str]:
    """The ids of the connections that are behind by an entry of an inbox."""
    return {connection_id for connection_id, _, _ in entry["behind"]}


def marks(streamer_id: str, entry: Mapping[str, Any], page: int) -> list[Posting]:
    """What tells those in an entry of an inbox that they missed something."""
    frames = pack([], missed=True, most=1)
    return [
        Posting(streamer_id, Connection(id_, renewed_at), frames, page=page, full_since=full_since)
        for id_, renewed_at, full_since in entry["behind"]
    ]


def _closing(posting: Posting) -> Posting:
    return Posting(posting.streamer_id, posting.connection, [CLOSE], full_since=posting.full_since)
