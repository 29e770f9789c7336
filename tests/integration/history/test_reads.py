"""Reading: pages that hold still while events arrive, counts, and the leaderboard."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Self

import psycopg
import pytest

from lambdas.common.event import Event
from lambdas.history import reads
from lambdas.history.archived_counts import seal_partitions
from lambdas.history.cursors import Position
from lambdas.history.database import Connection
from lambdas.history.named_queries import query
from lambdas.history.recording import record

MakeEvents = Callable[..., list[Event]]


def today() -> date:
    return datetime.now(UTC).date()


def record_on(connection: Connection, day: date, events: list[Event]) -> None:
    """Record events as if it were ``day``: in a partition of that day."""
    lower = datetime(day.year, day.month, day.day, tzinfo=UTC)
    name = f"events_{int((lower + timedelta(days=1)).timestamp())}"
    if connection.execute("select to_regclass(%s) as name", [name]).fetchone() == {"name": None}:
        connection.execute("select create_events_partition(%s, %s)", [lower, lower + timedelta(days=1)])
    record(connection, events)
    connection.execute(
        "update events set created_at = %s + (created_at - date_trunc('day', created_at)) where id = any(%s)",
        [lower, [event.id for event in events]],
    )


class TestPaging:
    def test_an_unknown_channel_has_an_empty_list(self, connection: Connection) -> None:
        assert reads.newest_events(connection, "nobody", 10) == reads.Page([], None)

    def test_the_newest_come_first(self, connection: Connection, make_events: MakeEvents) -> None:
        events = make_events(12)
        record(connection, events)
        page = reads.newest_events(connection, "ana", 10)
        assert [event.id for event in page.events] == [event.id for event in events[:1:-1]]
        assert page.next is not None

    def test_a_full_last_page_says_that_it_is_the_last(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        record(connection, make_events(10))
        assert reads.newest_events(connection, "ana", 10).next is None

    def test_other_channels_events_are_not_shown(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        record(connection, [*make_events(3), *make_events(3, streamer_id="2", streamer_name="bo")])
        page = reads.newest_events(connection, "bo", 10)
        assert {event.streamer_id for event in page.events} == {"2"}
        assert len(page.events) == 3

    @pytest.mark.parametrize("limit", [1, 3, 7])
    def test_pages_hold_still_while_events_arrive(
        self, connection: Connection, make_events: MakeEvents, limit: int
    ) -> None:
        today = datetime.now(UTC).date()
        older, newer = make_events(10), make_events(10)
        record_on(connection, today - timedelta(days=3), older)  # pages span partitions
        record(connection, newer)

        seen: list[str] = []
        page = reads.newest_events(connection, "ana", limit)
        seen += [event.id for event in page.events]
        while page.next:
            record(connection, make_events(2))
            before = Position.from_cursor(page.next.to_cursor())
            page = reads.newest_events(connection, "ana", limit, before)
            seen += [event.id for event in page.events]

        assert seen == [event.id for event in [*older, *newer]][::-1]

    def test_events_recorded_at_the_same_instant_are_neither_lost_nor_repeated(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        events = make_events(9)
        record(connection, events)
        connection.execute("update events set created_at = date_trunc('day', created_at)")
        seen: list[str] = []
        page = reads.newest_events(connection, "ana", 2)
        seen += [event.id for event in page.events]
        while page.next:
            page = reads.newest_events(connection, "ana", 2, page.next)
            seen += [event.id for event in page.events]
        assert seen == [event.id for event in events][::-1]

    def test_before_the_beginning_there_is_nothing(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        record(connection, make_events(1))
        beginning = Position(datetime.min.replace(tzinfo=UTC), "")
        assert reads.newest_events(connection, "ana", 10, beginning) == reads.Page([], None)

    @pytest.mark.parametrize("name", ["newest_events", "newest_events_by_type"])
    def test_only_the_partition_of_the_span_is_planned(
        self, connection: Connection, make_events: MakeEvents, name: str
    ) -> None:
        today = datetime.now(UTC).date()
        for days in range(5):
            record_on(connection, today - timedelta(days=days), make_events(1))
        midnight = datetime.combine(today, time(), UTC)
        plan = connection.execute(
            b"explain (costs off) " + query(name),
            {
                "streamer_id": "1001",
                "event_types": ["channel.raid"],
                "after": midnight - timedelta(hours=1),
                "until": midnight - timedelta(minutes=1),
                "before_created_at": datetime.max.replace(tzinfo=UTC),
                "before_id": "",
                "page_size": 11,
            },
        ).fetchall()
        scanned = {found[1] for row in plan if (found := re.search(r" on (events_\d+)", row["QUERY PLAN"]))}
        assert scanned == {f"events_{int(midnight.timestamp())}"}, plan

    @pytest.mark.parametrize("event_types", [(), ("channel.raid",)])
    def test_what_happened_years_ago_is_found(
        self, connection: Connection, make_events: MakeEvents, event_types: tuple[str, ...]
    ) -> None:
        today = datetime.now(UTC).date()
        events = [make_events(2) for _ in range(6)]
        for days, some in zip((4000, 1500, 90, 3, 1, 0), events, strict=True):
            record_on(connection, today - timedelta(days=days), some)
        expected = [event.id for some in events for event in some][::-1]
        page = reads.newest_events(connection, "ana", 20, event_types=event_types)
        assert ([event.id for event in page.events], page.next) == (expected, None)
        page = reads.newest_events(connection, "ana", 5, event_types=event_types)
        assert [event.id for event in page.events] == expected[:5]
        assert page.next is not None
        page = reads.newest_events(connection, "ana", 20, page.next, event_types=event_types)
        assert ([event.id for event in page.events], page.next) == (expected[5:], None)

    @pytest.mark.parametrize("event_types", [(), ("channel.raid",), ("stream.online", "channel.raid")])
    def test_a_quiet_channel_is_looked_for_where_it_has_events(
        self,
        connection: Connection,
        make_events: MakeEvents,
        monkeypatch: pytest.MonkeyPatch,
        event_types: tuple[str, ...],
    ) -> None:
        busy: dict[str, str] = {"streamer_id": "2", "streamer_name": "bo"}
        quiet = [make_events(1) for _ in range(2)]
        for days in range(30, 0, -1):
            record_on(connection, today() - timedelta(days=days), make_events(1, **busy))
        for days, events in zip((29, 11), quiet, strict=True):
            record_on(connection, today() - timedelta(days=days), events)
        seal_partitions(connection)
        executed: list[object] = []

        class Cursor(psycopg.Cursor[dict[str, Any]]):
            def execute(self, query: Any, *args: Any, **kwargs: Any) -> Self:
                executed.append(query)
                return super().execute(query, *args, **kwargs)

        monkeypatch.setattr(connection, "cursor_factory", Cursor)
        page = reads.newest_events(connection, "ana", 10, event_types=event_types)
        assert [event.id for event in page.events] == [events[0].id for events in reversed(quiet)]
        assert len(executed) == 4, "where they are, the present partition, and two others"


class TestCounts:
    def test_an_unknown_channel_has_counted_nothing(self, connection: Connection) -> None:
        assert reads.count_events(connection, "nobody") == reads.ChannelCounts(None, "nobody", {})

    def test_a_channel_is_counted_by_type_over_all_partitions(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        yesterday = today() - timedelta(days=1)
        record_on(connection, yesterday, make_events(3))
        record(connection, [*make_events(2), *make_events(4, event_type="stream.online")])
        record(connection, make_events(9, streamer_id="2", streamer_name="bo"))
        assert reads.count_events(connection, "ana") == reads.ChannelCounts(
            "1001", "ana", {"channel.raid": 5, "stream.online": 4}
        )


class TestDailyCounts:
    def test_days_without_events_are_zero(self, connection: Connection, make_events: MakeEvents) -> None:
        today = datetime.now(UTC).date()
        record_on(connection, today - timedelta(days=2), make_events(3))
        record_on(connection, today - timedelta(days=4), make_events(7))  # before the days asked for
        record(connection, make_events(1, event_type="stream.online"))
        assert reads.count_events_daily(connection, "ana", 4, today) == {
            today - timedelta(days=3): {"channel.raid": 0, "stream.online": 0},
            today - timedelta(days=2): {"channel.raid": 3, "stream.online": 0},
            today - timedelta(days=1): {"channel.raid": 0, "stream.online": 0},
            today: {"channel.raid": 0, "stream.online": 1},
        }

    def test_an_unknown_channel_has_empty_days(self, connection: Connection) -> None:
        day = date(2026, 1, 1)
        assert reads.count_events_daily(connection, "nobody", 2, day) == {
            date(2025, 12, 31): {},
            date(2026, 1, 1): {},
        }


class TestMinutelyCounts:
    def test_minutes_without_events_are_zero(self, connection: Connection, make_events: MakeEvents) -> None:
        record(connection, [*make_events(2), *make_events(1, event_type="stream.online")])
        row = connection.execute("select max(created_at) as newest from events").fetchone()
        assert row
        now = row["newest"] + timedelta(minutes=1)
        minute = now.replace(second=0, microsecond=0)
        assert reads.count_events_minutely(connection, "ana", 3, now) == {
            minute - timedelta(minutes=2): {"channel.raid": 0, "stream.online": 0},
            minute - timedelta(minutes=1): {"channel.raid": 2, "stream.online": 1},
            minute: {"channel.raid": 0, "stream.online": 0},
        }
        assert reads.count_events_minutely(connection, "ana", 1, now) == {minute: {}}


class TestLeaderboard:
    @pytest.fixture(autouse=True)
    def channels(self, connection: Connection, make_events: MakeEvents) -> None:
        yesterday = today() - timedelta(days=1)
        record_on(connection, yesterday, make_events(5))
        record(connection, make_events(3, streamer_id="2", streamer_name="bo"))
        record(connection, make_events(3, streamer_id="1", streamer_name="cy"))
        record(connection, make_events(1, event_type="stream.online"))

    def test_the_channel_with_most_events_comes_first(self, connection: Connection) -> None:
        assert reads.leaderboard(connection, None, None, today(), 10) == [
            reads.Leader("1001", "ana", 6),
            reads.Leader("1", "cy", 3),
            reads.Leader("2", "bo", 3),
        ]

    def test_it_can_be_of_one_type_of_a_time_and_shorter(self, connection: Connection) -> None:
        assert reads.leaderboard(connection, "stream.online", None, today(), 10) == [
            reads.Leader("1001", "ana", 1)
        ]
        assert reads.leaderboard(connection, None, 1, today(), 2) == [
            reads.Leader("1", "cy", 3),
            reads.Leader("2", "bo", 3),
        ]
