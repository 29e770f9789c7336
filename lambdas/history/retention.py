"""Retention: partitions that are too old are exported and then dropped. Their counts stay."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg import sql
from psycopg.errors import LockNotAvailable

from lambdas.history import exports
from lambdas.history.database import Connection
from lambdas.history.locks import when_unlocked
from lambdas.history.named_queries import fetch_one, query

#: The pages of a table that are exported as one part, 512 MB of them: about a million events.
PART_PAGES: Final = 65_536


@dataclasses.dataclass(frozen=True)
class Expired:
    """How many parts were exported, how many events they hold, how many partitions were dropped.

    ``behind`` are the partitions that are too old and still there.
    """

    parts: int = 0
    events: int = 0
    dropped: int = 0
    behind: int = 0


def expire_partitions(
    connections: Sequence[Connection], s3: Any, bucket: str, retention_seconds: int, seconds: float = 3600
) -> Expired:
    """Export to ``bucket``, then drop, the sealed partitions that ended ``retention_seconds`` ago.

    The oldest first, in parts, of which each connection exports one at a time; after so many seconds none is
    begun but the first. The next call continues where this one stopped, also when a partition is in use for
    too long to be dropped. Nothing happens if somebody else is doing it.
    Raises exports.ExportError, and keeps the partition, if its export cannot be read back.
    """
    first = connections[0]
    until = time.monotonic() + seconds
    retention = timedelta(seconds=retention_seconds)
    begun = fetch_one(first, "begin_retention")["begun"]
    try:
        due = _due(first, retention)
        return _expire(connections, s3, bucket, due, until) if begun else Expired(behind=len(due))
    finally:
        if begun and not first.closed:
            first.execute(query("end_retention"))


def _due(connection: Connection, retention: timedelta) -> list[datetime]:
    """The sealed partitions that are too old, by their upper bounds, the oldest first."""
    state = fetch_one(connection, "list_partitions")
    latest = min(state["archived_until"], state["now"] - retention)
    return sorted(upper_bound for upper_bound in state["upper_bounds"] if upper_bound <= latest)


def _expire(
    connections: Sequence[Connection], s3: Any, bucket: str, due: list[datetime], until: float
) -> Expired:
    expired = Expired(behind=len(due))
    for upper_bound in due:
        if expired.parts and time.monotonic() > until:
            break
        parts = _export(connections, s3, bucket, upper_bound, until)
        expired = dataclasses.replace(
            expired,
            parts=expired.parts + len(parts),
            events=expired.events + sum(part.rows for part in parts),
        )
        if not _drop_if_exported(connections[0], s3, bucket, upper_bound):
            break
        expired = dataclasses.replace(expired, dropped=expired.dropped + 1, behind=expired.behind - 1)
    return expired


def _export(
    connections: Sequence[Connection], s3: Any, bucket: str, upper_bound: datetime, until: float
) -> list[exports.Part]:
    """Export the parts of a partition that are not exported yet, as far as the time allows; return them."""
    missing = iter(_missing_parts(connections[0], upper_bound))

    def export(connection: Connection) -> list[exports.Part]:
        done: list[exports.Part] = []
        for first_page in missing:
            if done and time.monotonic() > until:
                break
            name = _name(upper_bound)
            part = exports.write_part(s3, bucket, name, first_page, _lines(connection, name, first_page))
            connection.execute(
                query("keep_exported_part"), {"upper_bound": upper_bound, **dataclasses.asdict(part)}
            )
            done.append(part)
        return done

    with ThreadPoolExecutor(len(connections)) as pool:
        return [part for parts in pool.map(export, connections) for part in parts]


def _missing_parts(connection: Connection, upper_bound: datetime) -> list[int]:
    """The first pages of the parts that are not exported."""
    state = fetch_one(
        connection, "list_exported_parts", {"upper_bound": upper_bound, "name": _name(upper_bound)}
    )
    exported = {part["first_page"] for part in state["parts"]}
    return [page for page in range(0, max(state["pages"], 1), PART_PAGES) if page not in exported]


def _lines(connection: Connection, partition: str, first_page: int) -> Iterator[bytes]:
    """The events on the pages of a part, each a JSON object on a line.

    The text format of COPY doubles each backslash; JSON has none of the characters that this one quotes.
    """
    rows = sql.SQL(
        "copy (select row_to_json(event) from {} as event where ctid >= {} and ctid < {}) "
        "to stdout (format csv, delimiter e'\\x02', quote e'\\x01')"
    ).format(
        sql.Identifier(partition),
        sql.Literal(f"({first_page},0)"),
        sql.Literal(f"({first_page + PART_PAGES},0)"),
    )
    with connection.transaction(), connection.cursor() as cursor:
        # It takes as long as the upload.
        cursor.execute("set local statement_timeout = 0")
        with cursor.copy(rows) as copy:
            while line := copy.read():
                yield bytes(line)


def _drop_if_exported(connection: Connection, s3: Any, bucket: str, upper_bound: datetime) -> bool:
    """Describe the export and drop the partition; return False if it is in use, or parts are missing."""
    if _missing_parts(connection, upper_bound):
        return False
    name = _name(upper_bound)
    partition = {"upper_bound": upper_bound, "name": name}
    state = fetch_one(connection, "list_exported_parts", partition)
    exports.describe(s3, bucket, name, [exports.Part(**part) for part in state["parts"]])
    try:
        when_unlocked(lambda: connection.execute(query("drop_partition"), partition))
    except LockNotAvailable:
        return False
    connection.execute(query("forget_dropped_partition"), partition)
    return True


def _name(upper_bound: datetime) -> str:
    return f"events_{int(upper_bound.timestamp())}"
