"""Starts and stops the local cloud many times, under load and with traffic: `make soak`.

Every fourth stop kills `python -m local` alone; the others are signals. It prints a row for each round,
writes the rows to .artifacts/soak.json, and fails if a cloud does not start or stop, or leaves something.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import urllib3

from local.ports import is_free
from tests.e2e.clients import Cloud, Viewer, eventually
from tests.e2e.local_cloud import LocalCloud
from tests.process_table import descendants, processes

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / ".artifacts" / "soak.json"
ROUNDS = int(os.environ.get("ROUNDS") or 40)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
BUSY_LOOPS = 2
EVENT_TYPE = "channel.update"
EVENTS = 30
MOST_WAIT_SECONDS = 120
MOST_STOP_SECONDS = 10
MOST_MEGABYTES = 5


@dataclass
class Round:
    """A start and a stop, and what is left afterwards."""

    name: str
    stopped_by: str
    start_seconds: float = 0.0
    stop_seconds: float = 0.0
    exit_code: int | None = None
    recorded: int = 0
    missing: int = 0
    processes: int = 0
    ports: int = 0
    megabytes: float = 0.0
    endpoints: bool = False
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether it started, kept what was recorded, and left nothing."""
        expected = -signal.SIGKILL if self.stopped_by == "SIGKILL" else 0
        left = self.missing or self.processes or self.ports or self.endpoints
        return not (self.problem or left or self.exit_code != expected or self.megabytes > MOST_MEGABYTES)


def main() -> int:
    """Run all rounds; return the exit code."""
    for _ in range(BUSY_LOOPS):
        multiprocessing.Process(target=_keep_busy, args=(os.getpid(),), daemon=True).start()
    RESULTS.parent.mkdir(exist_ok=True)
    rounds: list[Round] = []
    recorded: set[str] = set()
    print(f"{'round':>5} {'stopped by':10} {'start s':>8} {'stop s':>7} {'events':>7} {'missing':>8}  left")
    with tempfile.TemporaryDirectory(prefix="fanfare-soak-") as folder:
        for number in range(1, ROUNDS + 1):
            by = signal.SIGKILL if number % 4 == 0 else SIGNALS[number % 3]
            row = Round(f"round {number}", by.name)
            _start_and_stop(row, by, Path(folder), recorded)
            rounds.append(row)
            left = f"{row.processes} processes, {row.ports} ports, {row.megabytes:.1f} MB in tmp"
            left += ", endpoints.json" * row.endpoints
            print(
                f"{number:5} {by.name:10} {row.start_seconds:8.1f} {row.stop_seconds:7.1f} {row.recorded:7} "
                f"{row.missing:8}  {left}  {'ok' if row.ok else f'NOT OK {row.exit_code} {row.problem}'}",
                flush=True,
            )
            RESULTS.write_text(json.dumps([asdict(row) | {"ok": row.ok} for row in rounds], indent=2) + "\n")
    return 0 if all(row.ok for row in rounds) else 1


def _start_and_stop(row: Round, by: signal.Signals, state: Path, recorded: set[str]) -> None:
    local = LocalCloud(state, RESULTS.with_name("soak.log"))
    began = time.monotonic()
    stopping = threading.Event()
    cloud = None
    try:
        cloud = local.start()
        row.start_seconds = time.monotonic() - began
        _use(row, cloud, recorded, stopping)
    except (AssertionError, OSError, psycopg.Error, urllib3.exceptions.HTTPError) as error:
        row.problem = repr(error)
    runner = local.runner
    assert runner is not None

    family = descendants(runner.pid) | {runner.pid}
    began = time.monotonic()
    runner.send_signal(by)
    while time.monotonic() < began + MOST_STOP_SECONDS and (left := _left(family, state, runner)):
        time.sleep(0.1)
    row.stop_seconds = time.monotonic() - began
    stopping.set()
    row.processes = len(left)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    row.exit_code = runner.wait()
    row.endpoints = local.endpoints.exists()
    row.megabytes = sum(path.lstat().st_size for path in (state / "tmp").rglob("*")) / 1e6
    if cloud is not None:
        used = (urlsplit(url).port for url in (cloud.aws_endpoint, cloud.twitch, cloud.database))
        row.ports = sum(1 for port in used if port is not None and not is_free(port))


def _use(row: Round, cloud: Cloud, recorded: set[str], stopping: threading.Event) -> None:
    """Check that the events of earlier rounds are there; then send events and read until it is stopped."""
    with psycopg.connect(cloud.database, autocommit=True) as database:

        def ids() -> set[str]:
            return {id_ for (id_,) in database.execute("select id::text from events")}

        before = ids()
        row.missing = len(recorded - before)
        channel = "soaked"
        viewer = Viewer.sign_in(cloud, "vera_viewer")
        eventually("it is watched", lambda: viewer.watch(channel).status == 200, MOST_WAIT_SECONDS)
        eventually(
            "it is subscribed",
            lambda: (
                (EVENT_TYPE, "enabled") in [(s["type"], s["status"]) for s in cloud.subscriptions(channel)]
            ),
            MOST_WAIT_SECONDS,
        )
        threading.Thread(target=_make_traffic, args=(cloud, channel, stopping), daemon=True).start()
        eventually("events are recorded", lambda: len(ids()) >= len(before) + EVENTS, MOST_WAIT_SECONDS)
        recorded |= ids()
        row.recorded = len(recorded)


def _make_traffic(cloud: Cloud, channel: str, stopping: threading.Event) -> None:
    while not stopping.is_set():
        try:
            cloud.simulate(EVENT_TYPE, channel, count=10)
            cloud.get(f"api/channels/{channel}/counts")
            cloud.get(f"api/channels/{channel}/events")
        except (AssertionError, ValueError, urllib3.exceptions.HTTPError):
            # The cloud is being stopped. Other failures are found because too few events are recorded.
            time.sleep(0.1)


def _left(family: set[int], state: Path, runner: "subprocess.Popen[bytes]") -> set[int]:
    """The processes of the run that still run, in any process group."""
    runner.poll()
    return {entry.pid for entry in processes() if entry.pid in family or str(state) in entry.command}


def _keep_busy(parent: int) -> None:
    while os.getppid() == parent:
        pass


if __name__ == "__main__":
    sys.exit(main())
