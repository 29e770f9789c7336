"""Child processes: started, watched and stopped together with everything that they start themselves."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from local.errors import LocalCloudError

STOP_SECONDS = 5
_LAST_LINES = 25
_LINE_LENGTH = 200


class Process:
    """A running child, whose output goes to ``log``."""

    def __init__(self, name: str, log: Path, child: asyncio.subprocess.Process) -> None:
        self.name = name
        self.log = log
        self._child = child

    @property
    def returncode(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._child.returncode

    async def wait(self) -> int:
        """Wait until it ends; return its exit status."""
        return await self._child.wait()

    def failure(self, what: str) -> LocalCloudError:
        """An error that says what failed, with the end of the log and where the rest of it is."""
        return LocalCloudError(f"{what}\n{last_lines(self.log)}\nThe whole log: {self.log}")


@asynccontextmanager
async def running(
    name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path
) -> AsyncIterator[Process]:
    """Run a command until the block is left; then end it and every process that it started.

    It runs in a session of its own, so that Ctrl-C in the terminal reaches only the local cloud, which stops
    its children in order, and so that one signal reaches the whole group.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
    try:
        yield Process(name, log, child)
    finally:
        await _stop(child)


async def _stop(child: asyncio.subprocess.Process) -> None:
    _signal_group(child.pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(child.wait(), STOP_SECONDS)
    except TimeoutError:
        pass
    finally:
        # Also when the wait was cancelled, and for members of the group that outlived its leader.
        _signal_group(child.pid, signal.SIGKILL)
    await child.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def last_lines(log: Path, count: int = _LAST_LINES) -> str:
    """The end of a log, indented, as a part of a message."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join(f"  | {line[:_LINE_LENGTH]}" for line in lines[-count:]) or "  | (it wrote nothing)"
