r"""Migrations: SQL files applied in order, each exactly once, each in a transaction of its own.

``NNNN_before_<what>.sql`` runs before the code that needs it: the code of the previous release must still be
able to use the schema. ``NNNN_after_<what>.sql`` runs once no earlier code runs any more, and may remove what
only that needed.

A SQL function is written once, in ``sql/functions``, as ``create or replace function``. To change it, edit
its file and write a migration that includes it, with psql's ``\ir ../functions/<name>.sql`` on a line of its
own: function and tables then change in one transaction. Code that is still running calls the new function,
so its name, arguments and result stay; else, write another function. To remove one, drop it (``if exists``)
in a migration after the code, and delete its file and the lines that include it.
"""

import itertools
import re
from pathlib import Path
from typing import Final, Literal

import psycopg

from lambdas.history.database import ROOT, Connection, is_lost

DIRECTORY: Final = ROOT / "sql" / "migrations"

Phase = Literal["before", "after"]

_FILE_NAME: Final = re.compile(r"(?P<number>\d{4})_(?P<phase>before|after)_[a-z0-9_]+\.sql")
_INCLUDE: Final = re.compile(r"\\ir (?P<path>\S+)\n")


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
    try:
        with connection.transaction():
            connection.execute("".join(line for _, line in lines).encode())
            connection.execute("insert into migrations (file_name) values (%s)", [name])
    except psycopg.Error as error:
        if is_lost(error):
            raise
        place, position = name, int(error.diag.statement_position or 0)
        for place_of_line, line in lines:
            if position <= 0:
                break
            place, position = place_of_line, position - len(line)
        raise MigrationError(f"{place}: {str(error).splitlines()[0]}") from error
