"""Which processes run."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Collection
from typing import NamedTuple


class Running(NamedTuple):
    """A process that has not ended."""

    pid: int
    parent: int
    command: str


def processes() -> list[Running]:
    """Everything that runs on this machine, with whole command lines."""
    columns = ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="]
    listed = subprocess.run(columns, capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=3) for line in listed.splitlines()]
    return [
        Running(int(pid), int(parent), "".join(command))
        for pid, parent, status, *command in rows
        if not status.startswith("Z")
    ]


def descendants(ancestor: int) -> set[int]:
    """The processes that ``ancestor`` started, those that they started, and so on."""
    listed, found = processes(), {ancestor}
    while more := {entry.pid for entry in listed if entry.parent in found} - found:
        found |= more
    return found - {ancestor}


def freeze(pids: Collection[int]) -> None:
    """Let the processes hang; those that have ended meanwhile are left out."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)


def until_gone(pids: Collection[int]) -> None:
    """Wait until none of the processes runs."""
    while {entry.pid for entry in processes()} & set(pids):
        time.sleep(0.02)
