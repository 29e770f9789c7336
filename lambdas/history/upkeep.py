"""Upkeep of the tables: partitions are created ahead, old IDs are forgotten, streamers are erased."""

import dataclasses
from datetime import timedelta
from typing import Final

from psycopg.errors import LockNotAvailable

from lambdas.history import partitions
from lambdas.history.database import Connection
from lambdas.history.named_queries import fetch_one, query

#: Longer than an event can be delivered again: Twitch retries for hours, and the queue for about a day (the
#: visibility timeout, three minutes, times the receive count, 480).
SEEN_EVENTS_AGE: Final = timedelta(days=2)


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

    It also returns False if a transaction that records stays open; then the next run tries again.
    """
    try:
        return bool(fetch_one(connection, "forget_seen_events", {"age": SEEN_EVENTS_AGE})["forgotten"])
    except LockNotAvailable:
        return False


def erase_streamer(connection: Connection, streamer_id: str) -> int:
    """Delete everything stored of a streamer, counts included; return how many events. Exports stay."""
    return int(fetch_one(connection, "erase_streamer", {"streamer_id": streamer_id})["erased"])
