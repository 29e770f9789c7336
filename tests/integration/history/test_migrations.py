"""Migrations: in order, each exactly once, nothing half-done; and their sum is schema.sql."""

import itertools
import shutil
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import pytest

from lambdas.common.event import Event
from lambdas.history.database import ROOT, Connection, DatabaseSettings
from lambdas.history.migrations import MigrationError, migrate, migration_files
from lambdas.history.recording import record
from local import postgres

Connect = Callable[[DatabaseSettings], Connection]
Release = Callable[..., Path]

FIRST = "0001_before_schema.sql"


@pytest.fixture
def empty(empty_settings: DatabaseSettings, connect: Connect) -> Connection:
    """A connection to a database without a schema."""
    return connect(empty_settings)


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """Make a release's folder of migrations: the real first one, one for each name, and one for each text."""
    numbers = itertools.count()

    def make(*names: str, texts: Mapping[str, str] = MappingProxyType({})) -> Path:
        folder = tmp_path / str(next(numbers)) / "migrations"
        shutil.copytree(ROOT / "sql" / "functions", folder.parent / "functions")
        folder.mkdir()
        shutil.copy(ROOT / "sql" / "migrations" / FIRST, folder)
        for name in names:
            (folder / f"{name}.sql").write_text(f"create table t{name[:4]} (id text);\n")
        for name, text in texts.items():
            (folder / f"{name}.sql").write_text(text)
        return folder

    return make


def tables(connection: Connection) -> set[str]:
    return {
        row["relname"] for row in connection.execute("select relname from pg_class where relname ~ '^t[0-9]'")
    }


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
    command: list[str] = [
        *(str(postgres.program("psql")), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"),
        *("--file", str(ROOT / "sql" / "schema.sql"), server.url(by_schema.database_name)),
    ]
    subprocess.run(command, check=True)
    assert dump(server, by_schema) == dump(server, by_migrations)


def test_a_second_run_applies_nothing(empty: Connection) -> None:
    assert migrate(empty) == [file.name for file in migration_files()]
    assert migrate(empty) == []


def test_migrators_at_once_apply_each_migration_once(
    empty_settings: DatabaseSettings, connect: Connect, release: Release
) -> None:
    folder = release("0002_before_two", "0003_after_three")
    connections = [connect(empty_settings) for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        applied = list(pool.map(lambda connection: migrate(connection, directory=folder), connections))
    assert sorted(itertools.chain(*applied)) == [file.name for file in migration_files(folder)]


def test_a_failing_migration_names_file_and_line_and_leaves_nothing_of_itself(
    empty: Connection, release: Release
) -> None:
    folder = release(
        "0003_before_three", texts={"0002_before_two": "create table t0002 ();\nselect from nowhere;\n"}
    )
    with pytest.raises(MigrationError, match=r'0002_before_two\.sql, line 2: relation "nowhere" does not'):
        migrate(empty, directory=folder)
    assert tables(empty) == set()
    assert empty.execute("select file_name from migrations").fetchall() == [{"file_name": FIRST}]

    (folder / "0002_before_two.sql").write_text("create table t0002 ();\n")
    assert migrate(empty, directory=folder) == ["0002_before_two.sql", "0003_before_three.sql"]


class TestFunctions:
    """A function is a file, and a migration includes it."""

    BODY = "create or replace function f() returns text language sql as $$\nselect '{}'\n$$;\n"

    def test_a_later_migration_includes_a_changed_function_again(
        self, empty: Connection, release: Release
    ) -> None:
        first = release(texts={"0002_before_f": "create table t0002 ();\n\\ir ../functions/f.sql\n"})
        (first.parent / "functions" / "f.sql").write_text(self.BODY.format("é"))
        migrate(empty, directory=first)
        assert empty.execute("select f()").fetchone() == {"f": "é"}

        second = release(
            texts={
                "0002_before_f": "create table t0002 ();\n\\ir ../functions/f.sql\n",
                "0003_before_other_f": "\\ir ../functions/f.sql\n",
            }
        )
        (second.parent / "functions" / "f.sql").write_text(self.BODY.format("other"))
        assert migrate(empty, directory=second) == ["0003_before_other_f.sql"]
        assert empty.execute("select f()").fetchone() == {"f": "other"}

    def test_a_mistake_is_named_by_its_place(self, empty: Connection, release: Release) -> None:
        folder = release(texts={"0002_before_two": "-- é\n\\ir ../functions/f.sql\nselect from nowhere;\n"})
        function = folder.parent / "functions" / "f.sql"
        function.write_text("\n-- é\ncreate or replace functoin f();\n")
        with pytest.raises(MigrationError, match=r'^f\.sql, line 3: syntax error at or near "functoin"'):
            migrate(empty, directory=folder)
        function.write_text(self.BODY)
        with pytest.raises(MigrationError, match=r'^0002_before_two\.sql, line 3: relation "nowhere"'):
            migrate(empty, directory=folder)

    def test_nothing_is_applied_if_a_file_is_missing(self, empty: Connection, release: Release) -> None:
        folder = release("0002_before_two", texts={"0003_before_three": "\\ir ../functions/f.sql\n"})
        with pytest.raises(FileNotFoundError, match=r"functions/f\.sql"):
            migrate(empty, directory=folder)
        assert tables(empty) == set()


class TestPhases:
    """What comes before the code, and what comes after it."""

    def test_each_is_applied_in_its_phase(self, empty: Connection, release: Release) -> None:
        migrate(empty, directory=release())
        folder = release("0002_before_two", "0003_before_three", "0004_after_four")
        assert migrate(empty, "before", folder) == ["0002_before_two.sql", "0003_before_three.sql"]
        assert migrate(empty, "after", folder) == ["0004_after_four.sql"]
        assert migrate(empty, "before", folder) == migrate(empty, "after", folder) == []

    def test_an_empty_database_gets_all_at_once(self, empty: Connection, release: Release) -> None:
        folder = release("0002_after_two", "0003_before_three", "0004_after_four")
        assert migrate(empty, "before", folder) == [file.name for file in migration_files(folder)]
        assert tables(empty) == {"t0002", "t0003", "t0004"}

    def test_a_release_cannot_be_skipped_that_ends_with_a_migration(
        self, empty: Connection, release: Release
    ) -> None:
        migrate(empty, directory=release())
        folder = release("0002_before_two", "0003_after_three", "0004_before_four")
        with pytest.raises(
            MigrationError, match=r"0004_before_four\.sql: first deploy .* 0003_after_three\.sql"
        ):
            migrate(empty, "before", folder)
        assert tables(empty) == set()

    def test_a_release_is_refused_whose_successor_has_removed_something(
        self, empty: Connection, release: Release
    ) -> None:
        old, new = release(), release("0002_before_two", "0003_after_three")
        migrate(empty, directory=old)
        migrate(empty, "before", new)
        assert migrate(empty, "before", old) == [], "what was added does not matter to it"
        migrate(empty, "after", new)
        with pytest.raises(MigrationError, match=r"0003_after_three\.sql .* too old"):
            migrate(empty, "before", old)


class TestLocks:
    """Recorders do not wait for migrations."""

    def test_a_migration_gives_way_to_who_has_the_table_and_is_tried_again(
        self,
        settings: DatabaseSettings,
        connect: Connect,
        release: Release,
        make_events: Callable[..., list[Event]],
    ) -> None:
        migrator, reader, recorder = connect(settings), connect(settings), connect(settings)
        recorder.execute("set lock_timeout = '60s'")
        folder = release(texts={"0002_before_two": "alter table events add column extra text;\n"})
        with ThreadPoolExecutor() as pool:
            with reader.transaction():
                reader.execute("select from events")
                migrating = pool.submit(migrate, migrator, directory=folder)
                waiting = "select from pg_locks where not granted and relation = 'events'::regclass"
                tries = 0
                while tries < 2:
                    while recorder.execute(waiting).fetchone() is None:
                        assert not migrating.done()
                    # Waits behind the migration until that gives up.
                    assert record(recorder, make_events(1)).new == 1
                    assert not migrating.done()
                    tries += 1
            assert migrating.result() == ["0002_before_two.sql"]

    def test_an_index_is_built_on_each_partition_while_events_are_recorded(
        self,
        settings: DatabaseSettings,
        connect: Connect,
        release: Release,
        make_events: Callable[..., list[Event]],
    ) -> None:
        migrator, writer, recorder = connect(settings), connect(settings), connect(settings)
        recorder.execute("set lock_timeout = '60s'")
        folder = release(
            texts={
                "0002_before_index": "-- Why.\ncreate index concurrently by_time on events (occurred_at);\n"
            }
        )
        valid = (
            "select count(*) from pg_index inner join pg_class on oid = indexrelid "
            "where relname like '%by_time' and indisvalid"
        )
        with ThreadPoolExecutor() as pool:
            with writer.transaction():
                record(writer, make_events(1))
                migrating = pool.submit(migrate, migrator, directory=folder)
                building = "select from pg_stat_progress_create_index"
                while recorder.execute(building).fetchone() is None:
                    assert not migrating.done()
                # Another streamer: two who are new to the store would wait for each other.
                others = make_events(2, streamer_id="2", streamer_name="bo")
                assert record(recorder, others).new == 2
                assert not migrating.done()
            assert migrating.result() == ["0002_before_index.sql"]
        assert writer.execute(valid).fetchone() == {"count": 4}, "on three partitions and events itself"
        assert record(recorder, make_events(2)).new == 2

    def test_a_build_that_was_ended_goes_on(
        self,
        settings: DatabaseSettings,
        connect: Connect,
        release: Release,
        make_events: Callable[..., list[Event]],
    ) -> None:
        migrator, writer, observer = connect(settings), connect(settings), connect(settings)
        folder = release(
            texts={"0002_before_index": "create index concurrently by_time on events (occurred_at);\n"}
        )
        indexes = (
            "select relname, indisvalid from pg_index inner join pg_class on oid = indexrelid "
            "where relname like '%by_time' order by 1"
        )
        with ThreadPoolExecutor() as pool:
            with writer.transaction():
                record(writer, make_events(1))
                migrating = pool.submit(migrate, migrator, directory=folder)
                while not [row for row in observer.execute(indexes) if not row["indisvalid"]]:
                    assert not migrating.done()
                observer.execute("select pg_cancel_backend(%s)", [migrator.info.backend_pid])
                with pytest.raises(MigrationError):
                    migrating.result()
            left = observer.execute(indexes).fetchall()
        assert {row["indisvalid"] for row in left} >= {False}
        assert migrate(connect(settings), directory=folder) == ["0002_before_index.sql"]
        assert [row["indisvalid"] for row in observer.execute(indexes)] == [True] * 4


@pytest.mark.parametrize("name", ["1_before_x", "0002_x", "0002_before_X", "0001_before_other"])
def test_a_misnamed_migration_is_refused_before_anything_runs(
    empty: Connection, release: Release, name: str
) -> None:
    with pytest.raises(MigrationError, match="sql"):
        migrate(empty, directory=release(name))
    assert empty.execute("select to_regclass('events') as name").fetchone() == {"name": None}


def test_a_package_without_migrations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="incomplete"):
        migration_files(tmp_path)
