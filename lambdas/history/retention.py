"""Retention: partitions that are too old are exported and then dropped. Their counts stay."""

import dataclasses
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg import sql
from psycopg.errors import LockNotAvailable

from lambdas.history import exports
from lambdas.history.database import Connection
from lambdas.history.named_queries import fetch_one, query

# Dropping a partition locks all of events, and recorders queue behind whoever waits for that lock: it waits
# for a tenth of a second, and tries this often, a second apart.
DROP_ATTEMPTS: Final = 5
DROP_PAUSE_SECONDS: Final = 1.0


@dataclasses.dataclass(frozen=True)
class Expired:
    """How many partitions were exported, how many events they hold, and how many were dropped."""

    exported: int
    events: int
    dropped: int


def expire_partitions(connection: Connection, s3: Any, bucket: str, retention_seconds: int) -> Expired:
    """Export to ``bucket``, then drop, the sealed partitions that ended ``retention_seconds`` ago.

    The oldest first; the next call continues where this one stopped, as it does when a partition is in use
    for too long to be dropped. Nothing happens if somebody else is doing it.
    Raises exports.ExportError, and keeps the partition, if its export cannot be read back.
    """
    lock = connection.execute("select pg_try_advisory_lock(hashtext('retention')) as taken").fetchone()
    assert lock is not None  # noqa: S101  # a function always answers
    if not lock["taken"]:
        return Expired(0, 0, 0)
    try:
        return _expire(connection, s3, bucket, timedelta(seconds=retention_seconds))
    finally:
        if not connection.closed:
            connection.execute("select pg_advisory_unlock(hashtext('retention'))")


def _expire(connection: Connection, s3: Any, bucket: str, retention: timedelta) -> Expired:
    state = fetch_one(connection, "list_partitions")
    until = min(state["archived_until"], state["now"] - retention)
    expired = sorted(upper_bound for upper_bound in state["upper_bounds"] if upper_bound <= until)
    exported = events = dropped = 0
    for upper_bound in expired:
        partition = f"events_{int(upper_bound.timestamp())}"
        events += exports.write_export(s3, bucket, partition, _lines(connection, partition)).rows
        exported += 1
        if not _drop(connection, upper_bound):
            break
        dropped += 1
    return Expired(exported, events, dropped)


def _lines(connection: Connection, partition: str) -> Iterator[bytes]:
    """The partition's events, each a JSON object on a line."""
    rows = sql.SQL("copy (select row_to_json(event) from {} as event) to stdout").format(
        sql.Identifier(partition)
    )
    with connection.transaction(), connection.cursor() as cursor:
        # It takes as long as the upload.
        cursor.execute("set local statement_timeout = 0")
        with cursor.copy(rows) as copy:
            copy.set_types(["text"])
            for (line,) in copy.rows():
                yield f"{line}\n".encode()


def _drop(connection: Connection, upper_bound: datetime) -> bool:
    for _ in range(DROP_ATTEMPTS):
        try:
            connection.execute(query("drop_partition"), {"upper_bound": upper_bound})
        except LockNotAvailable:
            time.sleep(DROP_PAUSE_SECONDS)
        else:
            return True
    return False
