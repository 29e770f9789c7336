"""Runs a command until standard input ends; then ends it and every process that it started.

    supervisor.py SIGNAL [PATH …] -- COMMAND …

Standard input is a pipe from the caller. The caller closes it to stop the command; if the caller is killed,
the kernel closes it. The command is then sent SIGNAL (a number), and what still runs after STOP_SECONDS is
killed. Files and folders at PATH are deleted when everything has ended.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

STOP_SECONDS = 5
_PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Run the command; return its exit status, as a shell reports it."""
    separator = sys.argv.index("--")
    number, *leftovers = sys.argv[1:separator]
    # Only the end of the input stops the command. It does not inherit these handlers, as it would SIG_IGN.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, lambda *_: None)
    if sys.platform == "linux":
        # Processes whose parent has ended become children of this process, so that it finds them.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        command = subprocess.Popen(sys.argv[separator + 1 :], stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
    threading.Thread(target=_stop_when_input_ends, args=(command.pid, int(number)), daemon=True).start()
    ended, status = os.wait()
    while ended != command.pid:
        ended, status = os.wait()
    kill_descendants(os.getpid())
    for path in leftovers:
        _delete(Path(path))
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _stop_when_input_ends(command: int, number: int) -> None:
    os.read(sys.stdin.fileno(), 1)
    with contextlib.suppress(ProcessLookupError):
        os.kill(command, number)
    if number != signal.SIGKILL:
        time.sleep(STOP_SECONDS)
    kill_descendants(os.getpid())


def kill_descendants(ancestor: int) -> None:
    """Kill the descendants of ``ancestor`` and the other processes in its process group.

    They may start new ones meanwhile, so this repeats, for a second at most.
    """
    for _ in range(100):
        found, rows = {ancestor}, _processes()
        while more := {pid for pid, parent, group in rows if parent in found or group == ancestor} - found:
            found |= more
        if found == {ancestor}:
            return
        for pid in found - {ancestor}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _processes() -> list[tuple[int, int, int]]:
    """Process id, parent's id and process group of every running process."""
    rows = []
    if sys.platform == "linux":  # `ps` may be missing
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, *ids = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
                rows.append((stat.parent.name, *ids, state))
    else:
        ps = subprocess.Popen(["ps", "-A", "-o", "pid=,ppid=,pgid=,state="], stdout=subprocess.PIPE)
        rows = [line.decode().split() for line in ps.communicate()[0].splitlines()]
        rows = [row for row in rows if row[0] != str(ps.pid)]
    # Zombies have ended; only their parents can remove them.
    return [(int(pid), int(parent), int(group)) for pid, parent, group, state in rows if state[0] not in "XZ"]


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
