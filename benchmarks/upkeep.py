"""How long recording takes while everything of the upkeep is done, and what an export in parts costs.

A million events of yesterday are sealed, exported and dropped, while four writers record.
"""

import io
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks import database, writers
from benchmarks.result import Result, limit
from lambdas.history.archived_counts import move_windows, roll_up_archived_counts, seal_partitions
from lambdas.history.health import check_totals, measure_health
from lambdas.history.recording import record
from lambdas.history.retention import expire_partitions
from lambdas.history.upkeep import ensure_partitions

EVENTS = 1_000_000
BATCHES = 40
BATCH_SIZE = 500
#: Of the largest planned stage.
EVENTS_A_DAY = 900_000_000


class Memory:
    """An S3 that keeps objects in this process's memory."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    def upload_fileobj(self, source: Any, _bucket: str, key: str, **_options: Any) -> None:
        """Keep what can be read from ``source``."""
        self._objects[key] = source.read()

    def put_object(self, *, Key: str, Body: bytes, **_options: Any) -> None:  # noqa: N803 -- boto3's names
        """Keep ``Body``."""
        self._objects[Key] = Body

    def get_object(self, *, Key: str, **_options: Any) -> dict[str, Any]:  # noqa: N803
        """What is kept."""
        return {"Body": io.BytesIO(self._objects[Key])}


def measure() -> list[Result]:
    """The longest and the 99th percentile of a batch's duration, and events a CPU second of an export."""
    with database.store() as server, database.connect(server.url()) as connection:
        database.insert_streamers(connection)
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        database.fill_partition(connection, today - timedelta(days=1), today, EVENTS)
        connection.execute("vacuum analyze")

        alone = writers.run(server.url(), record, batches=BATCHES, size=BATCH_SIZE)
        times: list[float] = []
        cpu_seconds: list[float] = []

        def export() -> None:
            began = time.process_time()
            expired = expire_partitions([connection], Memory(), "exports", retention_seconds=0)
            cpu_seconds.append(time.process_time() - began)
            if (expired.events, expired.dropped) != (EVENTS, 1):
                raise RuntimeError(f"exported {expired}")

        def look_after() -> None:
            times.append(time.perf_counter())
            for step in (
                lambda: ensure_partitions(connection, database.DAY),
                lambda: seal_partitions(connection),
                lambda: move_windows(connection),
                lambda: roll_up_archived_counts(connection),
                lambda: check_totals(connection),
                lambda: measure_health(connection),
            ):
                step()
            times.append(time.perf_counter())

        recorded = writers.run(server.url(), record, batches=1, size=BATCH_SIZE, meanwhile=look_after)
        began, ended = times
        print(f"the upkeep took {ended - began:.1f} s", flush=True)
        export()

    meanwhile = [batch for batch in recorded if batch.ended > began and batch.began < ended]
    p99_alone, p99_meanwhile = (writers.percentile_99(batches) * 1000 for batches in (alone, meanwhile))
    per_cpu_second = EVENTS / cpu_seconds[0]
    hours = EVENTS_A_DAY / per_cpu_second / 3600
    print(f"{EVENTS_A_DAY / 1e6:.0f} M events a day take {hours:.1f} CPU hours to export", flush=True)
    return [
        Result(
            name="a batch recorded beside the upkeep of 1 M events, p99",
            unit="ms",
            ours=p99_meanwhile,
            baseline_name="recording alone",
            baseline=p99_alone,
            ratio=p99_meanwhile / p99_alone,
            target=3,
            better="lower",
        ),
        limit(
            "a batch recorded beside the upkeep of 1 M events, longest",
            "ms",
            max(batch.took for batch in meanwhile) * 1000,
            1000,
            "lower",
        ),
        # With this many, all of a day are exported in the time that the runs of a day may take on one CPU.
        limit(
            "events exported and read back, a CPU second",
            "events/s",
            per_cpu_second,
            EVENTS_A_DAY / (10 * 13 * 60),
            "higher",
        ),
    ]
