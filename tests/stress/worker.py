"""A process that does one job with the store's own code, and may be killed at any moment.

``python -m tests.stress.worker <job> <database's settings, JSON> <exports' folder>`` reads a command a line,
JSON, and answers each with a line. An archiver works without being asked.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from lambdas.common.event import Event
from lambdas.history import archived_counts, health, reads, retention, upkeep
from lambdas.history.database import Connection, Database, DatabaseSettings
from lambdas.history.named_queries import fetch_one
from lambdas.history.recording import record

PARTITION_SECONDS = 5
RETENTION_SECONDS = 10
# How long a transaction is held open: longer than archiving waits, or not as long.
LATE_SECONDS = (0.2, 3.0)

LATE = (
    "insert into events (id, streamer_id, streamer_name, event_type, occurred_at, created_at, payload) "
    "values (%(id)s, %(streamer_id)s, %(streamer_name)s, %(event_type)s, %(occurred_at)s, %(stamp)s, '{}')"
)

DAY = timedelta(days=1)


class Folder:
    """An S3 whose objects are files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def upload_fileobj(self, source: Any, _bucket: str, key: str, **_options: Any) -> None:
        self.put_object(Key=key, Body=source.read())

    def put_object(self, *, Key: str, Body: bytes, **_options: Any) -> None:  # noqa: N803 -- boto3's names
        file = self._folder / Key
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(f".{os.getpid()}")
        new.write_bytes(Body)
        new.rename(file)

    def get_object(self, *, Key: str, **_options: Any) -> dict[str, Any]:  # noqa: N803
        return {"Body": (self._folder / Key).open("rb")}


def record_batch(connection: Connection, command: dict[str, Any]) -> None:
    """Record as asked: at once, with a transaction that stays open, too late, or without an answer."""
    events = [Event.from_json(text) for text in command["messages"]]
    match command["way"]:
        case "hold open":
            with connection.transaction():
                alone = _alone(connection)
                record(connection, events)
                time.sleep(random.uniform(*LATE_SECONDS) if alone else 0)
        case "come late":
            _record_late(connection, events)
        case "lose the answer":
            record(connection, events)
            os._exit(1)
        case _:
            record(connection, events)


def _alone(connection: Connection) -> bool:
    """Whether no other recorder takes long; counting would else wait for somebody all the time."""
    row = connection.execute("select pg_try_advisory_xact_lock(0) as alone").fetchone()
    return row is not None and row["alone"]


def _record_late(connection: Connection, events: list[Event]) -> None:
    """Take the time for the events, and insert them when the events until then are being counted."""
    try:
        with connection.transaction():
            if _alone(connection):
                _insert_late(connection, events)
    except psycopg.errors.CheckViolation:
        pass
    record(connection, events)


def _insert_late(connection: Connection, events: list[Event]) -> None:
    """Count until a time after that of the events; insert them before that is committed."""
    info = connection.info
    with psycopg.connect(info.dsn, password=info.password, autocommit=True, row_factory=dict_row) as other:
        with other.transaction():
            other.execute("select from watermark for update")
            row = connection.execute("select present_stamp() as stamp").fetchone()
            assert row is not None
            # Archiving counts until a second ago.
            time.sleep(1.1)
        for _ in range(5):
            announced = fetch_one(other, "announce_archiving", {"most": DAY, "only_ended": False})
            if announced["until"] is None:
                continue
            with other.transaction():
                fetch_one(other, "archive_counts", announced)
                if announced["until"] > row["stamp"]:
                    _insert(connection, events, row["stamp"])
                    return


def _insert(connection: Connection, events: list[Event], stamp: datetime) -> None:
    new = "insert into seen_events select unnest(%s::text[]) on conflict do nothing returning id"
    fresh = {row["id"] for row in connection.execute(new, [[event.id for event in events]])}
    for event in events:
        if event.id in fresh:
            connection.execute(LATE, {**dataclasses.asdict(event), "stamp": stamp, "payload": None})


def read(connection: Connection, command: dict[str, Any]) -> Any:
    """What a reader gets: counts, a leaderboard, or all pages of a streamer's events."""
    today = datetime.now(UTC).date()
    match command["what"]:
        case "counts":
            return sum(reads.count_events(connection, command["name"]).counts.values())
        case "daily counts":
            days = reads.count_events_daily(connection, command["name"], 3, today)
            return sum(count for counts in days.values() for count in counts.values())
        case "leaderboard":
            leaders = reads.leaderboard(connection, command["type"], command["days"], today, 100)
            return {leader.streamer_id: leader.event_count for leader in leaders}
        case _:
            page = reads.newest_events(connection, command["name"], 50)
            found = [event.id for event in page.events]
            while page.next:
                page = reads.newest_events(connection, command["name"], 50, page.next)
                found += [event.id for event in page.events]
            return found


def look_after(database: Database, second: Database, folder: Path) -> None:
    """The archiver's steps, for ever; counts are rolled up as soon as there are some tables of them."""

    def roll_up(connection: Connection) -> None:
        state = fetch_one(connection, "list_archived_counts")
        members = sorted(state["max_timestamps"])[:-2]
        if len(members) > 1:
            fetch_one(connection, "roll_up_archived_counts", {"max_timestamps": members, "keep_days": True})

    def expire(first: Connection) -> None:
        second.run(
            lambda other: retention.expire_partitions(
                [first, other], Folder(folder), "exports", RETENTION_SECONDS
            )
        )

    def check(connection: Connection) -> None:
        if (found := health.check_totals(connection)).differences:
            print(json.dumps({"totals differ": found.examples}), flush=True)

    # Parts of a page, so that each partition has several.
    retention.PART_PAGES = 1  # type: ignore[misc]
    steps: list[Callable[[Connection], object]] = [
        *(archived_counts.move_windows, roll_up, expire, upkeep.finish_erasures, check)
    ]
    for step in itertools.cycle(steps):
        # A lock that was not to be had, or a server that is starting: next time.
        with contextlib.suppress(psycopg.Error):
            database.run(lambda connection: upkeep.ensure_partitions(connection, PARTITION_SECONDS))
            database.run(lambda connection: archived_counts.archive_counts(connection, 1))
            database.run(step)


def erase(connection: Connection, command: dict[str, Any]) -> int:
    """Erase a streamer; an erasure that was begun before goes on."""
    return upkeep.erase_streamer(connection, command["streamer_id"])


DO = {"recorder": record_batch, "reader": read, "eraser": erase}


def main() -> None:
    """Do the job that is named."""
    job, settings, folder = sys.argv[1], DatabaseSettings(**json.loads(sys.argv[2])), Path(sys.argv[3])
    password = os.environ["PGPASSWORD"]

    def open_database() -> Database:
        return Database(
            settings,
            lambda: password,
            application_name=f"stress-{job}",
            connect_timeout_seconds=10,
            statement_timeout_seconds=20,
            deadline_seconds=30,
            read_only=job == "reader",
        )

    database = open_database()
    print("ready", flush=True)
    if job == "archiver":
        look_after(database, open_database(), folder)
    for line in sys.stdin:
        try:
            answer = database.run(functools.partial(DO[job], command=json.loads(line)))
        except psycopg.Error as error:
            print(json.dumps({"error": str(error)}), flush=True)
        else:
            print(json.dumps({"answer": answer}), flush=True)


if __name__ == "__main__":
    main()
