"""What is done for connections that could not be served, because they are gone or posting was given up.

A connection that is gone is removed from the registry. One that posting was given up for gets an empty frame
with the mark ``missed`` later, and the browser reads the record: the missed events themselves are not kept.
One that still takes nothing then is closed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lambdas.common import connections
from lambdas.common.aws import AwsError, Client
from lambdas.common.connections import Connection
from lambdas.common.observability import logger
from lambdas.live.batch import ServePart
from lambdas.live.clock import Clock
from lambdas.live.frames import pack
from lambdas.live.inboxes import Inboxes
from lambdas.live.parts import Part
from lambdas.live.posting import CLOSE, Poster, Posting

# After so long the mark is posted. The queue's delays are whole seconds.
RETRY_SECONDS = 2
# The clocks of two machines differ by less.
CLOCKS_DIFFER_SECONDS = 0.5
# A connection that took nothing for so long is closed: the browser opens another, and reads the record.
FULL_SECONDS = 3.0
# Connections in one entry of an inbox: far below DynamoDB's 400 KB.
_IN_AN_ENTRY = 1_000


class Unserved:
    """Removes connections that are gone, and posts the mark to those that were given up, or closes them."""

    def __init__(
        self,
        dynamodb: Client,
        poster: Poster,
        inboxes: Inboxes,
        send_request: Callable[[ServePart, int], None],
        *,
        connections_table: str,
        clock: Clock,
    ) -> None:
        """``send_request`` sends a request through the queue ``fan-out``, with a delay in seconds."""
        self._dynamodb = dynamodb
        self._poster = poster
        self._inboxes = inboxes
        self._send_request = send_request
        self._table = connections_table
        self._clock = clock

    def handle(self, until: float, part: Part | None = None) -> set[str]:
        """Handle what the poster has not served since the last time; return the ids of those given up.

        Connections that are gone are removed. Of those that were given up, the ones that have taken nothing
        for too long are closed; the others get the mark later, for which they wait in the inbox of ``part``,
        or, if it is None, of the single part of their channel's small audience. Removing and closing begin
        by ``until`` (``monotonic``). Raises AwsError if a connection could not be put into an inbox.
        """
        gone, given_up = self._poster.take_unserved()
        self._remove_gone(gone, until)
        now = self._clock.time()
        full: list[Posting] = []
        waiting: dict[Part, list[Posting]] = {}
        for posting in given_up:
            posting.full_since = (posting.full_since or now) if posting.is_refused() else 0.0
            if (
                posting.full_since
                and now - posting.full_since >= FULL_SECONDS
                and CLOSE not in posting.frames
            ):
                full.append(_closing(posting))
            else:
                waiting.setdefault(part or Part(posting.streamer_id, 0, 1), []).append(posting)
        self._poster.give_up(full[self._poster.deliver(full, until) :])
        for of_part, postings in waiting.items():
            self._mark_later(of_part, postings, now)
        return {posting.connection.id for posting in given_up}

    def _remove_gone(self, gone: Sequence[Posting], until: float) -> None:
        """Remove connections from the registry. One that stays is found gone again, or expires."""
        keys = list(dict.fromkeys((posting.streamer_id, posting.connection.id) for posting in gone))
        try:
            while keys and self._clock.monotonic() < until:
                connections.remove_some(self._dynamodb, self._table, keys[: connections.MOST_AT_ONCE])
                del keys[: connections.MOST_AT_ONCE]
        except AwsError:
            logger.exception("%d connections that are gone were not removed.", len(keys))

    def _mark_later(self, part: Part, postings: Sequence[Posting], now: float) -> None:
        unserved = [
            [posting.connection.id, posting.connection.renewed_at, posting.full_since] for posting in postings
        ]
        for start in range(0, len(unserved), _IN_AN_ENTRY):
            entry = {"unserved": unserved[start : start + _IN_AN_ENTRY], "due": now + RETRY_SECONDS}
            self._inboxes.put([part], entry)
        self._send_request(ServePart(part), RETRY_SECONDS)

    def is_due(self, entry: Mapping[str, Any]) -> bool:
        """Whether the connections in an entry of an inbox are to get the mark now."""
        return float(entry["due"]) <= self._clock.time() + CLOCKS_DIFFER_SECONDS


def connection_ids(entry: Mapping[str, Any]) -> set[str]:
    """The ids of the connections in an entry of an inbox."""
    return {connection_id for connection_id, _, _ in entry["unserved"]}


def is_unserved(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of an inbox has connections that wait for the mark, and not an update."""
    return "unserved" in entry


def marks(streamer_id: str, entry: Mapping[str, Any], page: int) -> list[Posting]:
    """The postings of the mark ``missed`` to the connections in an entry of an inbox."""
    frames = pack([], missed=True, most=1)
    return [
        Posting(streamer_id, Connection(id_, renewed_at), frames, page=page, full_since=full_since)
        for id_, renewed_at, full_since in entry["unserved"]
    ]


def _closing(posting: Posting) -> Posting:
    return Posting(posting.streamer_id, posting.connection, [CLOSE], full_since=posting.full_since)
