"""Archiving: counts move from events to archives without anyone noticing, and old archives are rolled up."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from lambdas.common.event import Event
from lambdas.history import reading
from lambdas.history.archiving import Sealed, roll_up_archives, seal_partitions
from lambdas.history.database import Connection, DatabaseSettings
from lambdas.history.queries import query
from lambdas.history.recording import record

Connect = Callable[[DatabaseSettings], Connection]
MakeEvents = Callable[..., list[Event]]

DAY = timedelta(days=1)


def today() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def create_partition(connection: Connection, lower: datetime, upper: datetime) -> None:
    connection.execute("select create_events_partition(%s, %s)", [lower, upper])


def record_at(connection: Connection, time: datetime, events: list[Event]) -> None:
    """Record events as if it were ``time``; there must be a partition of then."""
    assert record(connection, events).new == len(events)
    connection.execute(
        "update events set created_at = %s where id = any(%s)", [time, [event.id for event in events]]
    )


def archives(connection: Connection) -> list[str]:
    rows = connection.execute(
        "select inhrelid::regclass::text as name from pg_inherits "
        "where inhparent = 'archived_events'::regclass order by 1"
    )
    return [row["name"] for row in rows]


def archived(connection: Connection) -> list[tuple[object, ...]]:
    rows = connection.execute(
        "select streamer_id, streamer_name, event_type, event_count, utc_day "
        "from archived_events order by 5, 2, 3"
    )
    return [tuple(row.values()) for row in rows]


def everything(connection: Connection) -> object:
    """Whatever is answered about counts."""
    day = today().date()
    return (
        reading.count_events(connection, "ana"),
        reading.count_events_daily(connection, "ana", 365, day),
        reading.leaderboard(connection, None, None, 10),
        reading.leaderboard(connection, "channel.raid", None, 10),
        reading.leaderboard(connection, None, today() - 2 * DAY, 10),
        reading.leaderboard(connection, "channel.raid", today() - 40 * DAY, 10),
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
        assert seal_partitions(connection) == Sealed(partitions=2, events=10)
        first, second = (int((today() - days * DAY).timestamp()) for days in (2, 0))
        assert archives(connection) == [f"archived_events_{first}", f"archived_events_{second}"]
        assert archived(connection) == [
            ("1001", "ana", "channel.raid", 5, (today() - 3 * DAY).date()),
            ("1001", "ana", "stream.online", 2, (today() - 3 * DAY).date()),
            ("2", "bo", "channel.raid", 3, (today() - DAY).date()),
        ]

    def test_no_answer_changes(self, connection: Connection) -> None:
        before = everything(connection)
        seal_partitions(connection)
        assert everything(connection) == before

    def test_sealing_again_does_nothing(self, connection: Connection) -> None:
        seal_partitions(connection)
        assert seal_partitions(connection) == Sealed(partitions=0, events=0)

    def test_several_at_once_seal_each_partition_once(
        self, connection: Connection, settings: DatabaseSettings, connect: Connect
    ) -> None:
        before = everything(connection)
        connections = [connect(settings) for _ in range(4)]
        with ThreadPoolExecutor() as pool:
            sealed = list(pool.map(seal_partitions, connections))
        seal_partitions(connection)
        assert sum(each.partitions for each in sealed) <= 2
        assert len(archives(connection)) == 2
        assert everything(connection) == before

    def test_a_partition_is_not_sealed_before_an_older_one(self, connection: Connection) -> None:
        connection.execute("select close_events_partition(%s)", [today()])
        with pytest.raises(psycopg.errors.RaiseException, match=r"before events_\d+ is not sealed"):
            connection.execute("select seal_events_partition(%s)", [today()])

    def test_the_present_partition_cannot_be_closed(self, connection: Connection) -> None:
        with pytest.raises(psycopg.errors.RaiseException, match="still takes events"):
            connection.execute("select close_events_partition(%s)", [today() + DAY])

    def test_a_renamed_streamer_keeps_the_archived_counts(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        seal_partitions(connection)
        record(connection, make_events(1, streamer_name="ana_live"))
        assert reading.count_events(connection, "ana_live").counts == {"channel.raid": 10, "stream.online": 2}
        assert reading.leaderboard(connection, None, None, 1) == [reading.Leader("1001", "ana_live", 12)]


class TestWritersOfAClosingPartition:
    @pytest.fixture(autouse=True)
    def yesterday(self, connection: Connection) -> None:
        create_partition(connection, today() - DAY, today())

    LATE = (
        "insert into events (id, streamer_id, streamer_name, event_type, occurred_at, created_at, payload) "
        "values ('late', '1001', 'ana', 'channel.raid', now(), %s, '{}')"
    )

    def test_those_who_are_writing_are_waited_for(
        self, connection: Connection, settings: DatabaseSettings, connect: Connect
    ) -> None:
        writer = connect(settings)
        with ThreadPoolExecutor() as pool:
            with writer.transaction():
                writer.execute(self.LATE, [today() - DAY])
                sealing = pool.submit(seal_partitions, connection)
                observer = connect(settings)
                waiting = (
                    "select from pg_locks where not granted and database = "
                    "(select oid from pg_database where datname = current_database())"
                )
                while observer.execute(waiting).fetchone() is None:
                    assert not sealing.done()
            assert sealing.result() == Sealed(partitions=1, events=1)

    def test_those_who_come_later_are_refused(self, connection: Connection) -> None:
        seal_partitions(connection)
        with pytest.raises(psycopg.errors.CheckViolation, match=r"partition events_\d+ is closed"):
            connection.execute(self.LATE, [today() - DAY])


class TestRollingUp:
    def test_no_answer_changes_and_a_finished_month_is_one_archive(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        start = today() - 70 * DAY
        for days in range(70):
            create_partition(connection, start + days * DAY, start + (days + 1) * DAY)
            record_at(connection, start + days * DAY, make_events(1 + days % 3))
        seal_partitions(connection)
        before = everything(connection)
        merged = roll_up_archives(connection)
        months = {(start + days * DAY).strftime("%Y-%m") for days in range(70)} - {today().strftime("%Y-%m")}
        assert len(archives(connection)) == 70 - merged + len(months)
        assert len(archives(connection)) <= 31 + len(months)
        assert everything(connection) == before
        assert roll_up_archives(connection) == 0


def test_totals_are_the_sum_of_the_archives(connection: Connection, make_events: MakeEvents) -> None:
    for hours in range(30, 0, -1):
        lower = today() - timedelta(hours=hours)
        create_partition(connection, lower, lower + timedelta(hours=1))
        record_at(connection, lower, make_events(hours, event_type=f"type.{hours % 2}"))
    seal_partitions(connection)
    roll_up_archives(connection)
    totals = connection.execute("select * from archived_totals order by 2").fetchall()
    assert (
        totals
        == connection.execute(
            "select streamer_id, event_type, sum(event_count)::bigint as event_count from archived_events "
            "group by 1, 2 order by 2"
        ).fetchall()
    )
    assert sum(row["event_count"] for row in totals) == 30 * 31 / 2


def test_a_partition_may_be_longer_than_a_day(connection: Connection, make_events: MakeEvents) -> None:
    create_partition(connection, today() - 7 * DAY, today())
    expected: dict[date, dict[str, int]] = {}
    for days in range(7, 0, -1):
        record_at(connection, today() - days * DAY + timedelta(hours=23), make_events(days))
        expected[(today() - days * DAY).date()] = {"channel.raid": days}
    expected[today().date()] = {"channel.raid": 0}
    seal_partitions(connection)
    assert len(archives(connection)) == 1
    assert reading.count_events_daily(connection, "ana", 8, today().date()) == expected


@pytest.mark.usefixtures("past")
@pytest.mark.parametrize("name", ["count_events", "leaderboard"])
def test_a_sealed_partition_is_not_read_for_counts(connection: Connection, name: str) -> None:
    seal_partitions(connection)
    row = connection.execute(query("read_watermark")).fetchone()
    assert row is not None
    plan = connection.execute(
        b"explain (costs off) " + query(name),
        {"streamer_id": "1001", "event_type": None, "since": None, "page_size": 10, **row},
    )
    text = "\n".join(line["QUERY PLAN"] for line in plan)
    sealed, present = (int((today() + days * DAY).timestamp()) for days in (0, 1))
    assert f" on events_{present}" in text
    assert f" on events_{sealed}" not in text
