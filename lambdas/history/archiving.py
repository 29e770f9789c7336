"""Archiving: what a partition of the past holds is counted once and for all, and old counts are rolled up."""

import dataclasses
from typing import Final

from psycopg.errors import LockNotAvailable

from lambdas.history import partitions
from lambdas.history.database import Connection
from lambdas.history.queries import query

#: How often a lock is asked for, a few hundred milliseconds each, before it is left to the next run.
LOCK_ATTEMPTS: Final = 20

#: How often a recorder archives what was recorded: what came since has to be counted whenever somebody asks.
ARCHIVE_EVERY_SECONDS: Final = 5


@dataclasses.dataclass(frozen=True)
class Archived:
    """How many partitions were sealed, and how many events were counted into archives."""

    partitions: int
    events: int


def seal_partitions(connection: Connection) -> Archived:
    """Archive the counts of all partitions that have ended, the oldest first.

    Each is closed to writers in one transaction and counted in the next, so that nobody waits while it is
    counted. Whoever does it next goes on where this stopped; if others are at it, they do it alone.
    Raises LockNotAvailable if transactions write into an ended partition, or read the archives, for long.
    """
    state = connection.execute(query("list_partitions")).fetchone()
    watermark = connection.execute(query("read_watermark")).fetchone()
    assert state is not None  # noqa: S101  # an aggregate always answers
    assert watermark is not None  # noqa: S101  # the schema brings the row
    sealed = events = 0
    for upper_bound in sorted(state["upper_bounds"]):
        if not watermark["archived_until"] < upper_bound <= state["now"]:
            continue
        _close_partition(connection, {"upper_bound": upper_bound})
        row = connection.execute(query("seal_partition"), {"upper_bound": upper_bound}).fetchone()
        assert row is not None  # noqa: S101  # a function always answers
        if row["event_count"] is None:
            break
        sealed += 1
        events += row["event_count"]
    return Archived(sealed, events)


def archive_recorded_events(connection: Connection) -> Archived:
    """Archive the counts of what was recorded up to a second ago: who counts then has little left to count.

    Partitions that have ended are sealed first. Nothing is archived if others are at it, or if a transaction
    stays open that may still write. Raises what ``seal_partitions`` raises.
    """
    sealed = seal_partitions(connection)
    row = connection.execute(query("archive_recorded_events")).fetchone()
    assert row is not None  # noqa: S101  # a function always answers
    return Archived(sealed.partitions, sealed.events + (row["event_count"] or 0))


def roll_up_archives(connection: Connection) -> int:
    """Merge the archives of each hour, day, month and year that is over; answers with how many were merged.

    Raises LockNotAvailable if somebody reads the archives for long.
    """
    state = connection.execute(query("list_archives")).fetchone()
    assert state is not None  # noqa: S101  # the schema brings the row
    merged = 0
    for roll_up in partitions.due_roll_ups(state["max_timestamps"], state["archived_until"]):
        row = connection.execute(query("roll_up_archives"), dataclasses.asdict(roll_up)).fetchone()
        assert row is not None  # noqa: S101  # a function always answers
        if not row["done"]:
            break
        merged += len(roll_up.max_timestamps)
    return merged


def _close_partition(connection: Connection, partition: dict[str, object]) -> None:
    for _ in range(LOCK_ATTEMPTS - 1):
        try:
            connection.execute(query("close_partition"), partition)
        except LockNotAvailable:
            continue
        return
    connection.execute(query("close_partition"), partition)
