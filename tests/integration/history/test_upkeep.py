"""The upkeep: partitions are there before they are needed, and the table of seen ids stays small."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.errors import LockNotAvailable

from lambdas.common.event import Event
from lambdas.history import locks, reads
from lambdas.history.archived_counts import archive_counts, roll_up_archived_counts
from lambdas.history.database import Connection, DatabaseSettings
from lambdas.history.migrations import migrate
from lambdas.history.recording import Recorded, record
from lambdas.history.upkeep import ensure_partitions, forget_seen_events
from local import postgres

Connect = Callable[[DatabaseSettings], Connection]
MakeEvents = Callable[..., list[Event]]


def partitions(connection: Connection) -> dict[str, str]:
    rows = connection.execute(
        """
        select child.relname, pg_get_expr(child.relpartbound, child.oid) as bound
        from pg_inherits inner join pg_class as child on child.oid = inhrelid
        where inhparent = 'events'::regclass
        """
    )
    return {row["relname"]: row["bound"] for row in rows}


@pytest.fixture
def fresh(empty_settings: DatabaseSettings, connect: Connect) -> Connection:
    """A database with the schema and no partitions."""
    connection = connect(empty_settings)
    migrate(connection)
    return connection


def test_there_are_partitions_for_the_present_and_two_more(fresh: Connection) -> None:
    assert ensure_partitions(fresh, 86400) == 2
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    days = [datetime.fromtimestamp(midnight + day * 86400, UTC).strftime("%Y-%m-%d") for day in range(4)]
    assert partitions(fresh) == {
        f"events_{int(midnight) + (day + 1) * 86400}": (
            f"FOR VALUES FROM ('{days[day]} 00:00:00+00', MINVALUE, MINVALUE) "
            f"TO ('{days[day + 1]} 00:00:00+00', MINVALUE, MINVALUE)"
        )
        for day in range(3)
    }


def test_there_are_partitions_after_the_clock_stepped_back(
    fresh: Connection, make_events: MakeEvents
) -> None:
    """New events come after the time that was announced, however far the clock is behind it."""
    for hours in (24, 72):
        announced = datetime.now(UTC) + timedelta(hours=hours)
        fresh.execute("update watermark set archived_until = %s, archiving_until = %s", [announced] * 2)
        assert ensure_partitions(fresh, 3600) == 2
        assert record(fresh, make_events(1)).new == 1


def test_when_nothing_is_missing_nothing_is_made(fresh: Connection) -> None:
    ensure_partitions(fresh, 86400)
    before = partitions(fresh)
    assert ensure_partitions(fresh, 86400) == 2
    assert partitions(fresh) == before


def test_several_archivers_at_once_make_each_partition_once(
    fresh: Connection, empty_settings: DatabaseSettings, connect: Connect
) -> None:
    connections = [connect(empty_settings) for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        ahead = list(pool.map(lambda connection: ensure_partitions(connection, 3600), connections))
    assert ahead == [2, 2, 2, 2]
    assert len(partitions(fresh)) == 3


def test_recording_goes_on_while_a_partition_is_made(
    settings: DatabaseSettings, connect: Connect, make_events: Callable[..., list[Event]]
) -> None:
    recorder, archiver = connect(settings), connect(settings)
    recorder.execute("set lock_timeout = '10s'")  # the archiver's transaction is open for longer
    with archiver.transaction():
        archiver.execute("select create_events_partition('2000-01-01', '2000-01-02')")
        assert record(recorder, make_events(3)).new == 3


def test_a_partition_without_statistics_is_read_by_its_index(
    connection: Connection, make_events: MakeEvents
) -> None:
    connection.execute(
        "insert into events select n::text, '1', 'ana', 'channel.raid', now(), present_stamp(), '{}' "
        "from generate_series(1, 20000) as n"
    )
    row = connection.execute("select present_stamp() as stamp").fetchone()
    assert row is not None
    plan = connection.execute("explain select count(*) from events where created_at >= %s", [row["stamp"]])
    text = "\n".join(line["QUERY PLAN"] for line in plan)
    assert "created_at_idx" in text, text


class TestAutovacuum:
    """An autovacuum is cancelled when it is in the way; recorders and readers do not queue meanwhile."""

    @pytest.fixture
    def vacuumed(
        self, server: postgres.Postgres, settings: DatabaseSettings
    ) -> Iterator[Callable[[str], None]]:
        """Let something hold the lock that an autovacuum of a table has, until it is ended."""
        with psycopg.connect(server.url(settings.database_name), autocommit=False) as holder:

            def hold(table: str) -> None:
                holder.execute(f"lock table {table} in share update exclusive mode")

            yield hold
            holder.rollback()

    def test_the_lock_that_is_waited_for_lets_reads_and_writes_pass(
        self,
        connection: Connection,
        settings: DatabaseSettings,
        connect: Connect,
        make_events: MakeEvents,
        vacuumed: Callable[[str], None],
    ) -> None:
        connection.execute("update seen_events_since set since = since - interval '2 days'")
        vacuumed("seen_events")
        recorder = connect(settings)
        recorder.execute("set lock_timeout = '100ms'")
        waiting = "select from pg_locks where not granted and mode = 'ShareUpdateExclusiveLock'"
        with ThreadPoolExecutor() as pool:
            forgetting = pool.submit(
                connection.execute, "select forget_seen_events(interval '2 days') as forgotten"
            )
            while recorder.execute(waiting).fetchone() is None:
                assert not forgetting.done()
            assert record(recorder, make_events(3)).new == 3
            with pytest.raises(LockNotAvailable):
                forgetting.result()


def test_a_long_reader_keeps_counts_from_being_rolled_up_and_nobody_from_reading(
    connection: Connection,
    settings: DatabaseSettings,
    connect: Connect,
    make_events: MakeEvents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(locks, "PAUSE_SECONDS", 0.0)
    start = datetime(2020, 1, 1, tzinfo=UTC)
    for hours in range(3):
        lower = start + timedelta(hours=hours)
        connection.execute("select create_events_partition(%s, %s)", [lower, lower + timedelta(hours=1)])
    archive_counts(connection, 60)
    dump, reader = connect(settings), connect(settings)
    reader.execute("set lock_timeout = '5s'")
    with ThreadPoolExecutor() as pool:
        with dump.transaction():
            dump.execute("select from archived_events")
            rolling_up = pool.submit(roll_up_archived_counts, connection)
            while not rolling_up.done():
                reads.leaderboard(reader, None, 7, start.date(), 10)
            with pytest.raises(LockNotAvailable):
                rolling_up.result()
        assert roll_up_archived_counts(connection) == 3


def test_a_partition_has_the_indexes_of_the_table(fresh: Connection) -> None:
    ensure_partitions(fresh, 86400)
    name = min(partitions(fresh))
    indexes = fresh.execute("select indexdef from pg_indexes where tablename = %s", [name])
    columns = sorted(row["indexdef"].partition(" USING ")[2] for row in indexes)
    assert columns == [
        "brin (created_at) WITH (pages_per_range='16', autosummarize='on')",
        "btree (streamer_id, created_at DESC, id DESC)",
        "btree (streamer_id, event_type, created_at)",
    ]


class TestForgetting:
    """Ids are kept for two to four days, in two tables that take turns."""

    @pytest.fixture
    def days_pass(self, connection: Connection) -> Callable[[int], None]:
        def days_pass(days: int) -> None:
            connection.execute(
                "update seen_events_since set since = since - make_interval(days => %s)", [days]
            )

        return days_pass

    def test_nothing_is_forgotten_before_it_is_time(
        self, connection: Connection, make_events: MakeEvents, days_pass: Callable[[int], None]
    ) -> None:
        record(connection, make_events(3))
        days_pass(1)
        assert forget_seen_events(connection) is False
        assert connection.execute("select count(*) from seen_events").fetchone() == {"count": 3}

    def test_what_is_redelivered_days_later_is_still_known(
        self, connection: Connection, make_events: MakeEvents, days_pass: Callable[[int], None]
    ) -> None:
        earlier, later = make_events(3), make_events(2)
        record(connection, earlier)
        days_pass(2)
        assert forget_seen_events(connection) is True
        assert record(connection, [*earlier, *later]).new == 2
        days_pass(1)
        assert forget_seen_events(connection) is False
        assert record(connection, [*earlier, *later]) == Recorded(0, 5, {})

    def test_in_the_end_nothing_is_kept(
        self, connection: Connection, make_events: MakeEvents, days_pass: Callable[[int], None]
    ) -> None:
        record(connection, make_events(3))
        for _ in range(2):
            days_pass(2)
            assert forget_seen_events(connection) is True
        tables = (
            "select (select count(*) from seen_events) + (select count(*) from seen_events_before) as count"
        )
        assert connection.execute(tables).fetchone() == {"count": 0}

    def test_it_can_be_repeated_for_ever(
        self, connection: Connection, make_events: MakeEvents, days_pass: Callable[[int], None]
    ) -> None:
        for _ in range(4):
            (event,) = make_events()
            assert record(connection, [event, event]) == Recorded(1, 1, {})
            days_pass(2)
            assert forget_seen_events(connection) is True
            assert record(connection, [event]) == Recorded(0, 1, {})

    def test_events_that_are_recorded_meanwhile_are_recorded_once(
        self,
        settings: DatabaseSettings,
        connect: Connect,
        connection: Connection,
        make_events: MakeEvents,
        days_pass: Callable[[int], None],
    ) -> None:
        batches = [make_events(20) for _ in range(40)]
        recorders = [connect(settings) for _ in range(3)]
        forgotten = threading.Event()

        def record_all(recorder: Connection) -> int:
            """Record all batches, again and again until IDs have been forgotten, and once more."""
            new = 0
            done = False
            while not done:
                done = forgotten.is_set()
                new += sum(record(recorder, batch).new for batch in batches)
            return new

        def forgotten_now() -> bool:
            try:
                return forget_seen_events(connection)
            except LockNotAvailable:
                return False

        days_pass(2)
        with ThreadPoolExecutor() as pool:
            recording = [pool.submit(record_all, recorder) for recorder in recorders]
            while not forgotten_now():
                assert not any(future.done() for future in recording)
            forgotten.set()
            assert sum(future.result() for future in recording) == 800
        counts = connection.execute("select count(*), count(distinct id) as ids from events").fetchone()
        assert counts == {"count": 800, "ids": 800}

    def test_it_gives_way_to_who_records_for_long(
        self,
        settings: DatabaseSettings,
        connect: Connect,
        connection: Connection,
        make_events: MakeEvents,
        days_pass: Callable[[int], None],
    ) -> None:
        recorder = connect(settings)
        days_pass(2)
        with recorder.transaction():
            record(recorder, make_events(1))
            with pytest.raises(LockNotAvailable):
                forget_seen_events(connection)
        assert forget_seen_events(connection) is True
