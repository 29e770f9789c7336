"""Recording: events are stored exactly once, however often they are delivered."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

import psycopg

from lambdas.common.event import Event, Payload
from lambdas.history.database import Connection
from lambdas.history.named_queries import fetch_one


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
        new = _insert_now(connection, events)
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


def _insert_now(connection: Connection, events: Sequence[Event]) -> int:
    """Insert; once more, with a later time, if the partition has just been closed or does not exist."""
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
