"""Erasing a streamer: nothing of theirs is left, and everybody else's stays."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import psycopg
import pytest

from lambdas.common.event import Event
from lambdas.history import reads, upkeep
from lambdas.history.archived_counts import move_windows, seal_partitions
from lambdas.history.database import Connection, DatabaseSettings
from lambdas.history.named_queries import fetch_one
from lambdas.history.recording import Recorded, record
from lambdas.history.upkeep import erase_streamer, finish_erasures

Connect = Callable[[DatabaseSettings], Connection]
MakeEvents = Callable[..., list[Event]]
TABLES = (
    *("events", "archived_events", "archived_totals", "archived_windows", "streamer_partitions"),
    "streamers",
)


@pytest.fixture
def history(connection: Connection, make_events: MakeEvents) -> None:
    """Two streamers with events in a sealed partition and in the present one."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = today - timedelta(days=1)
    connection.execute("select create_events_partition(%s, %s)", [yesterday, today])
    for streamer_id, name in (("1", "ana"), ("2", "bo")):
        record(connection, make_events(3, streamer_id=streamer_id, streamer_name=name))
    connection.execute("update events set created_at = %s", [yesterday])
    for streamer_id, name in (("1", "ana"), ("2", "bo")):
        record(connection, make_events(2, streamer_id=streamer_id, streamer_name=name))
    assert seal_partitions(connection).events == 6
    move_windows(connection)


def streamers(connection: Connection, table: str) -> set[str]:
    return {row["streamer_id"] for row in connection.execute(f"select streamer_id from {table}")}  # noqa: S608


@pytest.mark.usefixtures("history")
def test_nothing_of_the_streamer_is_left_and_the_others_stay(connection: Connection) -> None:
    assert erase_streamer(connection, "1") == 5
    assert {table: streamers(connection, table) for table in TABLES} == {key: {"2"} for key in TABLES}
    assert reads.count_events(connection, "ana").counts == {}
    assert sum(reads.count_events(connection, "bo").counts.values()) == 5


@pytest.mark.usefixtures("history")
def test_what_is_delivered_again_stays_erased_and_what_happens_later_is_recorded(
    connection: Connection, make_events: MakeEvents
) -> None:
    (before,) = make_events(streamer_id="1", streamer_name="ana")
    assert record(connection, [before]).new == 1
    erase_streamer(connection, "1")
    connection.execute("truncate seen_events, seen_events_before")
    assert record(connection, [before]) == Recorded(0, 1, {})
    (later,) = make_events(
        streamer_id="1", streamer_name="ana", occurred_at=datetime.now(UTC) + timedelta(seconds=60)
    )
    assert record(connection, [later]).new == 1
    assert reads.count_events(connection, "ana").counts == {"channel.raid": 1}


@pytest.mark.usefixtures("history")
def test_a_batch_that_is_being_recorded_is_erased_too(
    connection: Connection, settings: DatabaseSettings, connect: Connect, make_events: MakeEvents
) -> None:
    recorder, observer = connect(settings), connect(settings)
    with ThreadPoolExecutor() as pool:
        with recorder.transaction():
            record(recorder, make_events(2, streamer_id="1", streamer_name="ana"))
            erasing = pool.submit(erase_streamer, connection, "1")
            while observer.execute("select from erased_streamers").fetchone() is None:
                assert not erasing.done()
            meanwhile = make_events(1, streamer_id="1", streamer_name="ana")
            assert record(observer, meanwhile) == Recorded(0, 1, {})
        assert erasing.result() == 7
    assert {table: streamers(connection, table) for table in TABLES} == {key: {"2"} for key in TABLES}


@pytest.mark.usefixtures("history")
def test_who_comes_too_late_to_finish_an_erasure_erases_nothing_more(
    connection: Connection, make_events: MakeEvents
) -> None:
    erase_streamer(connection, "1")
    record(
        connection,
        make_events(
            2, streamer_id="1", streamer_name="ana", occurred_at=datetime.now(UTC) + timedelta(seconds=60)
        ),
    )
    assert connection.execute("select erase_events('1', 10) as erased").fetchone() == {"erased": 0}
    connection.execute("select finish_erasing('1')")
    assert reads.count_events(connection, "ana").counts == {"channel.raid": 2}


@pytest.mark.usefixtures("history")
def test_an_erasure_that_failed_on_the_way_is_finished_later(
    connection: Connection, make_events: MakeEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_ERASED_AT_ONCE", 2)
    steps: list[str] = []

    def fail_at_the_second_step(connection: Connection, name: str, parameters: Any = None) -> dict[str, Any]:
        steps.append(name)
        if steps.count("erase_events") == 2:
            raise psycopg.OperationalError("the connection was lost")
        return fetch_one(connection, name, parameters)

    with monkeypatch.context() as broken:
        broken.setattr(upkeep, "fetch_one", fail_at_the_second_step)
        with pytest.raises(psycopg.OperationalError):
            erase_streamer(connection, "1")
    assert connection.execute("select count(*) from events where streamer_id = '1'").fetchone() == {
        "count": 3
    }
    assert record(connection, make_events(streamer_id="1", streamer_name="ana")).new == 0
    assert finish_erasures(connection) == 1
    assert {table: streamers(connection, table) for table in TABLES} == {key: {"2"} for key in TABLES}
    assert finish_erasures(connection) == 0


@pytest.mark.usefixtures("history")
def test_an_operator_erases_by_invoking_the_archiver(
    load_handler: Callable[[str], ModuleType],
    lambda_context: SimpleNamespace,
    connection: Connection,
) -> None:
    load_handler("archiver").handler({"erase_streamer_id": "1"}, lambda_context)
    assert streamers(connection, "events") == {"2"}
