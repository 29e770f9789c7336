"""`python -m local run` when it fails or is stopped: it says why, and no process is left."""

import asyncio
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psycopg
import pytest

from local import cloud
from local.environment import ROOT
from local.ports import HOST, Ports, any_free_port, is_free
from tests.process_table import descendants, freeze, processes, until_gone

VARIABLES = ("FANFARE_PORT", "FANFARE_TWITCH_PORT", "FANFARE_DATABASE_PORT")


@dataclass(frozen=True)
class Run:
    """A local cloud with its own state folder, ports and PATH."""

    state: Path
    tools: Path
    ports: dict[str, int]

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "local", "run", "--state-dir", str(self.state)]

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.tools}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, **{name: str(port) for name, port in self.ports.items()}}

    def finish(self) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command,
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    async def begin(self) -> asyncio.subprocess.Process:
        """Start until the servers run; the deployment hangs."""
        self.node("exec sleep 600")
        process = await asyncio.create_subprocess_exec(
            *self.command, cwd=ROOT, env=self.environment, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        waiting = {"AWS emulator", "Simulated Twitch", "PostgreSQL"}
        while waiting:
            line = (await process.stdout.readline()).decode()
            assert line, "it ended"
            waiting -= {step for step in waiting if re.search(rf"{step}: [0-9.]+ s", line)}
        return process

    @property
    def database(self) -> str:
        password = (self.state / "postgres" / "password").read_text()
        return f"postgresql://fanfare:{password}@{HOST}:{self.ports['FANFARE_DATABASE_PORT']}/fanfare"

    def node(self, script: str) -> None:
        """Put a script before the real `node` in PATH; `node --version` works."""
        file = self.tools / "node"
        file.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo v22.0.0 && exit\n{script}\n')
        file.chmod(0o755)

    def assert_nothing_is_left(self) -> None:
        assert [entry for entry in processes() if str(self.state) in entry.command] == []
        assert all(is_free(port) for port in self.ports.values())
        assert not (self.state / "endpoints.json").exists()


def free_ports() -> set[int]:
    """A port for each variable."""
    while len(ports := {any_free_port() for _ in VARIABLES}) < len(VARIABLES):
        pass
    return ports


@pytest.fixture
def run(tmp_path: Path) -> Run:
    tools = tmp_path / "tools"
    tools.mkdir()
    return Run(tmp_path / "state", tools, dict(zip(VARIABLES, free_ports(), strict=True)))


def test_a_step_that_fails_stops_everything(run: Run) -> None:
    run.node("echo the disk is full >&2; exit 3")
    (run.state).mkdir()
    (run.state / "endpoints.json").write_text("{}")  # left by a killed run
    result = run.finish()
    assert result.returncode == 1
    assert "The CDK app could not be synthesised" in result.stderr
    assert "the disk is full" in result.stderr
    assert str(run.state / "logs" / "synth.log") in result.stderr
    assert "Traceback" not in result.stderr
    run.assert_nothing_is_left()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_while_it_starts_stops_everything(run: Run, number: signal.Signals) -> None:
    process = await run.begin()
    everything = descendants(process.pid)
    process.send_signal(number)
    assert await process.wait() == 0
    until_gone(everything)
    run.assert_nothing_is_left()


async def test_servers_that_hang_are_stopped(run: Run) -> None:
    process = await run.begin()
    everything = descendants(process.pid)
    freeze(everything)
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    until_gone(everything)
    run.assert_nothing_is_left()


async def test_after_a_killed_run_the_next_one_has_what_was_recorded(run: Run) -> None:
    process = await run.begin()
    everything = descendants(process.pid)
    with psycopg.connect(run.database) as connection:
        connection.execute("create table recorded (id text)")
    (run.state / "endpoints.json").write_text("{}")
    process.kill()
    again = await run.begin()  # on the same ports, which the first one's servers may still use
    assert not everything & {entry.pid for entry in processes()}
    assert not (run.state / "endpoints.json").exists()
    with psycopg.connect(run.database) as connection:
        connection.execute("select from recorded")
    again.send_signal(signal.SIGTERM)
    assert await again.wait() == 0
    run.assert_nothing_is_left()


async def test_no_command_line_contains_a_secret(tmp_path: Path) -> None:
    ports = Ports(*free_ports())
    secret = "-begins-like-an-option"
    async with cloud.simulated_twitch(ports, secret, tmp_path) as twitch, aiohttp.ClientSession() as session:
        assert twitch.returncode is None
        assert not any(secret in entry.command for entry in processes())
        form = {"client_id": "fanfare-local", "client_secret": secret, "grant_type": "client_credentials"}
        async with session.post(f"http://{HOST}:{ports.twitch}/oauth2/token", data=form) as answer:
            assert answer.status == 200


def test_a_second_run_does_not_change_the_state_of_the_first(run: Run) -> None:
    run.state.mkdir()
    (run.state / "endpoints.json").write_text("the first one's")
    with (run.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run.finish()
    assert result.returncode == 1
    assert "Another local cloud is running with the state folder" in result.stderr
    assert (run.state / "endpoints.json").read_text() == "the first one's"


def test_a_port_that_is_taken_is_named(run: Run) -> None:
    with socket.create_server((HOST, run.ports["FANFARE_TWITCH_PORT"])):
        result = run.finish()
    assert result.returncode == 1
    assert f"Port {run.ports['FANFARE_TWITCH_PORT']} for the simulated Twitch is in use" in result.stderr
    run.assert_nothing_is_left()


@pytest.mark.parametrize("missing", ["node", "npm"])
def test_a_missing_tool_is_named(run: Run, missing: str) -> None:
    for tool in {"node", "npm"} - {missing}:
        found = shutil.which(tool)
        assert found is not None
        (run.tools / tool).symlink_to(found)
    result = subprocess.run(
        run.command,
        cwd=ROOT,
        env={**run.environment, "PATH": str(run.tools)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert f"{missing} was not found. Install Node.js 20 or newer" in result.stderr


def test_a_node_that_is_too_old_is_named(run: Run) -> None:
    run.node("exit 1")
    (run.tools / "node").write_text("#!/bin/sh\necho v18.20.0\n")
    result = run.finish()
    assert result.returncode == 1
    assert "Node.js 20 or newer is needed; this is v18.20.0" in result.stderr


def test_the_real_twitch_needs_an_application_and_says_how_to_get_one(run: Run) -> None:
    environ = {**os.environ, "TWITCH_CLIENT_ID": "own-application", "TWITCH_CLIENT_SECRET": ""}
    command = [sys.executable, "-m", "local", "run", "--twitch", "real", "--state-dir", str(run.state)]
    ended = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "https://dev.twitch.tv/console/apps" in ended.stderr
    assert "Traceback" not in ended.stderr
