"""Children end with their block, together with whatever they started, and say why when they fail."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from local.answering import until_answers
from local.errors import LocalCloudError
from local.processes import last_lines, running

SHELL = ["/bin/sh", "-c"]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def _until_gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while _runs(pid):
            await asyncio.sleep(0.02)


async def _first_line(log: Path) -> str:
    async with asyncio.timeout(10):
        while "\n" not in log.read_text():
            await asyncio.sleep(0.02)
    return log.read_text().splitlines()[0]


async def test_a_childs_children_end_with_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running("a shell", [*SHELL, "sleep 600 & echo $!; wait"], log=log, cwd=tmp_path):
        grandchild = int(await _first_line(log))
        assert _runs(grandchild)
    await _until_gone(grandchild)


async def test_a_child_that_ignores_the_request_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.processes.STOP_SECONDS", 0.2)
    log = tmp_path / "log"
    stubborn = ["trap '' TERM; echo $$; while :; do sleep 600; done"]
    async with running("a shell", [*SHELL, *stubborn], log=log, cwd=tmp_path):
        child = int(await _first_line(log))
    await _until_gone(child)


async def test_a_cancelled_block_ends_its_child(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def work() -> None:
        async with running("a shell", [*SHELL, "echo $$; exec sleep 600"], log=log, cwd=tmp_path):
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    while not log.exists():
        await asyncio.sleep(0.02)
    child = int(await _first_line(log))
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await _until_gone(child)


async def test_waiting_for_a_server_that_ends_tells_its_last_words(tmp_path: Path) -> None:
    command = [*SHELL, "echo the disk is full; exit 3"]
    async with running("The server", command, log=tmp_path / "log", cwd=tmp_path) as process:
        with pytest.raises(LocalCloudError, match=r"(?s)The server ended with exit code 3.*the disk is full"):
            await until_answers("http://127.0.0.1:9/", seconds=10, by=process)


async def test_waiting_for_a_silent_server_ends_in_time(tmp_path: Path) -> None:
    with pytest.raises(LocalCloudError, match=r"did not answer within 0\.3 s"):
        await until_answers("http://127.0.0.1:9/", seconds=0.3)


async def test_a_server_has_answered_when_it_says_2xx(tmp_path: Path, unused_tcp_port: int) -> None:
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(unused_tcp_port)]
    async with running("The server", command, log=tmp_path / "log", cwd=tmp_path) as process:
        await until_answers(f"http://127.0.0.1:{unused_tcp_port}/", seconds=20, by=process)
        with pytest.raises(LocalCloudError, match=r"did not answer within 0\.3 s; last: 404"):
            await until_answers(f"http://127.0.0.1:{unused_tcp_port}/nothing", seconds=0.3, by=process)


def test_only_the_end_of_a_log_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(f"line {number}" for number in range(100)) + "\n\n")
    assert last_lines(log, 2) == "  | line 98\n  | line 99"
