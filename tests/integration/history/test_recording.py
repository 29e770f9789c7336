"""Recording: every event exactly once, in order, and no message in the way of another."""

import dataclasses
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lambdas.common.event import MAX_LENGTHS, Event
from lambdas.history import reads
from lambdas.history.archived_counts import archive_counts
from lambdas.history.database import Connection, DatabaseSettings
from lambdas.history.recording import Recorded, record

Connect = Callable[[DatabaseSettings], Connection]
MakeEvents = Callable[..., list[Event]]


RANDOM_TEXT = random.Random(1).randbytes(1500).hex()


def nested(depth: int) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    for _ in range(depth):
        payload = {"inner": payload}
    return payload


def recorded_ids(connection: Connection) -> list[str]:
    return [row["id"] for row in connection.execute("select id from events order by created_at")]


def test_a_batch_is_recorded_in_its_order_with_the_clock_of_the_database(
    connection: Connection, make_events: MakeEvents
) -> None:
    events = make_events(500)[::-1]
    clock = "select clock_timestamp() as now"
    before = connection.execute(clock).fetchone()
    assert record(connection, events) == Recorded(new=500, duplicate=0, refused={})
    after = connection.execute(clock).fetchone()

    assert recorded_ids(connection) == [event.id for event in events]
    assert before is not None
    assert after is not None
    times = [row["created_at"] for row in connection.execute("select created_at from events")]
    assert len(set(times)) == 500
    assert before["now"] < min(times)
    assert max(times) < after["now"] + timedelta(microseconds=500)


def test_what_is_recorded_is_the_event(connection: Connection, make_events: MakeEvents) -> None:
    payload: dict[str, Any] = {
        "title": "Añé 😀 \\u0000",
        "labels": [],
        "from": {"viewers": 1.5},
        "none": None,
    }
    (event,) = make_events(payload=payload)
    record(connection, [event])
    (stored,) = reads.newest_events(connection, "ana", 10).events
    assert dataclasses.replace(stored, created_at=event.created_at) == event


def test_an_empty_batch_is_no_work(connection: Connection) -> None:
    assert record(connection, []) == Recorded(0, 0, {})


def test_redelivered_events_are_recorded_once(connection: Connection, make_events: MakeEvents) -> None:
    first, second, third = make_events(3)
    assert record(connection, [first, second, first]) == Recorded(2, 1, {})
    assert record(connection, [second, third, first]) == Recorded(1, 2, {})
    assert recorded_ids(connection) == [first.id, second.id, third.id]


def test_events_delivered_to_several_recorders_at_once_are_recorded_once(
    settings: DatabaseSettings, connect: Connect, make_events: MakeEvents
) -> None:
    events = [*make_events(100), *make_events(100, streamer_id="1002", streamer_name="bo")]
    # Overlapping batches, in orders that would have them wait for each other in a circle.
    batches = [events, events[::-1], events[50:], events[:150][::-1]]
    connections = [connect(settings) for _ in batches]
    with ThreadPoolExecutor() as pool:
        for _ in range(5):
            results = list(pool.map(record, connections, batches))
            assert sum(result.new + result.duplicate for result in results) == sum(map(len, batches))
    assert sorted(recorded_ids(connections[0])) == [event.id for event in events]


@pytest.mark.parametrize(
    "poison",
    [
        {"payload": {"viewers": float("inf")}},
        {"id": "with \0"},
        {"streamer_name": "half \ud800"},
        {"id": "".join(map(chr, range(300, 6000)))},  # does not fit into an index
        {"payload": nested(100_000)},
        # Each fits into an index of events, not into that of archived_events.
        {"streamer_name": RANDOM_TEXT[:1500], "event_type": RANDOM_TEXT[1500:3000]},
        {"streamer_id": RANDOM_TEXT[:101]},
    ],
    ids=["no-json", "nul", "half-a-surrogate-pair", "too-long", "too-deep", "long-names", "long-id"],
)
def test_only_the_poisonous_event_is_refused(
    connection: Connection, make_events: MakeEvents, poison: dict[str, Any]
) -> None:
    neighbours = make_events(5)
    batch = [*neighbours[:3], *make_events(**poison), *neighbours[3:]]
    recorded = record(connection, batch)
    assert (recorded.new, recorded.duplicate, list(recorded.refused)) == (5, 0, [3])
    assert recorded_ids(connection) == [event.id for event in neighbours]


def test_the_longest_texts_are_recorded_and_counted(connection: Connection, make_events: MakeEvents) -> None:
    longest = {
        name: "".join(chr(0x4E00 + random.Random(name).randrange(20_000)) for _ in range(length))
        for name, length in MAX_LENGTHS.items()
    }
    assert record(connection, make_events(1, **longest)).new == 1
    connection.execute("update events set created_at = created_at - interval '2 seconds'")
    assert archive_counts(connection, 60).events == 1
    assert reads.count_events(connection, longest["streamer_name"]).counts == {longest["event_type"]: 1}


class TestOldEvents:
    """The queue keeps a message for 14 days, seen_events an ID for two to four."""

    def test_an_event_that_comes_again_after_its_id_was_forgotten_is_not_recorded_again(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        days_ago = datetime.now(UTC) - timedelta(days=5)
        start = days_ago.replace(hour=0, minute=0, second=0, microsecond=0)
        connection.execute("select create_events_partition(%s, %s)", [start, start + timedelta(days=1)])
        old = make_events(3, occurred_at=days_ago)
        record(connection, old)
        connection.execute("update events set created_at = %s", [days_ago])
        connection.execute("truncate seen_events, seen_events_before")
        lost, new = make_events(1, occurred_at=days_ago), make_events(1)
        assert record(connection, [*old, *lost, *new]) == Recorded(2, 3, {})
        assert record(connection, [*old, *lost, *new]) == Recorded(0, 5, {})
        assert len(recorded_ids(connection)) == 5

    def test_events_of_any_time_are_recorded(self, connection: Connection, make_events: MakeEvents) -> None:
        first, last = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
        events = [*make_events(1, occurred_at=first), *make_events(1, occurred_at=last)]
        assert record(connection, events) == Recorded(2, 0, {})
        assert record(connection, events) == Recorded(0, 2, {})


def test_characters_that_jsonb_refuses_are_replaced(connection: Connection, make_events: MakeEvents) -> None:
    payload = {"title": "a\0b", "name": "\ud83d alone, \ud83d\ude00 paired", "path": "C:\\u0000\\ud800"}
    record(connection, make_events(payload=payload))
    (stored,) = reads.newest_events(connection, "ana", 10).events
    assert stored.payload == {
        "title": "a\ufffdb",
        "name": "\ufffd alone, \U0001f600 paired",
        "path": "C:\\u0000\\ud800",
    }


class TestBoundaries:
    """Where one partition ends and the next begins."""

    @pytest.fixture
    def boundary(self, connection: Connection) -> datetime:
        """The end of the present partition. It takes a day, and so does the next one."""
        for row in connection.execute(
            "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'events'::regclass"
        ).fetchall():
            connection.execute(f"drop table {row['name']}")
        boundary = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=12)
        for lower in (boundary - timedelta(days=1), boundary):
            connection.execute("select create_events_partition(%s, %s)", [lower, lower + timedelta(days=1)])
        return boundary

    @staticmethod
    def pass_boundary(connection: Connection, boundary: datetime) -> None:
        """As if the partition had ended: no event gets a time before the watermark."""
        connection.execute("update watermark set archived_until = %s, archiving_until = %s", [boundary] * 2)

    def test_who_comes_too_late_for_a_partition_records_into_the_next(
        self,
        connection: Connection,
        settings: DatabaseSettings,
        connect: Connect,
        make_events: MakeEvents,
        boundary: datetime,
    ) -> None:
        recorder = connect(settings)
        ended = f"events_{int(boundary.timestamp())}"
        events = make_events(3)
        with ThreadPoolExecutor() as pool:
            with connection.transaction():
                # The recorder has taken the time for its events when it comes to wait for this lock.
                connection.execute(f"lock table {ended} in access exclusive mode")
                recording = pool.submit(record, recorder, events)
                waiting = "select from pg_locks where not granted and relation = to_regclass(%s)"
                while connection.execute(waiting, [ended]).fetchone() is None:
                    assert not recording.done()
                self.pass_boundary(connection, boundary)
            assert recording.result() == Recorded(new=3, duplicate=0, refused={})
        times = [row["created_at"] for row in connection.execute("select created_at from events")]
        assert len(times) == 3
        assert min(times) >= boundary
        assert record(recorder, events) == Recorded(0, 3, {})

    def test_an_event_that_is_redelivered_after_the_boundary_is_known(
        self, connection: Connection, make_events: MakeEvents, boundary: datetime
    ) -> None:
        events = make_events(2)
        assert record(connection, events).new == 2
        self.pass_boundary(connection, boundary)
        later = make_events(1)
        assert record(connection, [*events, *later]) == Recorded(1, 2, {})
        rows = connection.execute(
            "select distinct tableoid::regclass::text as partition from events"
        ).fetchall()
        assert len(rows) == 2


class TestNames:
    """A login belongs to the streamer last seen with it; events follow the id."""

    @staticmethod
    def told(connection: Connection, make_events: MakeEvents, *names: tuple[float, str]) -> None:
        """Record one event after the other: so many minutes after the first, with that name."""
        for minutes, name in names:
            occurred_at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
            record(connection, make_events(streamer_name=name, occurred_at=occurred_at))

    def test_a_renamed_streamer_keeps_the_events(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        self.told(connection, make_events, (0, "ana"), (5, "ana_live"), (65, "ana_live"))
        assert reads.count_events(connection, "ana_live").counts == {"channel.raid": 3}
        assert reads.count_events(connection, "ana").streamer_id is None

    @pytest.mark.parametrize(
        "names",
        [
            [(5, "ana_live")],
            [(5, "ana_live"), (64, "ana_live")],
            [(5, "ana_live"), (6, "another"), (66, "ana_live")],
            [(5, "ana_live"), (6, "ana"), (66, "ana_live")],
            [(-5, "ana_live"), (-65, "ana_live")],
            [(5, "37885088"), (65, "37885088")],
            [(5, ""), (65, "")],
        ],
        ids=["once", "too short", "others between", "the known one between", "late", "an ID", "none"],
    )
    def test_the_history_stays_where_it_is_until_another_name_was_told_for_an_hour(
        self, connection: Connection, make_events: MakeEvents, names: list[tuple[float, str]]
    ) -> None:
        self.told(connection, make_events, (0, "ana"), *names)
        assert reads.count_events(connection, "ana").counts == {"channel.raid": 1 + len(names)}
        assert all(reads.count_events(connection, name).counts == {} for _, name in names if name != "ana")

    def test_a_name_replaces_an_id_in_its_place_at_once(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        self.told(connection, make_events, (0, "1001"), (1, "1002"), (2, "ana"), (3, "1001"), (4, "ana_live"))
        assert reads.count_events(connection, "ana").counts == {"channel.raid": 5}
        self.told(connection, make_events, (5, "ana"))
        row = connection.execute("select streamer_name, next_name from streamers").fetchone()
        assert row == {"streamer_name": "ana", "next_name": None}

    def test_an_event_without_a_name_has_the_known_one(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        self.told(connection, make_events, (0, ""), (1, "ana"), (2, ""))
        stored = reads.newest_events(connection, "ana", 10).events
        assert [event.streamer_name for event in stored] == ["ana", "ana", ""]

    def test_a_streamer_without_a_name_is_no_leader(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        self.told(connection, make_events, (0, ""))
        assert reads.leaderboard(connection, None, None, datetime.now(UTC).date(), 10) == []

    def test_a_reused_name_is_its_new_owners(self, connection: Connection, make_events: MakeEvents) -> None:
        record(connection, make_events(2, streamer_id="1001", streamer_name="ana"))
        record(connection, make_events(1, streamer_id="2002", streamer_name="ana"))
        assert reads.count_events(connection, "ana") == reads.ChannelCounts(
            "2002", "ana", {"channel.raid": 1}
        )

    def test_a_name_that_is_taken_back_is_its_first_owners_again(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        record(connection, make_events(2, streamer_id="1001", streamer_name="ana"))
        record(connection, make_events(1, streamer_id="2002", streamer_name="ana"))
        record(connection, make_events(1, streamer_id="1001", streamer_name="ana"))
        assert reads.count_events(connection, "ana").counts == {"channel.raid": 3}
        record(connection, make_events(3, streamer_id="2002", streamer_name="ana"))
        assert reads.count_events(connection, "ana").counts == {"channel.raid": 4}

    def test_a_late_event_does_not_bring_the_old_name_back(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        (late,) = make_events(streamer_name="ana")
        record(connection, make_events(streamer_name="ana_live"))
        record(connection, [late])
        assert reads.count_events(connection, "ana_live").counts == {"channel.raid": 2}

    def test_a_late_event_does_not_bring_a_name_back_that_was_given_up_in_between(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        first, renamed, back = (
            make_events(streamer_name=name, occurred_at=datetime.now(UTC) + timedelta(minutes=minutes))
            for name, minutes in (("ana", 0), ("ana_live", 5), ("ana", 10))
        )
        for events in (first, back, renamed):
            record(connection, events)
        assert reads.count_events(connection, "ana").counts == {"channel.raid": 3}

    def test_two_names_in_one_batch_leave_the_newer(
        self, connection: Connection, make_events: MakeEvents
    ) -> None:
        (before,) = make_events(streamer_name="ana")
        (after,) = make_events(streamer_name="ana_live")
        record(connection, [after, before])
        assert reads.count_events(connection, "ana_live").counts == {"channel.raid": 2}
