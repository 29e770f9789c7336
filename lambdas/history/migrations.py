r"""Migrations: SQL files applied in order, each exactly once, each in a transaction of its own.

``NNNN_before_<what>.sql`` runs before the code that needs it: the code of the previous release must still be
able to use the schema. ``NNNN_after_<what>.sql`` runs once no earlier code runs any more, and may remove what
only that needed.

A SQL function is written once, in ``sql/functions``, as ``create or replace function``. To change it, edit
its file and write a migration that includes it, with psql's ``\ir ../functions/<name>.sql`` on a line of its
own: function and tables then change in one transaction. Code that is still running calls the new function,
so its name, arguments and result stay; else, write another function. To remove one, drop it (``if exists``)
in a migration after the code, and delete its file and the lines that include it.

Recorders queue behind a migration that waits for a lock, so it waits for a little more than a second, and is
tried again; keep it short. An index on ``events`` takes long to build: let a migration have just the
statement ``create index concurrently <name> on events …;``. It is then built on one partition after the other
while events are recorded, and the next run goes on where one was ended.
"""

import itertools
import re
import time
from pathlib import Path
from typing import Final, Literal

import psycopg

from lambdas.history.database import ROOT, Connection, is_lost

DIRECTORY: Final = ROOT / "sql" / "migrations"

Phase = Literal["before", "after"]

_FILE_NAME: Final = re.compile(r"(?P<number>\d{4})_(?P<phase>before|after)_[a-z0-9_]+\.sql")
_INCLUDE: Final = re.compile(r"\\ir (?P<path>\S+)\n")
_EVENTS_INDEX: Final = re.compile(
    r"(--[^\n]*\n)*create index concurrently (?P<name>[a-z0-9_]+) on events (?P<definition>[^;]+);\s*"
)

#: A little longer than PostgreSQL's deadlock_timeout, after which it cancels an autovacuum in the way.
LOCK_TIMEOUT: Final = "1200ms"
#: How often a migration is tried when it does not get a lock, and the pause between.
LOCK_ATTEMPTS: Final = 100
LOCK_PAUSE_SECONDS: Final = 1.0


class MigrationError(Exception):
    """A migration is misnamed, out of order, or failed; the message names the file.

    Nothing of it stays in the database.
    """


def migrate(connection: Connection, phase: Phase = "before", directory: Path = DIRECTORY) -> list[str]:
    """Apply the migrations of a phase that are not applied yet; return their names.

    An empty database gets those of both phases at once: no earlier code uses it. Migrators wait for each
    other. Raises MigrationError at the first failure: the migrations before it stay applied. It is also
    raised, before anything is applied, if the release does not fit this schema: it is older than the
    schema, or skips a release whose migrations after the code are still to come.
    """
    files = migration_files(directory)
    connection.execute("select pg_advisory_lock(hashtext('migrations'))")
    try:
        due = _due([file.name for file in files], _applied(connection), phase)
        pending = [(file.name, _lines(file)) for file in files if file.name in due]
        for name, lines in pending:
            _apply(connection, name, lines)
    finally:
        if not connection.closed:
            connection.execute("select pg_advisory_unlock(hashtext('migrations'))")
    return [name for name, _ in pending]


def migration_files(directory: Path = DIRECTORY) -> list[Path]:
    """The migrations in order. Raises MigrationError if a name is malformed or a number used twice."""
    files = sorted(directory.glob("*.sql"))
    if not files:
        raise MigrationError(f"No migrations in {directory}: the function's package is incomplete.")
    numbers: dict[str, Path] = {}
    for file in files:
        if not _FILE_NAME.fullmatch(file.name):
            raise MigrationError(
                f"{file.name}: a migration is named NNNN_before_what_it_does.sql, or _after_."
            )
        other = numbers.setdefault(file.name[:4], file)
        if other != file:
            raise MigrationError(f"{file.name}: the number is also that of {other.name}.")
    return files


def _due(names: list[str], applied: set[str], phase: Phase) -> set[str]:
    """Which of the migrations to apply now."""
    if not applied:
        return set(names)
    for name in sorted(applied.difference(names)):
        # A release may be followed by the one before it, which can use all that a migration before code adds.
        if _phase(name) == "after":
            raise MigrationError(f"{name} is applied, and this release does not know it: it is too old.")
    pending = [name for name in names if name not in applied]
    for earlier, later in itertools.pairwise(pending):
        if _phase(earlier) == "after" and _phase(later) == "before":
            raise MigrationError(f"{later}: first deploy the release that ends with {earlier}.")
    return {name for name in pending if _phase(name) == phase}


def _phase(name: str) -> str:
    match = _FILE_NAME.fullmatch(name)
    return match["phase"] if match else ""


def _applied(connection: Connection) -> set[str]:
    # The first migration creates the table.
    if connection.execute("select from pg_class where oid = to_regclass('migrations')").fetchone() is None:
        return set()
    return {row["file_name"] for row in connection.execute("select file_name from migrations")}


def _lines(file: Path) -> list[tuple[str, str]]:
    """The lines of a file and of those that it includes, each with the file and line where it is."""
    lines = []
    for number, line in enumerate(file.read_text().splitlines(keepends=True), 1):
        if include := _INCLUDE.fullmatch(line):
            lines += _lines(file.parent / include["path"])
        else:
            lines.append((f"{file.name}, line {number}", line))
    return lines


def _apply(connection: Connection, name: str, lines: list[tuple[str, str]]) -> None:
    text = "".join(line for _, line in lines)
    try:
        if index := _EVENTS_INDEX.fullmatch(text):
            _index_partitions(connection, index["name"], index["definition"])
            text = _index_events(connection, index["name"], index["definition"])
        _execute(connection, name, text)
    except psycopg.Error as error:
        if is_lost(error):
            raise
        place, position = name, int(error.diag.statement_position or 0)
        for place_of_line, line in lines:
            if position <= 0:
                break
            place, position = place_of_line, position - len(line)
        raise MigrationError(f"{place}: {str(error).splitlines()[0]}") from error


def _execute(connection: Connection, name: str, text: str) -> None:
    """Execute a migration's text in a transaction, again and again while a lock is not to be had."""
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            with connection.transaction():
                connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
                connection.execute(text.encode())
                connection.execute("insert into migrations (file_name) values (%s)", [name])
        except psycopg.errors.LockNotAvailable:
            if attempt == LOCK_ATTEMPTS:
                raise
            time.sleep(LOCK_PAUSE_SECONDS)
        else:
            return


def _index_partitions(connection: Connection, name: str, definition: str) -> None:
    """Build the index on each partition that does not have it; recorders do not wait for that."""
    for partition, index in _partitions(connection, name).items():
        state = connection.execute(
            "select indisvalid from pg_index where indexrelid = to_regclass(%s)", [index]
        ).fetchone()
        if state == {"indisvalid": False}:  # somebody ended the run that built it
            connection.execute(f"drop index concurrently {index}".encode())
            state = None
        if state is None:
            connection.execute(f"create index concurrently {index} on {partition} {definition}".encode())


def _index_events(connection: Connection, name: str, definition: str) -> str:
    """The statements that put the partitions' indexes together; partitions made meanwhile are built, too."""
    attach = [
        f"alter index {name} attach partition {index};" for index in _partitions(connection, name).values()
    ]
    return "\n".join([f"create index {name} on only events {definition};", *attach])


def _partitions(connection: Connection, name: str) -> dict[str, str]:
    """The partitions of ``events``, each with the name of its part of an index."""
    rows = connection.execute(
        "select inhrelid::regclass::text as name from pg_inherits "
        "where inhparent = 'events'::regclass order by 1"
    )
    return {row["name"]: f"{row['name']}_{name}" for row in rows}
