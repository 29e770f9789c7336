"""What the tables need from time to time: partitions made ahead, old ids forgotten, streamers erased."""

from datetime import timedelta
from typing import Final

from psycopg.errors import LockNotAvailable

from lambdas.history import partitions
from lambdas.history.database import Connection
from lambdas.history.queries import query

#: Twitch redelivers for hours, the queue for a day (its visibility timeout times its greatest receive count).
SEEN_EVENTS_AGE: Final = timedelta(days=2)


def ensure_partitions(connection: Connection, seconds: int) -> int:
    """Create the partitions that are missing, ``seconds`` long; answers with how many are ahead afterwards.

    Safe when several do it at once.
    """
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('partitions'))")
        state = connection.execute(query("list_partitions")).fetchone()
        assert state is not None  # noqa: S101  # an aggregate always answers
        missing = partitions.missing_partitions(state["now"], state["upper_bounds"], seconds)
        for partition in missing:
            connection.execute(
                query("create_partition"),
                {"lower_bound": partition.lower_bound, "upper_bound": partition.upper_bound},
            )
    upper_bounds = [*state["upper_bounds"], *(partition.upper_bound for partition in missing)]
    return partitions.partitions_ahead(state["now"], upper_bounds)


def forget_seen_events(connection: Connection) -> bool:
    """Forget the ids that can no longer be redelivered, if it is time; answers whether it did.

    Not while somebody records for long: there is always a next time.
    """
    try:
        row = connection.execute(query("forget_seen_events"), {"age": SEEN_EVENTS_AGE}).fetchone()
    except LockNotAvailable:
        return False
    assert row is not None  # noqa: S101  # a function always answers
    forgotten: bool = row["forgotten"]
    return forgotten


def erase_streamer(connection: Connection, streamer_id: str) -> int:
    """Remove whatever is stored of a streamer, counts included; answers with how many events that were.

    What was exported and dropped is in the exports only, and stays there.
    """
    row = connection.execute(query("erase_streamer"), {"streamer_id": streamer_id}).fetchone()
    assert row is not None  # noqa: S101  # a function always answers
    erased: int = row["erased"]
    return erased
