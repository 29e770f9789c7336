"""A local cloud for tests: started, stopped, killed, started again; and its processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from local.deployment import CDK
from local.environment import aws_variables
from tests.e2e.clients import LIMIT, Cloud, eventually
from tests.process_table import Running, descendants, processes

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 1200  # the first start also installs the emulator and the functions' wheels


class LocalCloud:
    """A ``python -m local run`` with a state folder of its own, and this way to sign in.

    ``real`` is with TWITCH=real; the ``environ`` then says which application at which Twitch.
    """

    def __init__(
        self, state: Path, log: Path, sign_in: str = "cognito", environ: Mapping[str, str] | None = None
    ) -> None:
        self.state, self.log, self.sign_in, self.environ = state, log, sign_in, environ or {}
        self.endpoints = state / "endpoints.json"
        self.runner: subprocess.Popen[bytes] | None = None

    def start(self) -> Cloud:
        """Start it and return its addresses. Raises AssertionError with the end of the log if it does not."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "local", "run", "--state-dir", str(self.state)]
        environ = {**os.environ, **self.environ}
        if self.sign_in == "real":
            command += ["--twitch", "real"]
        else:
            environ["FANFARE_SIGN_IN"] = self.sign_in
        with self.log.open("w") as output:
            self.runner = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.endpoints.exists():
            ended = self.runner.poll() is not None or time.monotonic() > deadline
            assert not ended, f"the local cloud did not start:\n{self.log.read_text()[-4000:]}"
            time.sleep(0.1)
        return Cloud.from_file(self.endpoints)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Stop it; returns the exit code when all of its processes have ended.

        Raises AssertionError if some do not end; then they are killed.
        """
        assert self.runner is not None
        family = self._family()
        self.runner.send_signal(by)
        try:
            code = self.runner.wait(LIMIT)
            eventually("all processes have ended", lambda: not {entry.pid for entry in family} & _running())
        except (AssertionError, subprocess.TimeoutExpired):
            send(signal.SIGKILL, family)
            raise
        return code

    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.runner is not None and self.runner.poll() is None

    def postgres(self) -> list[Running]:
        """PostgreSQL's processes: first the postmaster, then those that it started."""
        (postmaster,) = (
            entry
            for entry in self._family()
            if Path(entry.command.split()[0]).name == "postgres" and " -D " in entry.command
        )
        return [postmaster, *(entry for entry in processes() if entry.parent == postmaster.pid)]

    def relay(self) -> Running:
        """The relay to Twitch, of a cloud with the real one."""
        (relay,) = (
            entry
            for entry in self._family()
            if " -m local.relay " in entry.command and "supervisor.py" not in entry.command
        )
        return relay

    def functions(self) -> list[Running]:
        """The processes of functions."""
        return [entry for entry in self._family() if "/ministack-lambda-" in entry.command]

    def _family(self) -> list[Running]:
        assert self.runner is not None
        pids = descendants(self.runner.pid)
        return [entry for entry in processes() if entry.pid in pids]


def deploy(
    cloud: Cloud, sources: Path, output: Path, settings: Path, app: str = "app.py"
) -> subprocess.CompletedProcess[str]:
    """``cdk deploy`` of these sources to the running local cloud; ``output`` is for the templates."""
    return subprocess.run(
        [
            *(CDK, "deploy", "--all", "--require-approval", "never", "--no-notices", "--no-color", "--ci"),
            *("--app", f"{sys.executable} {app}", "--output", str(output)),
            *("--context", "stage=local", "--context", f"settings-file={settings}"),
        ],
        cwd=sources,
        env={**os.environ, **aws_variables(cloud.aws_endpoint), "PYTHONPATH": str(sources)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def _running() -> set[int]:
    return {entry.pid for entry in processes()}


def send(signal_: signal.Signals, running: list[Running]) -> None:
    """Send a signal to processes; those that have ended meanwhile are left out."""
    for entry in running:
        try:
            os.kill(entry.pid, signal_)
        except ProcessLookupError:
            continue
