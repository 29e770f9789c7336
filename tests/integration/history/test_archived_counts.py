"""Archived counts: no answer changes when counts are archived, and old ones are rolled up."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from lambdas.common.event import Event
from lambdas.history import health, reads
from lambdas.history.archived_counts import (
    Archived,
    archive_counts,
    move_windows,
    roll_up_archived_counts,
    seal_partitions,
)
from lambdas.history.database import Connection, DatabaseSettings
from lambdas.history.named_queries import query
from lambdas.history.recording import record

Connect = Callable[[DatabaseSettings], Connection]
MakeEvents = Callable[..., list[Event]]

DAY = timedelta(days=1)


def today() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def create_partition(connection: Connection, lower: datetime, upper: datetime) -> None:
    connection.execute("select create_events_partition(%s, %s)", [lower, upper])


def record_at(connection: Connection, time: datetime, events: list[Event]) -> None:
    """Record events as if it were ``time``; a partition for it must exist."""
    assert record(connection, events).new == len(events)
    connection.execute(
        "update events set created_at = %s where id = any(%s)", [time, [event.id for event in events]]
    )


def count_tables(connection: Connection) -> list[str]:
    """The tables of archived counts that are complete."""
    rows = connection.execute(
        "select inhrelid::regclass::text as name from pg_inherits, watermark "
        "where inhparent = 'archived_events'::regclass "
        "and split_part(inhrelid::regclass::text, '_', 3)::bigint <= extract(epoch from archived_until) "
        "order by 1"
    )
    return [row["name"] for row in rows]


def watermark(connection: Connection) -> datetime:
    row = connection.execute(query("read_watermark")).fetchone()
    assert row is not None
    archived_until: datetime = row["archived_until"]
    return archived_until


def record_earlier(connection: Connection, events: list[Event]) -> None:
    """Record events as if it had been two seconds ago."""
    record_at(connection, datetime.now(UTC) - timedelta(seconds=2), events)


def set_watermark(connection: Connection, time: datetime) -> None:
    connection.execute("update watermark set archived_until = %s, archiving_until = %s", [time, time])


def archived(connection: Connection) -> list[tuple[object, ...]]:
    rows = connection.execute(
        "select streamer_id, streamer_name, event_type, event_count, utc_day "
        "from archived_events order by 5, 2, 3"
    )
    return [tuple(row.values()) for row in rows]


def all_counts(connection: Connection) -> object:
    """The counts that every read returns."""
    day = today().date()
    return (
        reads.count_events(connection, "ana"),
        reads.count_events_daily(connection, "ana", 365, day),
        *(
            reads.leaderboard(connection, event_type, days, day, 10)
            for event_type in (None, "channel.raid")
            for days in (None, 1, 3, 7, 30, 41, 90)
        ),
    )


@pytest.fixture
def past(connection: Connection, make_events: MakeEvents) -> None:
    """Three days of the past with events, the middle one missing."""
    for days in (3, 1):
        create_partition(connection, today() - days * DAY, today() - (days - 1) * DAY)
    record_at(connection, today() - 3 * DAY, make_events(5))
    record_at(
        connection, today() - 2 * DAY - timedelta(microseconds=1), make_events(2, event_type="stream.online")
    )
    record_at(connection, today() - DAY, make_events(3, streamer_id="2", streamer_name="bo"))
    record(connection, make_events(4))


@pytest.mark.usefixtures("past")
class TestSealing:
    def test_the_counts_of_ended_partitions_are_archived(self, connection: Connection) -> None:
        assert seal_partitions(connection) == Archived("done", partitions=2, events=10)
        first, second = (int((today() - days * DAY).timestamp()) for days in (2, 0))
        assert count_tables(connection) == [f"archived_events_{first}", f"archived_events_{second}"]
        assert archived(connection) == [
            ("1001", "ana", "channel.raid", 5, (today() - 3 * DAY).date()),
            ("1001", "ana", "stream.online", 2, (today() - 3 * DAY).date()),
            ("2", "bo", "channel.raid", 3, (today() - DAY).date()),
        ]

    def test_no_answer_changes(self, connection: Connection) -> None:
        before = all_counts(connection)
        seal_partitions(connection)
        assert all_counts(connection) == before

    def test_sealing_again_does_nothing(self, connection: Connection) -> None:
        seal_partitions(connection)
        assert seal_partitions(connection) == Archived("done", partitions=0, events=0)

    def test_several_at_once_seal_each_partition_once(
        self, connection: Connection, settings: DatabaseSettings, connect: Connect
    ) -> None:
        before = all_counts(connection)
        connections = [connect(settings) for _ in range(4)]
        with ThreadPoolExecutor() as pool:
            sealed = list(pool.map(seal_partitions, connections))
        seal_partitions(connection)
        assert sum(each.partitions for each in sealed) <= 2
        assert len(count_tables(connection)) == 2
        assert all_counts(connection) == before

    def test_a_renamed_streamer_keeps_the_archived_counts(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        seal_partitions(connection)
        for hours in (1, 2):
            later = datetime.now(UTC) + timedelta(hours=hours)
            record(connection, make_events(1, streamer_name="ana_live", occurred_at=later))
        assert reads.count_events(connection, "ana_live").counts == {"channel.raid": 11, "stream.online": 2}
        assert reads.leaderboard(connection, None, None, today().date(), 1) == [
            reads.Leader("1001", "ana_live", 13)
        ]


class TestThePresentPartition:
    """Its counts are archived before it ends."""

    def test_no_answer_changes_and_little_is_left_to_count(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        record_earlier(connection, make_events(5))
        record_earlier(connection, make_events(2, streamer_id="2", streamer_name="bo"))
        an_hour_ahead = datetime.now(UTC) + timedelta(hours=1)
        record_at(connection, an_hour_ahead, make_events(3, event_type="stream.online"))
        before = all_counts(connection)
        assert archive_counts(connection, 60) == Archived("done", partitions=0, events=7)
        assert all_counts(connection) == before
        assert archived(connection) == [
            ("1001", "ana", "channel.raid", 5, today().date()),
            ("2", "bo", "channel.raid", 2, today().date()),
        ]
        left = connection.execute(
            "select event_type, count(*) from events, watermark where created_at >= archived_until group by 1"
        )
        assert [tuple(row.values()) for row in left] == [("stream.online", 3)]

    def test_counts_are_added_to_those_of_the_day(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        for count in (1, 2, 3):
            time = today() + timedelta(hours=count)
            record_at(connection, time, make_events(count))
            until = time + timedelta(hours=1)
            connection.execute("update watermark set archiving_until = %s", [until])
            connection.execute("select archive_counts(%s)", [until])
        assert archived(connection) == [("1001", "ana", "channel.raid", 6, today().date())]
        assert reads.count_events(connection, "ana").counts == {"channel.raid": 6}
        assert reads.leaderboard(connection, None, None, today().date(), 1) == [
            reads.Leader("1001", "ana", 6)
        ]

    def test_what_had_ended_is_sealed_first(self, connection: Connection, make_events: MakeEvents) -> None:
        create_partition(connection, today() - DAY, today())
        record_at(connection, today() - DAY, make_events(4))
        record_earlier(connection, make_events(1))
        before = all_counts(connection)
        assert archive_counts(connection, 60) == Archived("done", partitions=1, events=5)
        assert len(count_tables(connection)) == 1
        assert all_counts(connection) == before

    def test_what_an_open_transaction_may_write_is_not_passed_over(
        self, connection: Connection, settings: DatabaseSettings, connect: Connect, make_events: MakeEvents
    ) -> None:
        record_earlier(connection, make_events(1))
        writer = connect(settings)
        with writer.transaction():
            record(writer, make_events(2))
            assert archive_counts(connection, 60) == Archived("blocked")
            assert watermark(connection) == datetime(1970, 1, 1, tzinfo=UTC)
        assert archive_counts(connection, 60).events >= 1
        assert reads.count_events(connection, "ana").counts == {"channel.raid": 3}

    def test_an_open_transaction_that_reads_does_not_stop_it(
        self, connection: Connection, settings: DatabaseSettings, connect: Connect, make_events: MakeEvents
    ) -> None:
        record_earlier(connection, make_events(1))
        reader = connect(settings)
        with reader.transaction():
            reader.execute("set transaction isolation level repeatable read")
            reader.execute("select from events")
            assert archive_counts(connection, 60).events == 1

    def test_neither_does_one_that_writes_into_another_table_or_another_database(
        self,
        connection: Connection,
        settings: DatabaseSettings,
        empty_settings: DatabaseSettings,
        connect: Connect,
        make_events: MakeEvents,
    ) -> None:
        record_earlier(connection, make_events(1))
        here, elsewhere = connect(settings), connect(empty_settings)
        with here.transaction(), elsewhere.transaction():
            here.execute("create table other (id text)")
            elsewhere.execute("create table events (id text)")
            elsewhere.execute("insert into events values ('1')")
            assert archive_counts(connection, 60) == Archived("done", events=1)

    def test_only_one_does_it_at_a_time(
        self, connection: Connection, settings: DatabaseSettings, connect: Connect, make_events: MakeEvents
    ) -> None:
        record_earlier(connection, make_events(5))
        with ThreadPoolExecutor() as pool:
            counted = list(
                pool.map(lambda each: archive_counts(each, 60), [connect(settings) for _ in range(4)])
            )
        counted.append(archive_counts(connection, 60))
        assert sum(archived.events for archived in counted) == 5
        assert reads.count_events(connection, "ana").counts == {"channel.raid": 5}

    def test_events_of_before_the_watermark_are_refused(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        record_earlier(connection, make_events(1))
        archive_counts(connection, 60)
        with pytest.raises(psycopg.errors.CheckViolation, match="before the watermark are counted already"):
            connection.execute(
                "insert into events values ('late', '1', 'ana', 'channel.raid', now(), "
                "now() - interval '1 minute', '{}')"
            )

    def test_a_reader_that_saw_an_older_watermark_counts_the_same(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        record_earlier(connection, make_events(2))
        assert reads.count_events(connection, "ana").counts == {"channel.raid": 2}
        archive_counts(connection, 60)
        record(connection, make_events(3))
        assert reads.count_events(connection, "ana").counts == {"channel.raid": 5}
        assert reads.count_events(connection, "ana").counts == {"channel.raid": 5}

    def test_a_clock_behind_the_watermark_loses_nothing(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        """After a failover to a server whose clock is behind."""
        ahead = datetime.now(UTC) + timedelta(minutes=5)
        set_watermark(connection, ahead)
        record(connection, make_events(2))
        assert reads.count_events(connection, "ana").counts == {"channel.raid": 2}
        archive_counts(connection, 60)
        record(connection, make_events(3))
        assert reads.count_events(connection, "ana").counts == {"channel.raid": 5}

    def test_a_clock_behind_the_watermark_keeps_the_order_of_events(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        set_watermark(connection, datetime.now(UTC) + timedelta(minutes=5))
        batches = [make_events(4) for _ in range(25)]
        for number, batch in enumerate(batches):
            record(connection, batch)
            if number % 10 == 5:
                archive_counts(connection, 60)
        page = reads.newest_events(connection, "ana", 100)
        recorded = [event.id for batch in batches for event in batch]
        assert [event.id for event in page.events] == recorded[::-1]

    def test_an_event_that_is_stamped_before_and_recorded_after_the_announcement_is_refused(
        self, connection: Connection, settings: DatabaseSettings, connect: Connect, make_events: MakeEvents
    ) -> None:
        """Such as by a recorder on a server whose clock steps back while events are counted."""
        record_earlier(connection, make_events(1))
        announced = connection.execute(
            query("announce_archiving"), {"most": timedelta(days=36500), "only_ended": False}
        ).fetchone()
        assert announced is not None
        recorder = connect(settings)
        with pytest.raises(psycopg.errors.CheckViolation, match="are counted already"):
            recorder.execute(
                "insert into events values ('late', '1001', 'ana', 'channel.raid', now(), %s, '{}')",
                [announced["until"] - timedelta(milliseconds=1)],
            )
        record(recorder, make_events(1))
        connection.execute(query("archive_counts"), announced)
        assert reads.count_events(connection, "ana").counts == {"channel.raid": 2}

    def test_the_leaderboard_is_exact_though_it_looks_at_few(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        for number in range(1, 21):
            record_earlier(
                connection, make_events(number, streamer_id=f"{number}", streamer_name=f"s{number:02}")
            )
        archive_counts(connection, 60)
        # One from far behind overtakes all, one catches up with another, one is new.
        record(connection, make_events(25, streamer_id="3", streamer_name="s03"))
        record(connection, make_events(1, streamer_id="19", streamer_name="s19"))
        record(connection, make_events(17, streamer_id="99", streamer_name="new"))
        for event_type in (None, "channel.raid"):
            leaders = reads.leaderboard(connection, event_type, None, today().date(), 5)
            assert [(leader.streamer_name, leader.event_count) for leader in leaders] == [
                ("s03", 28),
                ("s19", 20),
                ("s20", 20),
                ("s18", 18),
                ("s17", 17),
            ]
        assert reads.leaderboard(connection, "stream.online", None, today().date(), 5) == []


class TestRollingUp:
    def test_no_answer_changes_and_a_month_that_is_over_is_one_table(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        start = today() - 70 * DAY
        for days in range(70):
            create_partition(connection, start + days * DAY, start + (days + 1) * DAY)
            record_at(connection, start + days * DAY, make_events(1 + days % 3))
        seal_partitions(connection)
        before = all_counts(connection)
        merged = roll_up_archived_counts(connection)
        months = {(start + days * DAY).strftime("%Y-%m") for days in range(70)} - {today().strftime("%Y-%m")}
        assert len(count_tables(connection)) == 70 - merged + len(months)
        assert len(count_tables(connection)) <= 31 + len(months)
        assert all_counts(connection) == before
        assert roll_up_archived_counts(connection) == 0

    def test_a_merge_may_take_longer_than_other_statements(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        for hours in range(30, 0, -1):
            lower = today() - timedelta(hours=hours)
            create_partition(connection, lower, lower + timedelta(hours=1))
            record_at(connection, lower, make_events(1))
        seal_partitions(connection)
        connection.execute(
            "create or replace function roll_up_archived_counts(max_timestamps timestamptz[], keep_days bool)"
            " returns boolean language sql as $$ select current_setting('statement_timeout') = '5min' $$"
        )
        assert roll_up_archived_counts(connection) > 0
        setting = connection.execute("show statement_timeout").fetchone()
        assert setting is not None
        assert setting["statement_timeout"] != "5min"


def test_totals_are_the_sums_of_the_archived_counts(connection: Connection, make_events: MakeEvents) -> None:
    for hours in range(30, 0, -1):
        lower = today() - timedelta(hours=hours)
        create_partition(connection, lower, lower + timedelta(hours=1))
        record_at(connection, lower, make_events(hours, event_type=f"type.{hours % 2}"))
    seal_partitions(connection)
    roll_up_archived_counts(connection)
    totals = connection.execute("select event_type, event_count from archived_totals order by 1").fetchall()
    assert [tuple(row.values()) for row in totals] == [("", 465), ("type.0", 240), ("type.1", 225)]
    assert health.check_totals(connection) == health.Checked(0, [])


def test_a_partition_may_be_longer_than_a_day(connection: Connection, make_events: MakeEvents) -> None:
    create_partition(connection, today() - 7 * DAY, today())
    expected: dict[date, dict[str, int]] = {}
    for days in range(7, 0, -1):
        record_at(connection, today() - days * DAY + timedelta(hours=23), make_events(days))
        expected[(today() - days * DAY).date()] = {"channel.raid": days}
    expected[today().date()] = {"channel.raid": 0}
    seal_partitions(connection)
    assert len(count_tables(connection)) == 1
    assert reads.count_events_daily(connection, "ana", 8, today().date()) == expected


@pytest.mark.usefixtures("past")
@pytest.mark.parametrize("name", ["count_events", "leaderboard", "leaderboard_of_days"])
def test_a_sealed_partition_is_not_read_for_counts(connection: Connection, name: str) -> None:
    seal_partitions(connection)
    row = connection.execute(query("read_watermark")).fetchone()
    assert row is not None
    plan = connection.execute(
        b"explain (costs off) " + query(name),
        {
            "streamer_name": "ana",
            "event_type": "",
            "days": 9,
            "first_day": today().date(),
            "end_day": today().date(),
            "since": (today() - 8 * DAY).date(),
            "page_size": 10,
            "places_before_last": 9,
            **row,
        },
    )
    text = "\n".join(line["QUERY PLAN"] for line in plan)
    sealed, present = (int((today() + days * DAY).timestamp()) for days in (0, 1))
    assert f" on events_{present}" in text
    assert f" on events_{sealed}" not in text


class TestWindows:
    """The leaderboard of the last days, from sums that are kept for it."""

    @pytest.fixture(autouse=True)
    def forty_days(self, connection: Connection, make_events: MakeEvents) -> None:
        """Forty days, on each of which one streamer has as many events as days have passed."""
        for days in range(40, 0, -1):
            create_partition(connection, today() - days * DAY, today() - (days - 1) * DAY)
            record_at(connection, today() - days * DAY, make_events(days))
            record_at(connection, today() - days * DAY, make_events(1, streamer_id="2", streamer_name="bo"))
        record(connection, make_events(3))

    @staticmethod
    def boards(connection: Connection, day: date) -> list[list[tuple[str, int]]]:
        return [
            [
                (leader.streamer_name, leader.event_count)
                for leader in reads.leaderboard(connection, event_type, days, day, 10)
            ]
            for days in (1, 7, 30, 90)
            for event_type in (None, "channel.raid")
        ]

    @staticmethod
    def expected(day: date) -> list[list[tuple[str, int]]]:
        """Everything since the first day of each window."""
        counted = {0: (3, 0), **{days: (days, 1) for days in range(1, 41)}}
        boards = []
        for window in (1, 7, 30, 90):
            since = day - (window - 1) * DAY
            days = [counts for ago, counts in counted.items() if today().date() - ago * DAY >= since]
            totals = zip(("ana", "bo"), map(sum, zip(*days, strict=True)), strict=False)
            boards += [[row for row in totals if row[1]]] * 2
        return boards

    def test_no_answer_changes_at_any_stage(self, connection: Connection) -> None:
        day = today().date()
        assert self.boards(connection, day) == self.expected(day)
        seal_partitions(connection)
        assert self.boards(connection, day) == self.expected(day)
        moved = query("move_windows")
        while connection.execute(moved).fetchone() == {"moved": True}:
            assert self.boards(connection, day) == self.expected(day)
        assert connection.execute("select distinct end_day from archived_window_spans").fetchall() == [
            {"end_day": day}
        ]
        roll_up_archived_counts(connection)
        assert self.boards(connection, day) == self.expected(day)

    @pytest.mark.parametrize("later", [-2, -1, 0, 1, 2])
    def test_it_is_right_when_a_day_has_ended_and_when_the_readers_clock_is_behind(
        self, connection: Connection, later: int
    ) -> None:
        seal_partitions(connection)
        move_windows(connection)
        day = today().date() + timedelta(days=later)
        assert self.boards(connection, day) == self.expected(day)

    def test_a_window_that_moves_while_it_is_read_is_read_again(self, connection: Connection) -> None:
        seal_partitions(connection)
        parameters = {
            "event_type": "",
            "page_size": 10,
            "days": 7,
            "since": today().date() - 6 * DAY,
            **(connection.execute(query("read_window"), {"days": 7}).fetchone() or {}),
        }
        assert connection.execute(query("leaderboard_of_days"), parameters).fetchall()
        move_windows(connection)
        assert connection.execute(query("leaderboard_of_days"), parameters).fetchall() == []
