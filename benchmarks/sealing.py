"""How long recording takes while a partition is sealed, which counts a million events of yesterday."""

import time
from datetime import UTC, datetime, timedelta

from benchmarks import database, writers
from benchmarks.result import Result, limit
from lambdas.history.archived_counts import seal_partitions
from lambdas.history.recording import record

EVENTS = 1_000_000
BATCHES = 40
BATCH_SIZE = 500


def measure() -> list[Result]:
    """The 99th percentile of a batch's duration, alone and while the partition is sealed."""
    with database.store() as server, database.connect(server.url()) as connection:
        database.insert_streamers(connection)
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        database.fill_partition(connection, today - timedelta(days=1), today, EVENTS)
        connection.execute("vacuum analyze")

        alone = writers.run(server.url(), record, batches=BATCHES, size=BATCH_SIZE)
        sealed: list[float] = []

        def seal() -> None:
            sealed.append(time.perf_counter())
            found = seal_partitions(connection)
            sealed.append(time.perf_counter())
            if found.events != EVENTS:
                raise RuntimeError(f"sealed {found.events} events instead of {EVENTS}")

        recorded = writers.run(server.url(), record, batches=1, size=BATCH_SIZE, meanwhile=seal)

    began, ended = sealed
    print(f"sealing took {ended - began:.1f} s", flush=True)
    meanwhile = [batch for batch in recorded if batch.ended > began and batch.began < ended]
    p99_alone, p99_meanwhile = (writers.percentile_99(batches) * 1000 for batches in (alone, meanwhile))
    return [
        Result(
            name="a batch recorded while 1 M events are sealed, p99",
            unit="ms",
            ours=p99_meanwhile,
            baseline_name="recording alone",
            baseline=p99_alone,
            ratio=p99_meanwhile / p99_alone,
            target=3,
            better="lower",
        ),
        limit(
            "a batch recorded while 1 M events are sealed, longest",
            "ms",
            max(batch.took for batch in meanwhile) * 1000,
            1000,
            "lower",
        ),
    ]
