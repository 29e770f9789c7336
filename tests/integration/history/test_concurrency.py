"""Everything at once, connections being killed at random: no count is wrong, and nothing is counted twice.

Ten seconds in `make test`, a minute in `make stress`, or as many seconds as FANFARE_STRESS_SECONDS says;
longer if not everything has happened by then.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from lambdas.common.event import Event
from lambdas.history import exports, reads
from lambdas.history.archived_counts import archive_counts, move_windows, seal_partitions
from lambdas.history.database import Connection, Database, DatabaseSettings
from lambdas.history.migrations import migrate
from lambdas.history.named_queries import query
from lambdas.history.recording import record
from lambdas.history.retention import expire_partitions
from lambdas.history.upkeep import ensure_partitions

SECONDS = float(os.environ.get("FANFARE_STRESS_SECONDS", "10"))
PARTITION_SECONDS = 2
RETENTION_SECONDS = 3
WRITERS, READERS, ARCHIVERS = 4, 3, 2
BATCH = 20
STREAMERS = ("1", "2")
BUCKET = "exports"

#: When to give up if something does not happen.
MAX_SECONDS = SECONDS + 300

# What a recorder does that takes the time, after it has inserted the IDs, long before it inserts the events.
SEE = "insert into seen_events select unnest(%s::text[]) on conflict do nothing returning id"
LATE = """
    insert into events (id, streamer_id, streamer_name, event_type, occurred_at, created_at, payload)
    values (%(id)s, %(streamer_id)s, %(streamer_name)s, %(event_type)s, now(), %(stamp)s, '{}')
"""


class Writer:
    """Records batches one after the other, each as often as it takes, and some of them twice."""

    def __init__(self, name: str, database: Database, stop: threading.Event) -> None:
        self.accepted: list[str] = []
        self.refused = 0
        # By streamer; ahead of what is committed by one batch at most.
        self.tried, self.committed = dict.fromkeys(STREAMERS, 0), dict.fromkeys(STREAMERS, 0)
        self._name, self._database, self._stop = name, database, stop
        self._random = random.Random(name)

    def run(self) -> None:
        while not self._stop.is_set():
            events = [self._event() for _ in range(self._random.randint(1, BATCH))]
            self._add(events, self.tried)
            way = self._random.choices([record, self._hold_open, self._come_late], [20, 1, 1])[0]
            self._until_done(way, events)
            self._add(events, self.committed)
            self.accepted += [event.id for event in events]
            if self._random.random() < 0.1:
                self._until_done(record, events)  # delivered again

    def _event(self) -> Event:
        now = datetime.now(UTC)
        streamer_id = self._random.choice(STREAMERS)
        return Event(
            id=f"{self._name}-{self._random.getrandbits(64):x}",
            streamer_id=streamer_id,
            streamer_name=f"streamer_{streamer_id}",
            event_type=self._random.choice(["channel.follow", "channel.raid"]),
            occurred_at=now,
            created_at=now,
            payload={"viewers": 1},
        )

    @staticmethod
    def _add(events: list[Event], counts: dict[str, int]) -> None:
        for streamer_id, count in Counter(event.streamer_id for event in events).items():
            counts[streamer_id] += count

    def _until_done(self, way: Callable[[Connection, list[Event]], object], events: list[Event]) -> None:
        done = self._done(way, events)
        while not done:
            done = self._done(record, events)

    def _done(self, way: Callable[[Connection, list[Event]], object], events: list[Event]) -> bool:
        try:
            self._database.run(lambda connection: way(connection, events))
        except psycopg.Error:
            return False
        return True

    def _hold_open(self, connection: Connection, events: list[Event]) -> None:
        """Keep the transaction open until after the partition that it writes into has ended."""
        with connection.transaction():
            record(connection, events)
            self._sleep_over_a_boundary()

    def _come_late(self, connection: Connection, events: list[Event]) -> None:
        """Insert into a partition that ended, and may have been closed, since the transaction began."""
        try:
            with connection.transaction():
                fresh = {row["id"] for row in connection.execute(SEE, [[event.id for event in events]])}
                present = connection.execute("select clock_timestamp() as stamp").fetchone()
                assert present is not None
                self._sleep_over_a_boundary()
                for event in events:
                    if event.id in fresh:
                        connection.execute(LATE, {**dataclasses.asdict(event), **present, "payload": None})
        except psycopg.errors.CheckViolation:
            self.refused += 1
            record(connection, events)

    def _sleep_over_a_boundary(self) -> None:
        time.sleep(PARTITION_SECONDS - time.time() % PARTITION_SECONDS + self._random.random())


class Reader:
    """Reads counts in every way there is, and compares each with what may be counted at that time."""

    def __init__(self, database: Database, writers: list[Writer], stop: threading.Event) -> None:
        self.read = 0
        self.wrong: list[str] = []
        self._database, self._writers, self._stop = database, writers, stop

    def run(self) -> None:
        ways: list[tuple[Callable[[Connection], int], Sequence[str]]] = [
            (_counts, STREAMERS[:1]),
            (_daily_counts, STREAMERS[:1]),
            (_leaderboard, STREAMERS),
            (_leaderboard_of_a_week, STREAMERS),
        ]
        for way, streamers in itertools.cycle(ways):
            if self._stop.is_set():
                return
            before = sum(writer.committed[streamer] for writer in self._writers for streamer in streamers)
            try:
                counted = self._database.run(way)
            except psycopg.Error:
                continue
            after = sum(writer.tried[streamer] for writer in self._writers for streamer in streamers)
            self.read += 1
            if not before <= counted <= after:
                self.wrong.append(f"{way.__name__}: {before} <= {counted} <= {after}")


def _counts(connection: Connection) -> int:
    return sum(reads.count_events(connection, "streamer_1").counts.values())


def _daily_counts(connection: Connection) -> int:
    # One more day than today: midnight may come between asking the clock and counting.
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    days = reads.count_events_daily(connection, "streamer_1", 3, tomorrow)
    return sum(count for counts in days.values() for count in counts.values())


def _leaderboard(connection: Connection) -> int:
    return sum(
        leader.event_count
        for leader in reads.leaderboard(connection, None, None, datetime.now(UTC).date(), 10)
    )


def _leaderboard_of_a_week(connection: Connection) -> int:
    leaders = reads.leaderboard(connection, None, 7, datetime.now(UTC).date(), 10)
    return sum(leader.event_count for leader in leaders)


class Archiver:
    """Does what the archiver function does, over and over; counts are rolled up a few tables at a time."""

    def __init__(self, database: Database, s3: Any, stop: threading.Event) -> None:
        self.sealed = self.archived = self.rolled_up = self.dropped = 0
        self._database, self._s3, self._stop = database, s3, stop

    def run(self) -> None:
        while not self._stop.is_set():
            for step in (self._archive, self._seal, self._archive, self._roll_up, self._expire):
                # A lock that was not to be had, or a connection that was killed: next time.
                with contextlib.suppress(psycopg.Error):
                    self._database.run(lambda connection: ensure_partitions(connection, PARTITION_SECONDS))
                    self._database.run(step)

    def _archive(self, connection: Connection) -> None:
        self.archived += archive_counts(connection, 1).events
        move_windows(connection)

    def _seal(self, connection: Connection) -> None:
        self.sealed += seal_partitions(connection).partitions

    def _roll_up(self, connection: Connection) -> None:
        # What is due comes by the hour and takes too long to wait for.
        state = connection.execute(query("list_archived_counts")).fetchone()
        assert state is not None
        members = sorted(state["max_timestamps"])[:-2]
        if len(members) > 1:
            parameters = {"max_timestamps": members, "keep_days": True}
            row = connection.execute(query("roll_up_archived_counts"), parameters).fetchone()
            self.rolled_up += row == {"done": True}

    def _expire(self, connection: Connection) -> None:
        self.dropped += expire_partitions([connection], self._s3, BUCKET, RETENTION_SECONDS).dropped


def _kill(connection: Connection, stop: threading.Event) -> None:
    """End one of the others' connections every now and then."""
    while not stop.wait(random.uniform(0.1, 0.5)):
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid() order by random() limit 1"
        )


def test_counts_are_right_all_the_time_and_in_the_end(
    empty_settings: DatabaseSettings,
    open_database: Callable[[DatabaseSettings], Database],
    connect: Callable[[DatabaseSettings], Connection],
    s3: Any,
) -> None:
    quiet = connect(empty_settings)
    migrate(quiet)
    ensure_partitions(quiet, PARTITION_SECONDS)
    stop_writing, stop = threading.Event(), threading.Event()
    writers = [Writer(f"w{number}", open_database(empty_settings), stop_writing) for number in range(WRITERS)]
    readers = [Reader(open_database(empty_settings), writers, stop) for _ in range(READERS)]
    archivers = [Archiver(open_database(empty_settings), s3, stop) for _ in range(ARCHIVERS)]

    def done() -> dict[str, int]:
        return {
            "events": sum(len(writer.accepted) for writer in writers),
            "late": sum(writer.refused for writer in writers),
            "read": sum(reader.read for reader in readers),
            "sealed": sum(archiver.sealed for archiver in archivers),
            "archived": sum(archiver.archived for archiver in archivers),
            "rolled up": sum(archiver.rolled_up for archiver in archivers),
            "dropped": sum(archiver.dropped for archiver in archivers),
        }

    with ThreadPoolExecutor(max_workers=WRITERS + READERS + ARCHIVERS + 1) as pool:
        others = [
            *(pool.submit(reader.run) for reader in readers),
            *(pool.submit(archiver.run) for archiver in archivers),
            pool.submit(_kill, connect(empty_settings), stop),
        ]
        writing = [pool.submit(writer.run) for writer in writers]
        began = time.monotonic()
        while (passed := time.monotonic() - began) < SECONDS or not all(done().values()):
            if passed > MAX_SECONDS or any(thread.done() for thread in (*writing, *others)):
                break
            time.sleep(0.1)
        stop_writing.set()
        wait(writing)
        stop.set()
        wait(others)
    for thread in (*writing, *others):
        thread.result()

    # Now the rest, undisturbed.
    final = connect(empty_settings)
    seal_partitions(final)
    expire_partitions([final], s3, BUCKET, RETENTION_SECONDS)

    wrong = [each for reader in readers for each in reader.wrong]
    assert not wrong, wrong[:10]
    accepted = [id_ for writer in writers for id_ in writer.accepted]
    assert _leaderboard(final) == _leaderboard_of_a_week(final) == len(accepted)
    stored = [row["id"] for row in final.execute("select id from events")]
    for partition in exports.list_exports(s3, BUCKET):
        # An export whose partition could not be dropped stands beside it.
        if final.execute("select to_regclass(%s) as name", [partition]).fetchone() == {"name": None}:
            stored += [json.loads(line)["id"] for line in exports.read_export(s3, BUCKET, partition)]
    assert sorted(stored) == sorted(accepted)
    print(done())
    assert all(done().values()), f"nothing was tested of some of {done()}"
