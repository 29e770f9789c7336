"""The migrations: in order, each exactly once, nothing half-done, and their sum is schema.sql."""

import itertools
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lambdas.history.database import ROOT, Connection, DatabaseSettings
from lambdas.history.migrations import MigrationError, migrate, migration_files
from local import postgres

Connect = Callable[[DatabaseSettings], Connection]


def dump(server: postgres.Postgres, settings: DatabaseSettings) -> str:
    command: list[str] = [
        str(postgres.program("pg_dump")),
        "--schema-only",
        "--restrict-key=none",
        server.url(settings.database_name),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_schema_file_equals_the_sum_of_the_migrations(
    server: postgres.Postgres, new_database: Callable[[str], DatabaseSettings], connect: Connect
) -> None:
    by_migrations, by_schema = new_database("template1"), new_database("template1")
    migrate(connect(by_migrations))
    connect(by_schema).execute((ROOT / "sql" / "schema.sql").read_bytes())
    assert dump(server, by_schema) == dump(server, by_migrations)


def test_a_second_run_applies_nothing(empty_settings: DatabaseSettings, connect: Connect) -> None:
    connection = connect(empty_settings)
    assert migrate(connection) == [file.name for file in migration_files()]
    assert migrate(connection) == []


def test_migrators_at_once_apply_each_migration_once(
    empty_settings: DatabaseSettings, connect: Connect
) -> None:
    connections = [connect(empty_settings) for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        applied = list(pool.map(migrate, connections))
    assert sorted(itertools.chain(*applied)) == [file.name for file in migration_files()]


def test_a_failing_migration_names_file_and_line_and_leaves_nothing_of_itself(
    empty_settings: DatabaseSettings, connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "0001_before_one.sql").write_bytes(migration_files()[0].read_bytes())
    (tmp_path / "0002_before_two.sql").write_text("create table half (id text);\nselect from nowhere;\n")
    (tmp_path / "0003_before_three.sql").write_text("create table never (id text);\n")
    connection = connect(empty_settings)

    with pytest.raises(MigrationError, match=r'0002_before_two\.sql, line 2: relation "nowhere" does not'):
        migrate(connection, tmp_path)

    tables = "select relname from pg_class where relname in ('events', 'half', 'never')"
    assert connection.execute(tables).fetchall() == [{"relname": "events"}]

    (tmp_path / "0002_before_two.sql").write_text("create table half (id text);\n")
    assert migrate(connection, tmp_path) == ["0002_before_two.sql", "0003_before_three.sql"]


@pytest.mark.parametrize(
    "name", ["1_before_x.sql", "0002_x.sql", "0002_before_X.sql", "0001_before_other.sql"]
)
def test_a_misnamed_migration_is_refused_before_anything_runs(
    empty_settings: DatabaseSettings, connect: Connect, tmp_path: Path, name: str
) -> None:
    (tmp_path / "0001_before_one.sql").write_text("create table one (id text);\n")
    (tmp_path / name).touch()
    connection = connect(empty_settings)
    with pytest.raises(MigrationError, match="sql"):
        migrate(connection, tmp_path)
    assert connection.execute("select from pg_class where relname = 'one'").fetchone() is None


def test_a_package_without_migrations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="incomplete"):
        migration_files(tmp_path)
