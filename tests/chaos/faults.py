"""The faults that `make chaos` makes, one after the other, while events are sent and watched.

Each function returns when its fault has ended.
"""

import contextlib
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from tests.chaos.laboratory import Check, Laboratory
from tests.chaos.ledger import raid
from tests.e2e.clients import eventually
from tests.e2e.grants import without_grant
from tests.e2e.local_cloud import send

QUEUES = ("record", "broadcast", "fan-out")
POISON = (
    " ",
    "not JSON",
    "null",
    "[]",
    '{"frames": []}',
    '{"id": 7, "streamer_id": {}, "payload": []}',
    '{"id": "\\ud800", "streamer_id": "\\u0000"}',
    "[" * 985 + "]" * 985,
)


@contextlib.contextmanager
def _stopped(laboratory: Laboratory) -> Iterator[None]:
    frozen = laboratory.local.postgres()
    send(signal.SIGSTOP, frozen)
    try:
        yield
    finally:
        send(signal.SIGCONT, frozen)


def freeze_postgres(laboratory: Laboratory) -> None:
    """Stop all of PostgreSQL's processes, so that nothing answers and nothing is refused."""
    with _stopped(laboratory):
        laboratory.wait()


def kill_postgres(laboratory: Laboratory) -> None:
    """Kill a server process: PostgreSQL ends all others and recovers from its write-ahead log."""
    _, *servers = laboratory.local.postgres()
    send(signal.SIGKILL, [next(entry for entry in servers if "walwriter" in entry.command)])
    laboratory.wait(2)


def take_all_connections(laboratory: Laboratory) -> None:
    """Open connections until PostgreSQL refuses more."""
    with contextlib.ExitStack() as taken:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                taken.enter_context(psycopg.connect(laboratory.cloud.database))
        _end_sessions(laboratory, "application_name like 'fanfare-%'")
        laboratory.wait()


def lock_events(laboratory: Laboratory) -> None:
    """Lock the table against readers and writers."""
    with psycopg.connect(laboratory.cloud.database) as connection:
        connection.execute("lock table events in access exclusive mode")
        laboratory.wait()


def end_sessions(laboratory: Laboratory) -> None:
    """End all sessions of the functions each second."""
    for _ in range(laboratory.seconds):
        _end_sessions(laboratory, "application_name like 'fanfare-%'")
        laboratory.wait(1)


def _end_sessions(laboratory: Laboratory, which: str) -> None:
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(laboratory.cloud.database) as own:
        own.execute(
            f"select pg_terminate_backend(pid) from pg_stat_activity where {which}"  # noqa: S608 -- constants
        )


def kill_functions(laboratory: Laboratory) -> None:
    """Kill the process of a random function twice a second."""
    chance = random.Random(2)
    for _ in range(2 * laboratory.seconds):
        if running := laboratory.local.functions():
            send(signal.SIGKILL, [chance.choice(running)])
        laboratory.wait(0.5)


def take_away(function: str, action: str) -> Callable[[Laboratory], None]:
    """Remove a permission of a function for a while."""

    def make(laboratory: Laboratory) -> None:
        with without_grant(laboratory.cloud, function, action):
            laboratory.wait()

    return make


def poison(laboratory: Laboratory) -> None:
    """Put malformed messages into every queue. The recorder keeps its own as dead letters at once."""
    sqs = laboratory.cloud.aws("sqs")

    def count() -> int:
        with psycopg.connect(laboratory.cloud.database) as connection:
            row = connection.execute("select count(*) from dead_letters").fetchone()
            assert row is not None
            return int(row[0])

    before = count()
    for name in QUEUES:
        url = sqs.get_queue_url(QueueName=f"fanfare-local-{name}")["QueueUrl"]
        for body in POISON:
            sqs.send_message(QueueUrl=url, MessageBody=body)
    laboratory.wait()
    eventually("all are dead letters", lambda: count() - before == len(POISON))


def break_helix(**fault: Any) -> Callable[[Laboratory], None]:
    """Let every request to Helix fail, while newcomers watch channels that nobody has watched before."""

    def make(laboratory: Laboratory) -> None:
        laboratory.cloud.control("faults", **{"path": "/helix", **fault})
        try:
            deadline = time.monotonic() + laboratory.seconds
            while time.monotonic() < deadline:
                laboratory.watch_a_new_channel()
        finally:
            laboratory.delete_faults()

    return make


def repeat_at_once(laboratory: Laboratory) -> None:
    """Deliver one message 200 times at once, as often as threads allow."""
    delivery = raid(laboratory.traffic.channels[0], laboratory.traffic.secret, 1)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(laboratory.traffic.send, [delivery] * 200))


def repeat_slowly(laboratory: Laboratory) -> None:
    """Deliver one message again and again, for a while."""
    delivery = raid(laboratory.traffic.channels[0], laboratory.traffic.secret, 1)
    for _ in range(laboratory.seconds):
        laboratory.traffic.send(delivery)
        laboratory.wait(1)


def restart(laboratory: Laboratory) -> None:
    """Kill everything, and start again with what PostgreSQL has. Queues are in the emulator's memory."""
    laboratory.rest()
    laboratory.restart()


PERMISSIONS = (
    ("webhook", "sns:Publish"),
    ("webhook", "secretsmanager:GetSecretValue"),
    ("recorder", "secretsmanager:GetSecretValue"),
    ("recorder", "sqs:ReceiveMessage"),
    ("broadcaster", "sqs:ReceiveMessage"),
    ("broadcaster", "dynamodb:Query"),
    ("broadcaster", "execute-api:ManageConnections"),
    ("authorizer", "dynamodb:DeleteItem"),
    ("connection", "dynamodb:PutItem"),
    ("query", "secretsmanager:GetSecretValue"),
)

FAULTS = (
    Check("PostgreSQL is frozen", freeze_postgres, short=True),
    Check("PostgreSQL crashes", kill_postgres, short=True),
    Check("PostgreSQL is at its connection limit", take_all_connections),
    Check("the table is locked", lock_events),
    Check("sessions end each second", end_sessions),
    Check("functions are killed", kill_functions, recorded_within=60, delivered_within=30, short=True),
    *(Check(f"{function} without {action}", take_away(function, action)) for function, action in PERMISSIONS),
    Check("poison in every queue", poison, short=True),
    Check("Helix answers 503", break_helix(status=503)),
    Check("Helix answers 429", break_helix(status=429)),
    Check("Helix answers 418", break_helix(status=418)),
    Check("Helix is slow", break_helix(latency_ms=8000)),
    Check("one message 200 times at once", repeat_at_once, short=True),
    Check("one message for a while", repeat_slowly),
    Check("everything is killed and started again", restart),
)
