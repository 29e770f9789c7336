"""The upkeep: partitions are there before they are needed, and the table of seen ids stays small."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from lambdas.common.event import Event
from lambdas.history.database import Connection, DatabaseSettings
from lambdas.history.migrations import migrate
from lambdas.history.recording import record
from lambdas.history.upkeep import ensure_partitions, forget_seen_events

Connect = Callable[[DatabaseSettings], Connection]


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
    recorder.execute("set lock_timeout = '1ms'")
    with archiver.transaction():
        archiver.execute("select create_events_partition('2000-01-01', '2000-01-02')")
        assert record(recorder, make_events(3)).new == 3


def test_a_partition_has_the_indexes_of_the_table(fresh: Connection) -> None:
    ensure_partitions(fresh, 86400)
    name = min(partitions(fresh))
    indexes = fresh.execute("select indexdef from pg_indexes where tablename = %s", [name])
    columns = sorted(row["indexdef"].partition(" USING ")[2] for row in indexes)
    assert columns == [
        "btree (streamer_id, created_at DESC, id DESC)",
        "btree (streamer_id, event_type, created_at)",
    ]


def test_ids_are_forgotten_after_two_days(
    connection: Connection, make_events: Callable[..., list[Event]]
) -> None:
    old, recent = make_events(2)
    record(connection, [old, recent])
    connection.execute("update seen_events set seen_at = now() - interval '49 hours' where id = %s", [old.id])
    connection.execute(
        "update seen_events set seen_at = now() - interval '47 hours' where id = %s", [recent.id]
    )
    assert forget_seen_events(connection) == 1
    assert connection.execute("select id from seen_events").fetchall() == [{"id": recent.id}]
