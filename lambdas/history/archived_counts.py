"""Archived counts: events are counted once and for all, and old counts are rolled up."""

import contextlib
import dataclasses
from datetime import datetime
from typing import Final

from psycopg.errors import LockNotAvailable

from lambdas.history import partitions
from lambdas.history.database import Connection
from lambdas.history.named_queries import fetch_one, query

#: How often a lock is tried, half a second each time, before it is left to the next run.
LOCK_ATTEMPTS: Final = 20

#: How often a recorder archives counts: a count reads all events since then.
ARCHIVE_EVERY_SECONDS: Final = 5


@dataclasses.dataclass(frozen=True)
class Archived:
    """How many partitions were sealed, and how many events were counted."""

    partitions: int
    events: int


def seal_partitions(connection: Connection) -> Archived:
    """Archive the counts of all partitions that have ended, the oldest first.

    Each is closed to writers in one transaction and counted in the next, so that nobody waits while it is
    counted. The next call continues where this one stopped; if somebody else is archiving, it stops at once.
    Raises LockNotAvailable if a transaction that writes into an ended partition stays open.
    """
    state = fetch_one(connection, "list_partitions")
    sealed = events = 0
    for upper_bound in sorted(state["upper_bounds"]):
        if not state["archived_until"] < upper_bound <= state["now"]:
            continue
        _close_partition(connection, upper_bound)
        event_count = fetch_one(connection, "seal_partition", {"upper_bound": upper_bound})["event_count"]
        if event_count is None:
            break
        sealed += 1
        events += event_count
    return Archived(sealed, events)


def archive_recent_counts(connection: Connection) -> Archived:
    """Seal what has ended, and archive the counts of what was recorded up to a second ago.

    Nothing is archived if somebody else is archiving, or if a transaction that writes stays open. Raises what
    ``seal_partitions`` raises.
    """
    sealed = seal_partitions(connection)
    event_count = fetch_one(connection, "archive_recent_counts")["event_count"]
    return Archived(sealed.partitions, sealed.events + (event_count or 0))


def roll_up_archived_counts(connection: Connection) -> int:
    """Merge the archived counts of each hour, day, month and year that is over; return how many tables.

    Raises LockNotAvailable if a transaction that reads archived counts stays open.
    """
    state = fetch_one(connection, "list_archived_counts")
    merged = 0
    for roll_up in partitions.due_roll_ups(state["max_timestamps"], state["archived_until"]):
        if not fetch_one(connection, "roll_up_archived_counts", dataclasses.asdict(roll_up))["done"]:
            break
        merged += len(roll_up.max_timestamps)
    return merged


def _close_partition(connection: Connection, upper_bound: datetime) -> None:
    partition = {"upper_bound": upper_bound}
    for _ in range(LOCK_ATTEMPTS - 1):
        with contextlib.suppress(LockNotAvailable):
            connection.execute(query("close_partition"), partition)
            return
    connection.execute(query("close_partition"), partition)
