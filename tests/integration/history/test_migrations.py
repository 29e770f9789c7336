"""The migrations: in order, each exactly once, nothing half-done, and their sum is schema.sql."""

import itertools
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lambdas.common.event import Event
from lambdas.history import reading
from lambdas.history.archiving import archive_recorded_events
from lambdas.history.database import ROOT, Connection, DatabaseSettings
from lambdas.history.migrations import MigrationError, migrate, migration_files
from lambdas.history.reading import Leader
from lambdas.history.recording import record
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
        migrate(connection, directory=tmp_path)

    tables = "select relname from pg_class where relname in ('events', 'half', 'never')"
    assert connection.execute(tables).fetchall() == [{"relname": "events"}]

    (tmp_path / "0002_before_two.sql").write_text("create table half (id text);\n")
    assert migrate(connection, directory=tmp_path) == ["0002_before_two.sql", "0003_before_three.sql"]


class TestPhases:
    """What comes before the code, and what comes after it."""

    @pytest.fixture
    def release(self, tmp_path: Path) -> Callable[..., Path]:
        """A folder with the migrations of a release."""

        def make(*names: str) -> Path:
            folder = tmp_path / str(len(names))
            folder.mkdir()
            (folder / "0001_before_one.sql").write_bytes(migration_files()[0].read_bytes())
            for name in names:
                (folder / name).write_text(f"create table t{name[:4]} (id text);\n")
            return folder

        return make

    def test_each_is_applied_in_its_phase(
        self, empty_settings: DatabaseSettings, connect: Connect, release: Callable[..., Path]
    ) -> None:
        connection = connect(empty_settings)
        migrate(connection, directory=release())
        folder = release("0002_before_two.sql", "0003_before_three.sql", "0004_after_four.sql")
        assert migrate(connection, "before", folder) == ["0002_before_two.sql", "0003_before_three.sql"]
        assert migrate(connection, "after", folder) == ["0004_after_four.sql"]
        assert migrate(connection, "before", folder) == migrate(connection, "after", folder) == []

    def test_an_empty_database_is_made_ready_at_once(
        self, empty_settings: DatabaseSettings, connect: Connect, release: Callable[..., Path]
    ) -> None:
        folder = release("0002_after_two.sql", "0003_before_three.sql", "0004_after_four.sql")
        assert migrate(connect(empty_settings), "before", folder) == [
            "0001_before_one.sql",
            "0002_after_two.sql",
            "0003_before_three.sql",
            "0004_after_four.sql",
        ]

    def test_a_release_cannot_be_skipped_that_ends_with_a_migration(
        self, empty_settings: DatabaseSettings, connect: Connect, release: Callable[..., Path]
    ) -> None:
        connection = connect(empty_settings)
        migrate(connection, directory=release())
        folder = release("0002_before_two.sql", "0003_after_three.sql", "0004_before_four.sql")
        with pytest.raises(
            MigrationError, match=r"0004_before_four\.sql: first deploy .* 0003_after_three\.sql"
        ):
            migrate(connection, "before", folder)
        assert connection.execute("select from pg_class where relname = 't0002'").fetchone() is None

    def test_a_release_is_refused_whose_successor_has_taken_something_away(
        self, empty_settings: DatabaseSettings, connect: Connect, release: Callable[..., Path]
    ) -> None:
        connection = connect(empty_settings)
        old, new = release(), release("0002_before_two.sql", "0003_after_three.sql")
        migrate(connection, directory=old)
        migrate(connection, "before", new)
        assert migrate(connection, "before", old) == [], "what was added does not hurt it"
        migrate(connection, "after", new)
        with pytest.raises(MigrationError, match=r"0003_after_three\.sql .* too old"):
            migrate(connection, "before", old)


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
        migrate(connection, directory=tmp_path)
    assert connection.execute("select from pg_class where relname = 'one'").fetchone() is None


def test_a_package_without_migrations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="incomplete"):
        migration_files(tmp_path)


def test_what_was_archived_before_the_watermark_followed_the_clock_is_counted_on(
    empty_settings: DatabaseSettings,
    connect: Connect,
    tmp_path: Path,
    make_events: Callable[..., list[Event]],
) -> None:
    for file in migration_files():
        if file.name < "0010":
            shutil.copy(file, tmp_path)
    connection = connect(empty_settings)
    migrate(connection, directory=tmp_path)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    day = timedelta(days=1)
    for lower in (today - day, today, today + day):
        connection.execute("select create_events_partition(%s, %s)", [lower, lower + day])
    record(connection, [*make_events(3), *make_events(2, streamer_id="2", streamer_name="bo")])
    connection.execute("update events set created_at = created_at - interval '1 day'")
    connection.execute("select close_events_partition(%s)", [today])
    connection.execute("select seal_events_partition(%s)", [today])
    record(connection, make_events(4))
    connection.execute(
        "update events set created_at = greatest(created_at - interval '2 seconds', %s) "
        "where created_at > %s",
        [today, today],
    )

    def answers() -> list[object]:
        return [
            reading.count_events(connection, "ana").counts,
            reading.leaderboard(connection, None, None, 9),
        ]

    migrate(connection)
    expected = [{"channel.raid": 7}, [Leader("1001", "ana", 7), Leader("2", "bo", 2)]]
    assert answers() == expected
    assert archive_recorded_events(connection).events == 4
    assert answers() == expected
