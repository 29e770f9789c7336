"""Starts a PostgreSQL and the workers, makes the faults, and compares what is found with the oracle.

``make stress`` runs it for a minute, or as many seconds as FANFARE_STRESS_SECONDS says. With
``python -m tests.stress --without <safeguard>`` one of the store's safeguards is taken out first: then it
must find something.
"""

import contextlib
import dataclasses
import gzip
import json
import os
import queue
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import psycopg

from local import postgres
from local.ports import HOST
from tests.stress.oracle import EVENT_TYPES, Oracle

RECORDERS, READERS, ARCHIVERS = 4, 3, 2
ERASED: Final = "9"
STREAMERS: Final = {
    "1": ["ana"],
    "2": ["bo"],
    "3": [f"cy_{number}" for number in range(1000)],  # renames
    ERASED: ["gone"],
}
#: When to give up if something does not happen.
MOST_SECONDS: Final = 300
WAYS: Final = ("at once", "hold open", "come late", "lose the answer")
WEIGHTS: Final = (12, 4, 6, 1)

#: What makes counting right, and the statement that takes it out.
SAFEGUARDS: Final = {
    "waiting for writers": (
        "create or replace function wait_for_writers() returns boolean language sql return true"
    ),
    "the announcement": (
        "create or replace function present_stamp() returns timestamptz language sql volatile "
        "return clock_timestamp(); "
        "create or replace function refuse_before_watermark() returns trigger language plpgsql as $$ begin "
        "if exists (select from inserted where created_at < (select archived_until from watermark)) then "
        "raise check_violation; end if; return null; end $$"
    ),
    "the trigger": "drop trigger refuse_before_watermark on events",
}


class Worker:
    """A process of ``tests.stress.worker``, started again whenever it was killed."""

    def __init__(self, job: str, server: postgres.Postgres, exports: Path) -> None:
        self.deaths = 0
        self._command = [sys.executable, "-m", "tests.stress.worker", job, _settings(server), str(exports)]
        self._environment = {**os.environ, "PGPASSWORD": server.password}
        self._process: subprocess.Popen[str] | None = None

    def ask(self, command: dict[str, Any]) -> Any:
        """The answer; None if the process was killed or the store refused."""
        process = self.running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(command) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            # It was killed, but may not have ended yet.
            process.kill()
            process.wait()
            return None
        return json.loads(line)

    def running(self) -> subprocess.Popen[str]:
        """The process; a new one if the last has ended."""
        if self._process is None or self._process.poll() is not None:
            if self._process is not None:
                self.deaths += 1
                self._close_pipes(self._process)
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment,
                text=True,
            )
            assert self._process.stdout is not None
            self._process.stdout.readline()
        return self._process

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()

    def end(self) -> list[str]:
        """End the process for good; return what it has written and nobody has read."""
        if self._process is None or self._process.stdout is None:
            return []
        self._process.kill()
        self._process.wait()
        rest = self._process.stdout.read().splitlines()
        self._close_pipes(self._process)
        return rest

    @staticmethod
    def _close_pipes(process: subprocess.Popen[str]) -> None:
        for pipe in (process.stdin, process.stdout):
            # What was not written is of no use any more.
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()


@dataclasses.dataclass
class Findings:
    """What was done, and what was found to be wrong: all of the latter must be zero or empty."""

    events: int = 0
    reads: int = 0
    killed_processes: int = 0
    server_crashes: int = 0
    redelivered: int = 0
    dropped_partitions: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.doubled or self.wrong)


class Stress:
    """One run."""

    def __init__(self, server: postgres.Postgres, exports: Path, seed: int) -> None:
        self.findings = Findings()
        self.oracle = Oracle(STREAMERS, seed)
        self._server, self._exports = server, exports
        self._chance = random.Random(seed)
        self._again: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        self._stop_sending, self._stop = threading.Event(), threading.Event()
        self.recorders, self.readers, self.archivers = (
            [Worker(job, server, exports) for _ in range(count)]
            for job, count in (("recorder", RECORDERS), ("reader", READERS), ("archiver", ARCHIVERS))
        )
        self._eraser = Worker("eraser", server, exports)
        self._erased: tuple[float, float] | None = None

    def run(self, seconds: float, without: str | None) -> Findings:
        """Everything at once for so many seconds; then the rest undisturbed, and the comparison."""
        with self._connect() as connection:
            if without:
                connection.execute(SAFEGUARDS[without])
        with ThreadPoolExecutor(RECORDERS + READERS + 3) as pool:
            sending = [pool.submit(self._send, worker) for worker in self.recorders]
            others = [
                *(pool.submit(self._read, worker) for worker in self.readers),
                pool.submit(self._make_faults),
                pool.submit(self._keep_archivers_running),
            ]
            try:
                self._until_under_way()
                self._stop_sending.wait(seconds / 2)
                erasing = pool.submit(self._erase)
                self._stop_sending.wait(seconds / 2)
                erasing.result()
                self._stop_sending.set()
                for future in sending:
                    future.result()
            finally:
                self._stop_sending.set()
                self._stop.set()
            for future in others:
                future.result()
        self._settle()
        self._compare()
        return self.findings

    def _until_under_way(self) -> None:
        """Wait until something was recorded and read: processes start slowly on a busy machine."""
        deadline = time.monotonic() + MOST_SECONDS
        while not (self.oracle.acknowledged and self.findings.reads):
            if time.monotonic() > deadline:
                raise TimeoutError("nothing is recorded or read")
            time.sleep(0.1)

    # -- what goes on at once --------------------------------------------------------------------------------

    def _send(self, worker: Worker) -> None:
        """Send batches until each is acknowledged; one whose worker died goes to whoever is next."""
        while not self._stop_sending.is_set() or not self._again.empty():
            try:
                messages = self._again.get_nowait()
                self.findings.redelivered += 1
                way = "at once"
            except queue.Empty:
                messages = self.oracle.batch(self._chance.randint(1, 40))
                (way,) = self._chance.choices(WAYS, WEIGHTS)
            answer = worker.ask({"way": way, "messages": list(messages.values())})
            if answer is None or "error" in answer:
                self._again.put(messages)
                continue
            self.oracle.acknowledge(messages)
            if self._chance.random() < 0.05:
                self._again.put(messages)

    def _read(self, worker: Worker) -> None:
        """Read in every way there is; each answer lies between what was recorded before and sent after."""
        while not self._stop.is_set():
            streamer = self._chance.choice(["1", "2"])
            name, event_type = STREAMERS[streamer][0], self._chance.choice([None, *EVENT_TYPES])
            what = self._chance.choice(["counts", "daily counts", "leaderboard"])
            if what != "leaderboard":
                event_type = None
            days = self._chance.choice([None, 1, 7, 30])
            least, _ = self.oracle.bounds()
            answer = worker.ask({"what": what, "name": name, "type": event_type, "days": days})
            _, most = self.oracle.bounds()
            if answer is None or "error" in answer:
                continue
            found = answer["answer"]
            if what == "leaderboard":
                found = found.get(streamer, 0)
            low, high = (_count(counts, streamer, event_type) for counts in (least, most))
            self.findings.reads += 1
            if not low <= found <= high:
                self.findings.wrong.append(f"{what} of {event_type}, {days} days: {low} <= {found} <= {high}")

    def _make_faults(self) -> None:
        """Kill a process of ours or of the server every now and then."""
        workers = [*self.recorders, *self.readers, *self.archivers, self._eraser]
        while not self._stop.wait(self._chance.uniform(0.5, 4)):
            if self._chance.random() < 0.08:
                self._crash_server()
            else:
                self._chance.choice(workers).kill()

    def _crash_server(self) -> None:
        """Kill a process of the server: it then ends all others, and recovers from its log."""
        with contextlib.suppress(psycopg.Error, ProcessLookupError), self._connect() as connection:
            row = connection.execute(
                "select pid from pg_stat_activity where application_name like 'stress%' "
                "order by random() limit 1"
            ).fetchone()
            if row is not None:
                os.kill(row[0], signal.SIGKILL)
                self.findings.server_crashes += 1

    def _keep_archivers_running(self) -> None:
        while not self._stop.wait(0.1):
            for worker in self.archivers:
                worker.running()

    def _erase(self) -> None:
        began = time.time()
        while not (answer := self._eraser.ask({"streamer_id": ERASED})) or "error" in answer:
            if time.time() > began + MOST_SECONDS:
                raise TimeoutError(f"the streamer is not erased: {answer}")
        self._erased = began, time.time()

    # -- the end ---------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Stop everything but the server; let one archiver do the rest."""
        workers = [*self.recorders, *self.readers, *self.archivers, self._eraser]
        self.findings.killed_processes = sum(worker.deaths for worker in workers)
        for worker in workers:
            complaints = worker.end()
            if worker in self.archivers:
                self.findings.wrong += complaints
        recorder = Worker("recorder", self._server, self._exports)
        for hours in (1, 3):
            self._send_once(recorder, self.oracle.last_names(hours))
        recorder.end()
        archiver = Worker("archiver", self._server, self._exports)
        archiver.running()
        try:
            with self._connect() as connection:
                self._until_archived(connection)
        finally:
            self.findings.wrong += archiver.end()

    def _send_once(self, recorder: Worker, messages: dict[str, str]) -> None:
        """Send a batch until it is acknowledged."""
        deadline = time.monotonic() + MOST_SECONDS
        command = {"way": "at once", "messages": list(messages.values())}
        while "answer" not in (answer := recorder.ask(command) or {}):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the last names are not recorded: {answer}")
        self.oracle.acknowledge(messages)

    @staticmethod
    def _until_archived(connection: psycopg.Connection[Any]) -> None:
        """Wait until the watermark is later than every event."""
        deadline = time.monotonic() + MOST_SECONDS
        lag = (
            "select coalesce(max(created_at), '-infinity') < (select archived_until from watermark) "
            "from events"
        )
        while connection.execute(lag).fetchone() != (True,):
            if time.monotonic() > deadline:
                raise TimeoutError("the watermark does not move")
            time.sleep(0.1)

    def _compare(self) -> None:
        findings = self.findings
        findings.events = len(self.oracle.acknowledged)
        expected = {event_id for event_id in self.oracle.acknowledged if self._must_be_there(event_id)}
        allowed = {event_id for event_id in self.oracle.sent if self._may_be_there(event_id)}
        with self._connect() as connection:
            in_table = [row[0] for row in connection.execute("select id from events")]
            exported = list(self._exported(connection))
        findings.dropped_partitions = len(list(self._exports.glob("events/*.json")))
        stored = Counter([*in_table, *exported])
        findings.lost = len(expected - stored.keys())
        findings.doubled = sum(count - 1 for count in stored.values())
        if strangers := [event_id for event_id in in_table if event_id not in allowed]:
            findings.wrong.append(f"{len(strangers)} events that were erased are there")
        self._compare_reads(set(stored) & allowed, set(in_table))

    def _must_be_there(self, event_id: str) -> bool:
        sent = self.oracle.sent[event_id]
        if sent.streamer_id != ERASED or self._erased is None:
            return True
        return sent.occurred_at.timestamp() > self._erased[1]

    def _may_be_there(self, event_id: str) -> bool:
        sent = self.oracle.sent[event_id]
        if sent.streamer_id != ERASED or self._erased is None:
            return True
        return sent.occurred_at.timestamp() > self._erased[0]

    def _exported(self, connection: psycopg.Connection[Any]) -> Iterator[str]:
        """The events in exports whose partition was dropped."""
        for description in self._exports.glob("events/*.json"):
            if connection.execute("select to_regclass(%s)", [description.stem]).fetchone() != (None,):
                continue
            for part in json.loads(description.read_text())["parts"]:
                file = self._exports / "events" / description.stem / f"{part['first_page']:010}.ndjson.gz"
                for line in gzip.decompress(file.read_bytes()).splitlines():
                    yield json.loads(line)["id"]

    def _compare_reads(self, counted: set[str], in_table: set[str]) -> None:
        """All counts, leaderboards and pages, through a reader."""
        reader = Worker("reader", self._server, self._exports)

        def answer(**command: Any) -> Any:
            return reader.ask({"type": None, "days": None, **command})["answer"]

        by_streamer: Counter[tuple[str, str]] = Counter()
        for event_id in counted:
            sent = self.oracle.sent[event_id]
            by_streamer[sent.streamer_id, sent.event_type] += 1
        names = self.oracle.names()
        for streamer_id in STREAMERS:
            if streamer_id == ERASED:  # erased events may be in exports, which stay
                continue
            self._expect(
                f"counts of {streamer_id}",
                answer(what="counts", name=names[streamer_id]),
                _count(by_streamer, streamer_id, None),
            )
            pages = answer(what="pages", name=names[streamer_id])
            there = {e for e in in_table if self.oracle.sent[e].streamer_id == streamer_id}
            self._expect(f"pages of {streamer_id}", sorted(pages), sorted(there))
        for event_type in (None, *EVENT_TYPES):
            for days in (None, 1, 7, 30, 90):
                board = answer(what="leaderboard", type=event_type, days=days)
                for streamer_id in STREAMERS:
                    if streamer_id != ERASED:
                        self._expect(
                            f"leaderboard of {event_type}, {days} days: {streamer_id}",
                            board.get(streamer_id, 0),
                            _count(by_streamer, streamer_id, event_type),
                        )
        reader.end()

    def _expect(self, what: str, found: Any, expected: Any) -> None:
        if found != expected:
            shown = (len(found), len(expected)) if isinstance(found, list) else (found, expected)
            self.findings.wrong.append(f"{what}: {shown[0]} instead of {shown[1]}")

    def _connect(self) -> psycopg.Connection[Any]:
        """A connection as soon as the server accepts one."""
        while True:
            try:
                return psycopg.connect(self._server.url(), autocommit=True, connect_timeout=10)
            except psycopg.OperationalError:
                time.sleep(0.1)


def run(seconds: float, *, without: str | None = None, seed: int = 1) -> Findings:
    """A run on a server of its own; what it found."""
    with (
        tempfile.TemporaryDirectory(prefix="fanfare-stress-") as directory,
        postgres.run_blocking(
            Path(directory) / "server",
            settings={"fsync": "off", "restart_after_crash": "on"},
        ) as server,
    ):
        prepare(server)
        exports = Path(directory) / "exports"
        exports.mkdir()
        return Stress(server, exports, seed).run(seconds, without)


def prepare(server: postgres.Postgres) -> None:
    """Make the schema, by its own tool: it is judged by what comes after."""
    command: list[str] = [
        *(str(postgres.program("psql")), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"),
        *("--file", str(Path(__file__).parents[2] / "sql" / "schema.sql"), server.url()),
    ]
    subprocess.run(command, check=True)


def _settings(server: postgres.Postgres) -> str:
    return json.dumps(
        {
            "database_host": HOST,
            "database_port": server.port,
            "database_name": postgres.DATABASE,
            "database_user": postgres.USER,
        }
    )


def _count(counts: Counter[tuple[str, str]], streamer_id: str, event_type: str | None) -> int:
    return sum(
        count
        for (streamer, counted_type), count in counts.items()
        if streamer == streamer_id and event_type in (None, counted_type)
    )
