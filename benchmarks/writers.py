"""Recorders at full speed, each in a process with its own connection, like the functions."""

import dataclasses
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from multiprocessing.synchronize import Event as Flag
from threading import BrokenBarrierError
from typing import Any

from benchmarks import database
from lambdas.common.event import Event
from lambdas.history.database import Connection

WRITERS = 4
#: Afterwards the statements are prepared and the new partition has its first pages.
WARM_UP_BATCHES = 6
START_TIMEOUT_SECONDS = 300

Record = Callable[[Connection, list[Event]], object]


@dataclasses.dataclass(frozen=True)
class Batch:
    """When a batch began (``time.perf_counter``, which all processes share), and its seconds."""

    began: float
    took: float

    @property
    def ended(self) -> float:
        """When it had been recorded."""
        return self.began + self.took


def run(
    url: str,
    record: Record,
    *,
    batches: int,
    size: int,
    meanwhile: Callable[[], object] = lambda: None,
) -> list[Batch]:
    """Let each writer record ``batches`` batches of ``size`` events, which are made before.

    ``meanwhile`` is called at the same time; the writers record further batches until it returns.
    """
    processes = multiprocessing.get_context("spawn")
    barrier, done = processes.Barrier(WRITERS + 1), processes.Event()
    with ProcessPoolExecutor(WRITERS, processes, initializer=_share, initargs=(barrier, done)) as pool:
        writing = [pool.submit(_write, url, record, batches, size, seed) for seed in range(WRITERS)]
        for writer in writing:
            writer.add_done_callback(lambda ended: barrier.abort() if ended.exception() else None)
        try:
            barrier.wait(START_TIMEOUT_SECONDS)
        except BrokenBarrierError:
            errors = [error for writer in writing if isinstance(error := writer.exception(), Exception)]
            raise ExceptionGroup("not all writers could begin", errors) from None
        meanwhile()
        done.set()
        return [batch for writer in writing for batch in writer.result()]


def events_per_second(batches: list[Batch], size: int) -> float:
    """Events a second of all writers, from the begin of the first batch to the end of the last."""
    seconds = max(batch.ended for batch in batches) - min(batch.began for batch in batches)
    return len(batches) * size / seconds


def percentile_99(batches: list[Batch]) -> float:
    """The 99th percentile of the batches' seconds."""
    return statistics.quantiles((batch.took for batch in batches), n=100, method="inclusive")[98]


# Processes can get these only at their start.
_shared: dict[str, Any] = {}


def _share(barrier: Barrier, done: Flag) -> None:
    _shared.update(barrier=barrier, done=done)


def _write(url: str, record: Record, batches: int, size: int, seed: int) -> list[Batch]:
    chance = random.Random(time.time_ns() + seed)

    def make_batch() -> list[Event]:
        return [database.make_event(chance) for _ in range(size)]

    recorded = []
    with database.connect(url) as connection:
        for _ in range(WARM_UP_BATCHES):
            record(connection, make_batch())
        prepared = [make_batch() for _ in range(batches)]
        _shared["barrier"].wait(START_TIMEOUT_SECONDS)
        while prepared or not _shared["done"].is_set():
            batch = prepared.pop() if prepared else make_batch()
            began = time.perf_counter()
            record(connection, batch)
            recorded.append(Batch(began, time.perf_counter() - began))
    return recorded
