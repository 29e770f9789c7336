"""How many events a second the recorder stores, against one insert and commit for each event."""

import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from benchmarks.result import Result
from lambdas.common.event import Event
from lambdas.history.database import Connection
from lambdas.history.migrations import migrate
from lambdas.history.recording import record
from lambdas.history.upkeep import ensure_partitions
from local import postgres

BATCHES = 40
BATCH_SIZE = 500
ROWS_ONE_BY_ONE = 2_000


def measure() -> list[Result]:
    """One writer, deduplication on, a durable PostgreSQL on this machine."""
    with (
        tempfile.TemporaryDirectory() as directory,
        postgres.running(Path(directory)) as server,
        psycopg.connect(server.url(), autocommit=True, row_factory=dict_row) as connection,
    ):
        migrate(connection)
        ensure_partitions(connection, 86_400)
        set_based = _events_per_second(connection, BATCHES, BATCH_SIZE)
        one_by_one = _events_per_second(connection, ROWS_ONE_BY_ONE, 1)
    return [
        Result(
            name="recorder, batches of 500",
            unit="events/s",
            ours=set_based,
            baseline_name="a row at a time with commit",
            baseline=one_by_one,
            ratio=set_based / one_by_one,
            target=6,
            better="higher",
        )
    ]


def _events_per_second(connection: Connection, batches: int, size: int) -> float:
    prepared = [[_event() for _ in range(size)] for _ in range(batches)]
    started = time.perf_counter()
    for batch in prepared:
        record(connection, batch)
    return batches * size / (time.perf_counter() - started)


def _event() -> Event:
    now = datetime.now(UTC)
    streamer = str(uuid.uuid4().int % 10_000)
    return Event(
        id=str(uuid.uuid4()),
        streamer_id=streamer,
        streamer_name=f"streamer_{streamer}",
        event_type="channel.follow",
        occurred_at=now,
        created_at=now,
        payload={"user_id": "1", "user_login": "somebody", "followed_at": now.isoformat()},
    )
