"""Erasing a streamer: nothing of theirs is left, and everybody else's stays."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace

import psycopg
import pytest

from lambdas.common.event import Event
from lambdas.history import reads
from lambdas.history.archived_counts import seal_partitions
from lambdas.history.database import Connection
from lambdas.history.recording import record
from lambdas.history.upkeep import erase_streamer

MakeEvents = Callable[..., list[Event]]
TABLES = ("events", "archived_events", "archived_totals", "archived_leaders", "streamers")


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


def streamers(connection: Connection, table: str) -> set[str]:
    return {row["streamer_id"] for row in connection.execute(f"select streamer_id from {table}")}  # noqa: S608


@pytest.mark.usefixtures("history")
def test_nothing_of_the_streamer_is_left_and_the_others_stay(connection: Connection) -> None:
    assert erase_streamer(connection, "1") == 5
    assert {table: streamers(connection, table) for table in TABLES} == {key: {"2"} for key in TABLES}
    assert connection.execute("select count(*) from seen_events").fetchone() == {"count": 5}
    assert reads.count_events(connection, "ana").counts == {}
    assert sum(reads.count_events(connection, "bo").counts.values()) == 5


@pytest.mark.usefixtures("history")
def test_a_sealed_partition_refuses_any_other_delete(connection: Connection) -> None:
    erase_streamer(connection, "1")
    with pytest.raises(psycopg.errors.CheckViolation, match="is closed"):
        connection.execute("delete from events where streamer_id = '2'")


@pytest.mark.usefixtures("history")
def test_an_operator_erases_by_invoking_the_archiver(
    load_handler: Callable[[str], ModuleType],
    lambda_context: SimpleNamespace,
    connection: Connection,
) -> None:
    load_handler("archiver").handler({"erase_streamer_id": "1"}, lambda_context)
    assert streamers(connection, "events") == {"2"}
