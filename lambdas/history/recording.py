"""Recording: events are stored exactly once, however often they are delivered."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg

from lambdas.common.event import Event, MalformedEventError, Payload
from lambdas.history.database import Connection
from lambdas.history.named_queries import fetch_one, query

#: The IDs of events that are older than this may be forgotten. They are kept for two days at least
#: (upkeep.SEEN_EVENTS_AGE); the rest is for clocks that differ.
OLD_EVENTS_AGE: Final = timedelta(days=1, hours=20)


@dataclasses.dataclass(frozen=True)
class Recorded:
    """How many events were new, how many were recorded before, and which were refused and why.

    The keys of ``refused`` are positions in the batch.
    """

    new: int
    duplicate: int
    refused: Mapping[int, str]


def record(connection: Connection, events: Sequence[Event]) -> Recorded:
    """Record the events that were not recorded before, in their order.

    One statement, unless the database refuses a row: then each half of the batch is recorded by itself, and
    so on, until only such rows are left out. Raises psycopg.Error if no row is at fault, such as for a lost
    connection or a missing partition; part of the batch may then be recorded, so try all of it again.
    """
    if not events:
        return Recorded(0, 0, {})
    try:
        recorded_before = _recorded_before(connection, events)
        new = _insert_now(connection, [event for event in events if event.id not in recorded_before])
    except (psycopg.Error, UnicodeEncodeError, RecursionError) as error:
        if not _is_refusal(error):
            raise
        if len(events) == 1:
            return Recorded(0, 0, {0: str(error).splitlines()[0]})
        middle = len(events) // 2
        first = record(connection, events[:middle])
        second = record(connection, events[middle:])
        refused = {middle + position: reason for position, reason in second.refused.items()}
        return Recorded(
            first.new + second.new, first.duplicate + second.duplicate, {**first.refused, **refused}
        )
    return Recorded(new, len(events) - new, {})


def _recorded_before(connection: Connection, events: Sequence[Event]) -> set[str]:
    """The IDs of old events that are in ``events``: such as of dead letters that were sent again."""
    old = [event for event in events if event.occurred_at < datetime.now(UTC) - OLD_EVENTS_AGE]
    if not old:
        return set()
    rows = connection.execute(
        query("find_recorded"),
        {
            "ids": [event.id for event in old],
            "streamer_ids": list({event.streamer_id for event in old}),
            "oldest": min(event.occurred_at for event in old),
            "newest": max(event.occurred_at for event in old),
        },
    )
    return {row["id"] for row in rows}


def _insert_now(connection: Connection, events: Sequence[Event]) -> int:
    """Insert; once more, with a later time, if it came too late for being counted or has no partition."""
    if not events:
        return 0
    try:
        return _insert(connection, events)
    except psycopg.errors.CheckViolation:
        return _insert(connection, events)


def _insert(connection: Connection, events: Sequence[Event]) -> int:
    columns = {
        "ids": [event.id for event in events],
        "streamer_ids": [event.streamer_id for event in events],
        "streamer_names": [event.streamer_name for event in events],
        "event_types": [event.event_type for event in events],
        "occurred_ats": [event.occurred_at for event in events],
        "payloads": [storable_json(event.payload) for event in events],
    }
    return int(fetch_one(connection, "record_events", columns)["recorded"])


def _is_refusal(error: Exception) -> bool:
    """Whether a row is at fault: its data, or (SQLSTATE class 54) its size or depth."""
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        return error.sqlstate.startswith(("22", "54"))
    return isinstance(error, psycopg.DataError | UnicodeEncodeError | RecursionError)


def keep_dead_letter(connection: Connection, message_id: str, body: str, reason: str) -> None:
    """Keep a message that cannot be recorded, and why; nothing happens if it is kept already."""
    connection.execute(
        query("keep_dead_letter"),
        {
            "message_id": message_id,
            "body": body.encode(errors="surrogatepass"),
            "reason": reason.encode("ascii", "backslashreplace").replace(b"\0", b"\\0").decode(),
        },
    )


def record_dead_letters(connection: Connection) -> int:
    """Record the messages that can be recorded after all, and forget them; return how many."""
    recorded = 0
    for letter in connection.execute(query("list_dead_letters")).fetchall():
        try:
            event = Event.from_json(letter["body"].decode(errors="surrogatepass"))
        except MalformedEventError:
            continue
        if not record(connection, [event]).refused:
            connection.execute(query("forget_dead_letter"), letter)
            recorded += 1
    return recorded


# Matches every escape of an ASCII JSON text, from left to right: the second backslash of an escaped one does
# not begin another escape.
_ESCAPE: Final = re.compile(
    r"\\u(?P<pair>d[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})|\\u(?P<refused>0000|d[89a-f][0-9a-f]{2})|\\."
)

# json.dumps with other separators makes an encoder at each call.
_TO_JSON: Final = json.JSONEncoder(separators=(",", ":")).encode


def storable_json(payload: Payload) -> str:
    """The payload as a JSON text that ``jsonb`` accepts.

    It refuses U+0000 and unpaired surrogates; they become U+FFFD, so that the event is not lost:
    https://www.postgresql.org/docs/current/datatype-json.html
    """
    text = _TO_JSON(payload)
    return _ESCAPE.sub(lambda escape: r"\ufffd" if escape["refused"] else escape[0], text)
