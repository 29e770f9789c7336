"""Child processes, which end together with the processes that they start."""

import asyncio
import fcntl
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn, TextIO

from local import supervisor
from local.errors import LocalCloudError

_STOP_SECONDS = supervisor.STOP_SECONDS + 2
_POLL_SECONDS = 0.05
_LAST_LINES = 25
_LINE_LENGTH = 200


class Process:
    """A child process whose output goes to ``log``."""

    def __init__(self, name: str, log: Path, child: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.log = log
        self._child = child

    @property
    def returncode(self) -> int | None:
        """The exit status; None while it runs."""
        return self._child.poll()

    async def wait(self) -> int:
        """Wait until it ends; return its exit status."""
        while (status := self.returncode) is None:
            await asyncio.sleep(_POLL_SECONDS)
        return status

    async def fail_when_it_ends(self) -> NoReturn:
        """Wait until a server ends, then raise LocalCloudError."""
        status = await self.wait()
        raise self.failure(f"{self.name} ended with exit code {status}; everything else was stopped.")

    def failure(self, what: str) -> LocalCloudError:
        """An error with the text ``what``, the end of the log and the path of the log."""
        return LocalCloudError(f"{what}\n{last_lines(self.log)}\nThe whole log: {self.log}")


@asynccontextmanager
async def running(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stop: signal.Signals = signal.SIGKILL,
    delete: Sequence[Path] = (),
) -> AsyncIterator[Process]:
    """Run a command until the block is left or this process is killed; then end it and all that it started.

    ``stop`` is the signal that ends the command; one that has data to save needs a gentler one than SIGKILL.
    The files and folders in ``delete`` are deleted afterwards. The command has a session of its own, so that
    Ctrl-C in the terminal reaches this process only.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [str(stop.value), *map(str, delete), "--", *command]
    with log.open("wb") as output:
        # The processes that inherit the output hold this lock until the last of them ends: see until_ended.
        fcntl.flock(output, fcntl.LOCK_SH)
        # asyncio may lose a process when it is cancelled while it starts the process.
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", supervisor.__file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
    process = Process(name, log, child)
    try:
        yield process
    finally:
        await _stop(process, child)


async def _stop(process: Process, child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        child.stdin.close()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        # The supervisor may hang or may have been killed.
        supervisor.kill_descendants(child.pid)
        child.kill()
        child.wait()


async def until_ended(logs: Path, *, seconds: float) -> None:
    """Wait until no process writes to one of the ``logs``.

    When a run is killed, its servers end by themselves shortly afterwards. Raises LocalCloudError if some
    still run after ``seconds``.
    """
    try:
        async with asyncio.timeout(seconds):
            for log in logs.glob("*.log"):
                with log.open() as file:
                    while not try_lock(file):
                        await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise LocalCloudError(
            f"Processes of an earlier run, which was killed, still run and write to {logs}. End them first."
        ) from None


def try_lock(file: TextIO) -> bool:
    """Lock ``file`` until it is closed; False if another process has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def last_lines(log: Path, count: int = _LAST_LINES) -> str:
    """The end of a log, indented, for a message."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join(f"  | {line[:_LINE_LENGTH]}" for line in lines[-count:]) or "  | (it wrote nothing)"
