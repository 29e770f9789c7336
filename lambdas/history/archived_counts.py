"""Archived counts: events are counted once and for all, and old counts are rolled up."""

import dataclasses
import functools
import time
from datetime import timedelta
from typing import Final, Literal

from lambdas.history import partitions
from lambdas.history.database import Connection
from lambdas.history.locks import when_unlocked
from lambdas.history.named_queries import fetch_one

#: How often a recorder archives counts: a count reads all events since then.
ARCHIVE_EVERY_SECONDS: Final = 5

# A step counts the events of a minute at first, then of a longer or shorter time, so that it counts about as
# many as these: that takes a second or two.
_FIRST_STEP: Final = timedelta(minutes=1)
_LONGEST_STEP: Final = timedelta(days=36500)
_FEW_EVENTS: Final = 250_000
_MANY_EVENTS: Final = 1_000_000

# A year of many streamers' counts is merged by one statement, in more time than others may take.
_MERGE_WITHIN: Final = "5min"


@dataclasses.dataclass(frozen=True)
class Archived:
    """How far archiving came, how many partitions were sealed, and how many events were counted.

    ``state`` is ``done``; ``more`` if the time was over before all was counted; ``busy`` if somebody else is
    archiving; or ``blocked`` if a transaction that has written into ``events`` stays open.
    """

    state: Literal["done", "more", "busy", "blocked"]
    partitions: int = 0
    events: int = 0


def archive_counts(connection: Connection, seconds: float) -> Archived:
    """Archive the counts of what was recorded up to a second ago, in steps, for about so many seconds.

    The next call continues where this one stopped. Recorders do not wait for it. Why no event is missed or
    counted twice: docs/history.md.
    """
    return _archive(connection, seconds, only_ended=False)


def seal_partitions(connection: Connection, seconds: float = 3600) -> Archived:
    """Archive the counts of the partitions that have ended, and no others."""
    return _archive(connection, seconds, only_ended=True)


def _archive(connection: Connection, seconds: float, *, only_ended: bool) -> Archived:
    until = time.monotonic() + seconds
    step = _FIRST_STEP
    sealed = events = 0
    while True:
        announced = fetch_one(connection, "announce_archiving", {"most": step, "only_ended": only_ended})
        if announced["state"] in ("done", "busy"):
            return Archived(announced["state"], sealed, events)
        counted = fetch_one(connection, "archive_counts", announced)
        if counted["state"] in ("blocked", "busy"):
            return Archived(counted["state"], sealed, events)
        sealed += counted["state"] == "sealed"
        events += counted["event_total"]
        if announced["state"] == "last":
            return Archived("done", sealed, events)
        if time.monotonic() > until:
            return Archived("more", sealed, events)
        if counted["event_total"] < _FEW_EVENTS:
            step = min(step * 4, _LONGEST_STEP)
        elif counted["event_total"] > _MANY_EVENTS:
            step /= 4


def move_windows(connection: Connection, seconds: float = 60) -> int:
    """Move the sums of the last days on to today; return by how many days, at most.

    Less is done if somebody else is archiving or the time is over: the leaderboard is right all the same, and
    the next call continues.
    """
    until = time.monotonic() + seconds
    days = 0
    while time.monotonic() < until and fetch_one(connection, "move_windows")["moved"]:
        days += 1
    return days


def roll_up_archived_counts(connection: Connection) -> int:
    """Merge the archived counts of each period that is over (``due_roll_ups``); return how many tables.

    Raises LockNotAvailable if a transaction that reads archived counts stays open.
    """
    state = fetch_one(connection, "list_archived_counts")
    merged = 0
    for roll_up in partitions.due_roll_ups(state["max_timestamps"], state["archived_until"]):
        if not when_unlocked(functools.partial(_merge, connection, roll_up)):
            break
        merged += len(roll_up.max_timestamps)
    return merged


def _merge(connection: Connection, roll_up: partitions.RollUp) -> bool:
    with connection.transaction():
        connection.execute("select set_config('statement_timeout', %s, true)", [_MERGE_WITHIN])
        return bool(fetch_one(connection, "roll_up_archived_counts", dataclasses.asdict(roll_up))["done"])
