"""Migrations: SQL files applied in order, each exactly once, each in a transaction of its own.

``NNNN_before_<what>.sql`` runs before the code that needs it, and so must leave the schema usable by the
code that is still running. ``NNNN_after_<what>.sql`` runs once no code of an earlier release runs any more,
and may take away what only that needed.
"""

import itertools
import re
from pathlib import Path
from typing import Final, Literal

import psycopg

from lambdas.history.database import ROOT, Connection, is_lost

DIRECTORY: Final = ROOT / "sql" / "migrations"

Phase = Literal["before", "after"]

NEWLINE: Final = b"\n"
_FILE_NAME: Final = re.compile(r"(?P<number>\d{4})_(?P<phase>before|after)_[a-z0-9_]+\.sql")


class MigrationError(Exception):
    """A migration is misnamed, out of its turn, or failed; the message names the file.

    Nothing of it stays in the database.
    """


def migrate(connection: Connection, phase: Phase = "before", directory: Path = DIRECTORY) -> list[str]:
    """Apply what is due ``before`` or ``after`` the code and is not applied yet; answers with the names.

    An empty database is made ready by all of them at once: no earlier code uses it. Migrators wait for each
    other. Raises MigrationError at the first failure: the migrations before it stay applied. It is also
    raised, before anything is applied, if the release does not go with this schema: it is older than the
    schema, or skips a release whose migrations after the code are still to come.
    """
    files = migration_files(directory)
    connection.execute("select pg_advisory_lock(hashtext('migrations'))")
    try:
        applied = _applied(connection)
        due = _due([file.name for file in files], applied, phase)
        pending = [file for file in files if file.name in due]
        for file in pending:
            _apply(connection, file)
    finally:
        if not connection.closed:
            connection.execute("select pg_advisory_unlock(hashtext('migrations'))")
    return [file.name for file in pending]


def migration_files(directory: Path = DIRECTORY) -> list[Path]:
    """The migrations in their order. Raises MigrationError if a name is malformed or a number used twice."""
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
            raise MigrationError(f"{name} has been applied and this release does not know it: it is too old.")
    pending = [name for name in names if name not in applied]
    for earlier, later in itertools.pairwise(pending):
        if _phase(earlier) == "after" and _phase(later) == "before":
            raise MigrationError(f"{later}: first deploy the release that ends with {earlier}.")
    return {name for name in pending if _phase(name) == phase}


def _phase(name: str) -> str:
    match = _FILE_NAME.fullmatch(name)
    return match["phase"] if match else ""


def _applied(connection: Connection) -> set[str]:
    # The table is itself made by the first migration.
    if connection.execute("select from pg_class where oid = to_regclass('migrations')").fetchone() is None:
        return set()
    return {row["file_name"] for row in connection.execute("select file_name from migrations")}


def _apply(connection: Connection, file: Path) -> None:
    statements = file.read_bytes()
    try:
        with connection.transaction():
            connection.execute(statements)
            connection.execute("insert into migrations (file_name) values (%s)", [file.name])
    except psycopg.Error as error:
        if is_lost(error):
            raise
        position = error.diag.statement_position
        line = f", line {statements[: int(position)].count(NEWLINE) + 1}" if position else ""
        raise MigrationError(f"{file.name}{line}: {str(error).splitlines()[0]}") from error
