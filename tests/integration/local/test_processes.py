"""Child processes end with their block, with all that they started; failures have a reason."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local.environment import ROOT
from local.errors import LocalCloudError
from local.ports import any_free_port
from local.processes import last_lines, running, until_ended
from local.readiness import until_answers
from tests.process_table import descendants, processes, until_gone

SHELL = ["/bin/sh", "-c"]
# A shell whose child has a session and a process group of its own. It prints both process ids.
_GRANDCHILD = "import os, time; os.setsid(); print(os.getppid(), os.getpid(), flush=True); time.sleep(600)"
FAMILY = f'{sys.executable} -c "{_GRANDCHILD}"; true'


async def _first_line(log: Path) -> str:
    while not log.exists() or "\n" not in log.read_text():
        await asyncio.sleep(0.02)
    return log.read_text().splitlines()[0]


async def _family(log: Path) -> set[int]:
    """The processes of the shell that runs FAMILY."""
    child, grandchild = map(int, (await _first_line(log)).split())
    assert os.getsid(grandchild) == grandchild
    return {child, grandchild}


async def test_the_children_of_a_child_end_with_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running("a shell", [*SHELL, FAMILY], log=log, cwd=tmp_path):
        family = await _family(log)
    until_gone(family)


async def test_when_a_child_ends_its_children_are_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running("a shell", [*SHELL, "sleep 600 & echo $!; exit 7"], log=log, cwd=tmp_path) as process:
        assert await process.wait() == 7
        until_gone([int(await _first_line(log))])


def test_everything_ends_when_the_runner_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    kept = tmp_path / "file", tmp_path / "folder"
    kept[0].touch()
    kept[1].mkdir()
    program = f"""
import asyncio
from pathlib import Path
from local.processes import running
async def main():
    options = dict(log=Path({str(log)!r}), cwd=Path({str(tmp_path)!r}), delete={[*map(str, kept)]!r})
    async with running("a shell", [*{SHELL!r}, {FAMILY!r}], **options):
        await asyncio.Event().wait()
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) as runner:
        family = asyncio.run(_family(log))
        everything = descendants(runner.pid)
        assert family < everything
        runner.kill()
    until_gone(everything)
    assert not any(path.exists() for path in kept)


async def test_a_start_waits_for_processes_of_a_killed_run(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    async with running("a shell", [*SHELL, "exec sleep 600"], log=log, cwd=tmp_path):
        with pytest.raises(LocalCloudError, match="still run"):
            await until_ended(tmp_path, seconds=0.2)
    await until_ended(tmp_path, seconds=60)


async def test_a_child_that_hangs_is_killed_even_if_its_supervisor_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.processes._STOP_SECONDS", 0.2)
    log = tmp_path / "log"
    stubborn = ["trap '' TERM; echo $$; while :; do sleep 600; done"]
    async with running("a shell", [*SHELL, *stubborn], log=log, cwd=tmp_path, stop=signal.SIGTERM):
        child = int(await _first_line(log))
        (supervisor,) = [entry.parent for entry in processes() if entry.pid == child]
        os.kill(child, signal.SIGSTOP)
        os.kill(supervisor, signal.SIGSTOP)
    until_gone([child, supervisor])


async def test_a_cancelled_block_ends_its_child(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def work() -> None:
        async with running("a shell", [*SHELL, "echo $$; exec sleep 600"], log=log, cwd=tmp_path):
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    child = int(await _first_line(log))
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    until_gone([child])


async def test_waiting_for_a_server_that_ends_shows_the_end_of_its_log(tmp_path: Path) -> None:
    command = [*SHELL, "echo the disk is full; exit 3"]
    async with running("The server", command, log=tmp_path / "log", cwd=tmp_path) as process:
        with pytest.raises(LocalCloudError, match=r"(?s)The server ended with exit code 3.*the disk is full"):
            await until_answers("http://127.0.0.1:9/", seconds=60, by=process)


async def test_waiting_for_a_server_has_a_time_limit(tmp_path: Path) -> None:
    with pytest.raises(LocalCloudError, match=r"did not answer within 0\.3 s"):
        await until_answers("http://127.0.0.1:9/", seconds=0.3)


async def test_a_server_is_ready_when_it_answers_2xx(tmp_path: Path) -> None:
    port = any_free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    async with running("The server", command, log=tmp_path / "log", cwd=tmp_path) as process:
        await until_answers(f"http://127.0.0.1:{port}/", seconds=120, by=process)
        with pytest.raises(LocalCloudError, match=r"did not answer within 5 s; last: 404"):
            await until_answers(f"http://127.0.0.1:{port}/nothing", seconds=5, by=process)


def test_only_the_end_of_a_log_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(f"line {number}" for number in range(100)) + "\n\n")
    assert last_lines(log, 2) == "  | line 98\n  | line 99"
