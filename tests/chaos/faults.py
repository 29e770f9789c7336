"""The faults that `make chaos` makes, one after the other, while events are sent and watched.

Each function returns when its fault has ended.
"""

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from tests.chaos.laboratory import Check, Laboratory
from tests.chaos.ledger import raid
from tests.e2e.clients import eventually
from tests.e2e.grants import grants, without_grant
from tests.e2e.local_cloud import send

QUEUES = ("record", "broadcast", "fan-out", "subscribe")
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
AT_ONCE_SECONDS, DEAD_LETTER_SECONDS = 30, 240
#: What Helix answers instead of 200, and with 200.
STRANGE_STATUSES = (401, 403, 404, 418)
GARBAGE = ("{}", "[]", "null", "not JSON", '{"data": 7}', '{"data": [{}]}')
TURNS = 5


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
        began = time.monotonic()
        answer = laboratory.cloud.get(f"api/channels/{laboratory.traffic.channels[0].login}/events")
        laboratory.notes.append(f"a read is answered {answer.status} after {time.monotonic() - began:.1f} s")
        if answer.status != 503 or "Retry-After" not in answer.headers:
            laboratory.problems.append(f"a read is answered {answer.status}: {answer.data[:200]!r}")
        laboratory.wait()


def kill_postgres(laboratory: Laboratory) -> None:
    """Kill a server process: PostgreSQL ends all others and recovers from its write-ahead log."""
    _, *servers = laboratory.local.postgres()
    send(signal.SIGKILL, [next(entry for entry in servers if "walwriter" in entry.command)])
    laboratory.wait(2)


def take_all_connections(laboratory: Laboratory) -> None:
    """Open connections until PostgreSQL refuses more, and those of the functions are taken, too."""
    with contextlib.ExitStack() as taken:
        own = taken.enter_context(psycopg.connect(laboratory.cloud.database, autocommit=True))
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    taken.enter_context(psycopg.connect(laboratory.cloud.database))
            if not _end_sessions(own):
                break
        laboratory.wait()


def lock_events(laboratory: Laboratory) -> None:
    """Lock the table against readers and writers."""
    with psycopg.connect(laboratory.cloud.database) as connection:
        connection.execute("lock table events in access exclusive mode")
        laboratory.wait()


def end_sessions(laboratory: Laboratory) -> None:
    """End all sessions of the functions each second."""
    with psycopg.connect(laboratory.cloud.database, autocommit=True) as own:
        for _ in range(laboratory.seconds):
            _end_sessions(own)
            laboratory.wait(1)


def _end_sessions(own: psycopg.Connection) -> int:
    """End the functions' sessions; returns how many there were."""
    return own.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'fanfare-%'"
    ).rowcount


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


def take_away_all_others(laboratory: Laboratory) -> None:
    """Remove every permission that has no row of its own for a while, some at the same time."""
    others = [
        (function, action)
        for function, actions in grants(laboratory.cloud).items()
        for action in actions
        if (function, action) not in PERMISSIONS
    ]
    for turn in range(TURNS):
        with contextlib.ExitStack() as stack:
            for function, action in others[turn::TURNS]:
                stack.enter_context(without_grant(laboratory.cloud, function, action))
            until = time.monotonic() + laboratory.seconds
            while time.monotonic() < until:
                laboratory.try_everything()
                laboratory.wait(1)
        laboratory.recover()
        laboratory.let_a_newcomer_watch()
        laboratory.traffic.begin()
    laboratory.notes.append(f"{len(others)} permissions of {len(dict(others))} functions")


def close_connections(laboratory: Laboratory) -> None:
    """Close the WebSockets of everybody every other second."""
    for _ in range(max(laboratory.seconds // 2, 1)):
        for channel in laboratory.traffic.channels:
            laboratory.cloud.close_connections(channel.login)
        laboratory.wait(2)


def poison(laboratory: Laboratory) -> None:
    """Put malformed messages into every queue. The recorder keeps its own as dead letters at once."""
    sqs = laboratory.cloud.aws("sqs")

    def count() -> int:
        with psycopg.connect(laboratory.cloud.database) as connection:
            row = connection.execute("select count(*) from dead_letters where reason <> ''").fetchone()
            assert row is not None
            return int(row[0])

    before = count()
    laboratory.poisoned = True
    for name in QUEUES:
        url = sqs.get_queue_url(QueueName=f"fanfare-local-{name}")["QueueUrl"]
        for body in POISON:
            sqs.send_message(QueueUrl=url, MessageBody=body)
    laboratory.wait()
    eventually("all are dead letters", lambda: count() - before == len(POISON), AT_ONCE_SECONDS)


def dead_letters(laboratory: Laboratory) -> None:
    """The queues' dead letters are the poison alone: nothing that could be handled was given up."""
    for name in QUEUES:
        # The recorder keeps its own in the database. The others are tried for up to two minutes.
        wanted = Counter(POISON) if laboratory.poisoned and name != "record" else Counter()
        found: Counter[str] = Counter()
        deadline = time.monotonic() + DEAD_LETTER_SECONDS
        while (
            not (found := found + _take_dead_letters(laboratory, name)) >= wanted
            and time.monotonic() < deadline
        ):
            laboratory.wait(1)
        if found != wanted:
            laboratory.problems.append(
                f"{name}: {wanted - found} are no dead letters, and {found - wanted} are"
            )


def _take_dead_letters(laboratory: Laboratory, name: str) -> Counter[str]:
    sqs, bodies = laboratory.cloud.aws("sqs"), []
    url = sqs.get_queue_url(QueueName=f"fanfare-local-{name}-dead-letters")["QueueUrl"]
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            bodies.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return Counter(bodies)


def break_helix(*faults: dict[str, Any]) -> Callable[[Laboratory], None]:
    """Let every request to Helix fail in one way after the other, while newcomers watch new channels.

    It takes half as long as other faults, since Twitch's deliveries do not depend on Helix.
    """

    def make(laboratory: Laboratory) -> None:
        for fault in faults:
            laboratory.cloud.control("faults", **{"path": "/helix", **fault})
            try:
                deadline = time.monotonic() + laboratory.seconds / 2 / len(faults)
                while time.monotonic() < deadline:
                    laboratory.watch_a_new_channel()
            finally:
                laboratory.delete_faults()
        laboratory.let_a_newcomer_watch()

    return make


def repeat_at_once(laboratory: Laboratory) -> None:
    """Deliver one message 200 times at once, as often as threads allow."""
    delivery = raid(laboratory.traffic.channels[0], laboratory.traffic.secret, 1)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(laboratory.traffic.send, [delivery] * 200))


def repeat_slowly(laboratory: Laboratory) -> None:
    """Deliver one message again and again, for a minute."""
    delivery = raid(laboratory.traffic.channels[0], laboratory.traffic.secret, 1)
    for _ in range(3 * laboratory.seconds):
        laboratory.traffic.send(delivery)
        laboratory.wait(1)


#: Those with a row of their own: without one of them nothing of its function works.
PERMISSIONS = (
    ("webhook", "sns:Publish"),
    ("webhook", "secretsmanager:GetSecretValue"),
    ("recorder", "sqs:ReceiveMessage"),
    ("broadcaster", "sqs:ReceiveMessage"),
    ("broadcaster", "dynamodb:Query"),
    ("broadcaster", "execute-api:ManageConnections"),
)

FAULTS = (
    Check("PostgreSQL is frozen", freeze_postgres, short=True),
    Check("PostgreSQL crashes", kill_postgres),
    Check("PostgreSQL is at its connection limit", take_all_connections),
    Check("the table is locked", lock_events),
    Check("sessions end each second", end_sessions),
    Check("functions are killed", kill_functions, recorded_within=60, delivered_within=30, short=True),
    *(Check(f"{function} without {action}", take_away(function, action)) for function, action in PERMISSIONS),
    Check("every other permission", take_away_all_others),
    Check("WebSockets are closed", close_connections, short=True),
    Check("poison in every queue", poison, short=True),
    Check("Helix is down", break_helix({"lost": "request"}, {"status": 503})),
    Check("Helix answers 429", break_helix({"status": 429})),
    Check(
        "Helix answers garbage",
        break_helix(
            *({"status": status} for status in STRANGE_STATUSES), *({"body": body} for body in GARBAGE)
        ),
    ),
    Check("Helix is slow", break_helix({"latency_ms": 8000})),
    Check("one message 200 times at once", repeat_at_once, short=True),
    Check("one message for a while", repeat_slowly),
)
# After everything else: poison becomes a dead letter after minutes, and the emulator's queues end with it.
LAST = (
    Check("dead letters", dead_letters),
    Check("everything is killed and started again", Laboratory.restart),
)
