"""Events a second that four recorders store, compared with simpler ways to store and to count them."""

import contextlib
import time

from psycopg.errors import DeadlockDetected

from benchmarks import database, writers
from benchmarks.result import Result, limit
from lambdas.common.event import Event
from lambdas.history.archived_counts import ARCHIVE_EVERY_SECONDS, archive_counts
from lambdas.history.database import Connection
from lambdas.history.recording import record, storable_json
from local.postgres import Postgres

BATCH_SIZE = 500
BATCHES = 200
BATCHES_WITH_TRIGGER = 15
BATCHES_WITH_DEADLOCKS = 5
ROWS_ONE_BY_ONE = 200
SEEN_BEFORE = 500_000

ROW_BY_ROW = """
    with fresh as (insert into seen_events (id) values (%(id)b) on conflict do nothing returning id)
    insert into events (id, streamer_id, streamer_name, event_type, occurred_at, created_at, payload)
    select
        id, %(streamer_id)b, %(streamer_name)b, %(event_type)b, %(occurred_at)b, clock_timestamp(),
        %(payload)b::text::jsonb
    from fresh
"""
TRIGGER = """
    create table counters (
        streamer_id text, event_type text, event_count bigint not null, primary key (streamer_id, event_type)
    ) with (fillfactor = 50);
    create function count_event() returns trigger language plpgsql as $$
    begin
        insert into counters values (new.streamer_id, new.event_type, 1)
        on conflict (streamer_id, event_type) do update set event_count = counters.event_count + 1;
        return null;
    end
    $$;
    create trigger counting after insert on events for each row execute function count_event();
"""


def measure() -> list[Result]:
    """With deduplication among half a million ids; every commit is flushed to disk."""
    with database.store() as server, database.connect(server.url()) as connection:
        database.insert_streamers(connection)
        connection.execute(
            "insert into seen_events_before select gen_random_uuid()::text from generate_series(1, %s)",
            [SEEN_BEFORE],
        )
        connection.execute("vacuum analyze")
        ours = _measure(server, record_and_archive, BATCHES, BATCH_SIZE)
        one_by_one = _measure(server, record_row_by_row, ROWS_ONE_BY_ONE, 1)
        connection.execute(TRIGGER)
        sorted_with_trigger = _measure(server, record_sorted, BATCHES_WITH_TRIGGER, BATCH_SIZE)
        with_trigger = _measure(server, record_despite_deadlocks, BATCHES_WITH_DEADLOCKS, BATCH_SIZE)

    def against(baseline_name: str, baseline: float, target: float) -> Result:
        return Result(
            name="recorder, batches of 500, 4 writers",
            unit="events/s",
            ours=ours,
            baseline_name=baseline_name,
            baseline=baseline,
            ratio=ours / baseline,
            target=target,
            better="higher",
        )

    return [
        against("a row at a time with commit", one_by_one, 6),
        limit("recorder, batches of 500, 4 writers", "events/s", ours, 25_000, "higher"),
        against("a trigger that keeps a counter row per streamer and type", with_trigger, 3),
        against("that trigger, batches sorted by counter", sorted_with_trigger, 3),
    ]


_next_archiving = 0.0


def record_and_archive(connection: Connection, events: list[Event]) -> None:
    """Record, and count as often as the recorder function does."""
    global _next_archiving  # noqa: PLW0603 -- each writer is a process
    record(connection, events)
    if time.monotonic() >= _next_archiving:
        _next_archiving = time.monotonic() + ARCHIVE_EVERY_SECONDS
        archive_counts(connection, 1)


def record_row_by_row(connection: Connection, events: list[Event]) -> None:
    """Record each event with its own statement and commit."""
    for event in events:
        connection.execute(
            ROW_BY_ROW,
            {
                "id": event.id,
                "streamer_id": event.streamer_id,
                "streamer_name": event.streamer_name,
                "event_type": event.event_type,
                "occurred_at": event.occurred_at,
                "payload": storable_json(event.payload),
            },
        )


def record_sorted(connection: Connection, events: list[Event]) -> None:
    """Record in the order of the counters, so that there are no deadlocks."""
    record(connection, sorted(events, key=lambda event: (event.streamer_id, event.event_type)))


def record_despite_deadlocks(connection: Connection, events: list[Event]) -> None:
    """Record in the order of arrival; try again after a deadlock."""
    while True:
        with contextlib.suppress(DeadlockDetected):
            record(connection, events)
            return


def _measure(server: Postgres, recording: writers.Record, batches: int, size: int) -> float:
    return writers.events_per_second(writers.run(server.url(), recording, batches=batches, size=size), size)
