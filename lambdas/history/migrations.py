"""Migrations: SQL files applied in order, each exactly once, each in a transaction of its own.

``NNNN_before_<what>.sql`` runs before the code that needs it, and so must leave the schema usable by the
code that is still running.
"""

import re
from pathlib import Path
from typing import Final

import psycopg

from lambdas.history.database import ROOT, Connection, is_lost

DIRECTORY: Final = ROOT / "sql" / "migrations"

NEWLINE: Final = b"\n"
_FILE_NAME: Final = re.compile(r"\d{4}_before_[a-z0-9_]+\.sql")


class MigrationError(Exception):
    """A migration is misnamed or failed; the message names the file. Nothing of it stays in the database."""


def migrate(connection: Connection, directory: Path = DIRECTORY) -> list[str]:
    """Apply what has not been applied yet; answers with the names of those files.

    Migrators that run at once wait for each other. Raises MigrationError at the first failure; the
    migrations before it stay applied.
    """
    files = migration_files(directory)
    connection.execute("select pg_advisory_lock(hashtext('migrations'))")
    try:
        applied = _applied(connection)
        pending = [file for file in files if file.name not in applied]
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
            raise MigrationError(f"{file.name}: a migration is named NNNN_before_what_it_does.sql.")
        other = numbers.setdefault(file.name[:4], file)
        if other != file:
            raise MigrationError(f"{file.name}: the number is also that of {other.name}.")
    return files


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
