"""Child processes: started, watched and ended together with everything that they start themselves."""

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
    """A running child, whose output goes to ``log``."""

    def __init__(self, name: str, log: Path, child: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.log = log
        self._child = child

    @property
    def returncode(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._child.poll()

    async def wait(self) -> int:
        """Wait until it ends; return its exit status."""
        while (status := self.returncode) is None:
            await asyncio.sleep(_POLL_SECONDS)
        return status

    async def fail_when_it_ends(self) -> NoReturn:
        """For a server: wait until it ends, then raise LocalCloudError."""
        status = await self.wait()
        raise self.failure(f"{self.name} ended with exit code {status}; everything else was stopped.")

    def failure(self, what: str) -> LocalCloudError:
        """An error that says what failed, with the end of the log and where the rest of it is."""
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
    """Run a command until the block is left, or this process is killed; then end it with all that it started.

    ``stop`` is sent to a command that has something to save. The files and folders in ``delete`` are deleted
    afterwards. It runs in a session of its own: Ctrl-C in the terminal reaches only the local cloud.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [str(stop.value), *map(str, delete), "--", *command]
    with log.open("wb") as output:
        # Held by all that inherit the output, until the last of them ends: see until_ended.
        fcntl.flock(output, fcntl.LOCK_SH)
        # Not asyncio's: when that is cancelled while it starts a process, the process may be lost.
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
        # The supervisor itself may hang, or may have been killed.
        supervisor.kill_descendants(child.pid)
        child.kill()
        child.wait()


async def until_ended(logs: Path, *, seconds: float) -> None:
    """Wait until nothing runs any more that writes to one of the ``logs``.

    When a run was killed, its servers end by themselves, a moment later. Raises LocalCloudError when they
    have not after ``seconds``.
    """
    try:
        async with asyncio.timeout(seconds):
            for log in logs.glob("*.log"):
                with log.open() as file:
                    while not try_lock(file):
                        await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise LocalCloudError(
            f"Processes of an earlier run that was killed still run; they write to {logs}. End them first."
        ) from None


def try_lock(file: TextIO) -> bool:
    """Lock ``file`` against other processes for as long as it is open; False when another one holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def last_lines(log: Path, count: int = _LAST_LINES) -> str:
    """The end of a log, indented, as a part of a message."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join(f"  | {line[:_LINE_LENGTH]}" for line in lines[-count:]) or "  | (it wrote nothing)"
