"""Upkeep of the tables: partitions are created ahead, old IDs are forgotten, streamers are erased."""

import dataclasses
from datetime import timedelta
from typing import Final

from psycopg.errors import LockNotAvailable

from lambdas.history import partitions
from lambdas.history.database import Connection
from lambdas.history.locks import when_unlocked
from lambdas.history.named_queries import fetch_one, query

#: Longer than most events are delivered again. An older event is looked for in ``events`` before it is
#: recorded: see recording.py.
SEEN_EVENTS_AGE: Final = timedelta(days=2)

#: How many events are erased in one transaction.
_ERASED_AT_ONCE: Final = 20_000
#: How often an erasure waits for recorders, a second each time.
_WRITERS_ATTEMPTS: Final = 30


def ensure_partitions(connection: Connection, seconds: int) -> int:
    """Create the partitions that are missing, ``seconds`` long; return how many are then ahead.

    Safe when several do it at once.
    """
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('partitions'))")
        state = fetch_one(connection, "list_partitions")
        missing = partitions.missing_partitions(state["now"], state["upper_bounds"], seconds)
        for partition in missing:
            connection.execute(query("create_partition"), dataclasses.asdict(partition))
    upper_bounds = [*state["upper_bounds"], *(partition.upper_bound for partition in missing)]
    return partitions.partitions_ahead(state["now"], upper_bounds)


def forget_seen_events(connection: Connection) -> bool:
    """Forget the IDs of events that will not be delivered again, if it is time; return whether it did.

    Raises LockNotAvailable if a transaction that records stays open; then the next run tries again.
    """
    return bool(
        when_unlocked(
            lambda: fetch_one(connection, "forget_seen_events", {"age": SEEN_EVENTS_AGE})["forgotten"]
        )
    )


def erase_streamer(connection: Connection, streamer_id: str) -> int:
    """Delete everything stored of a streamer, counts included; return how many events. Exports stay.

    It goes in steps. What is recorded of the streamer meanwhile is erased, too; what occurs later is recorded
    again. If it fails on the way, ``finish_erasures`` goes on. Raises LockNotAvailable if a transaction that
    has written into ``events`` stays open.
    """
    connection.execute(query("begin_erasing"), {"streamer_id": streamer_id})
    return _erase(connection, streamer_id)


def finish_erasures(connection: Connection) -> int:
    """Go on with the erasures that were begun and not finished; return how many."""
    streamers = connection.execute(query("erasing_streamers")).fetchall()
    for row in streamers:
        _erase(connection, row["streamer_id"])
    return len(streamers)


def _erase(connection: Connection, streamer_id: str) -> int:
    # Recorders that began before do not know about it.
    for _ in range(_WRITERS_ATTEMPTS):
        if fetch_one(connection, "wait_for_writers")["done"]:
            break
    else:
        raise LockNotAvailable("a transaction that has written into events stays open")
    erased = 0
    step = {"streamer_id": streamer_id, "most": _ERASED_AT_ONCE}
    while count := fetch_one(connection, "erase_events", step)["erased"]:
        erased += count
    connection.execute(query("finish_erasing"), {"streamer_id": streamer_id})
    return erased
