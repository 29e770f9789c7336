"""The local cloud: everything started in order, watched while it runs, and stopped together."""

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from local import deployment, emulator, endpoints, environment, postgres
from local.answering import until_answers
from local.endpoints import Endpoints
from local.errors import LocalCloudError
from local.ports import HOST, PortReservations, Ports, is_free, try_lock
from local.processes import Process, running
from local.progress import Report

_OLDEST_NODE = 20
_START_SECONDS = 30
# The first request also starts the function's process and its database connection.
_FIRST_ANSWER_SECONDS = 60
_WATCH_SECONDS = 1.0

T = TypeVar("T")


@dataclass(frozen=True)
class _Twitch:
    """The app that Fanfare is registered as at the simulated Twitch, anew for each run."""

    process: Process
    client_id: str
    client_secret: str


async def run(state: Path, report: Report) -> None:
    """Bring everything up, say where it listens, and keep it running until cancelled.

    ``state`` keeps PostgreSQL's data from one run to the next; the emulator and the simulated Twitch begin
    empty. Raises LocalCloudError when a step fails or a server ends by itself. However it ends, nothing that
    it started is left running and ``endpoints.json`` is gone.
    """
    check_tools()
    state.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        lock(state, stack)
        ports = stack.enter_context(PortReservations()).choose(os.environ)
        environment.point_at_emulator(emulator.endpoint(ports.emulator))
        addresses = state / "endpoints.json"
        addresses.unlink(missing_ok=True)
        stack.callback(addresses.unlink, missing_ok=True)
        async with _together() as group:
            starting = group.create_task(_start_servers(ports, state, report, stack))
            building = group.create_task(_synthesize(ports, state, report))
        servers = starting.result()
        with report.step("Deploying the stacks") as step:
            outputs = await deployment.deploy(building.result(), state, state / "logs", step)
        found = _endpoints(ports, servers.database_url, outputs)
        with report.step("Waiting for the first answers"):
            await _everything_answers(found, servers.emulator)
        endpoints.write(addresses, found)
        report.say(_welcome(found, state))
        await _until_something_ends(servers, ports)


def check_tools() -> None:
    """Raise LocalCloudError for the first tool that is missing or too old."""
    if sys.platform == "win32":
        raise LocalCloudError("The local cloud runs on Linux and macOS; on Windows, use WSL.")
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise LocalCloudError(
                f"{tool} was not found. Install Node.js {_OLDEST_NODE} or newer (https://nodejs.org), "
                "then run this again."
            )
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < _OLDEST_NODE:
        raise LocalCloudError(f"Node.js {_OLDEST_NODE} or newer is needed; this is {version}.")
    if not deployment.CDK.exists():
        raise LocalCloudError(
            "The CDK command line is not installed: start with `make run`, which installs it."
        )


def lock(state: Path, stack: AsyncExitStack) -> None:
    """Keep the state folder for this run alone, until the stack is left."""
    file = stack.enter_context((state / "lock").open("w"))
    if not try_lock(file):
        raise LocalCloudError(
            f"Another local cloud is running with the state folder {state}; its addresses are in "
            f"{state / 'endpoints.json'}. Stop it first, or give this one a folder of its own with "
            "FANFARE_STATE_DIR or --state-dir."
        )


@dataclass(frozen=True)
class _Servers:
    emulator: Process
    twitch: Process
    database_url: str


async def _start_servers(ports: Ports, state: Path, report: Report, stack: AsyncExitStack) -> _Servers:
    """Start the three servers at once and give the emulator the secrets that it needs of the other two."""
    async with _together() as group:
        cloud_starting = group.create_task(_start_emulator(ports, state, report, stack))
        twitch_starting = group.create_task(_start_twitch(ports, state, report, stack))
        postgres_starting = group.create_task(_start_postgres(ports, state, report, stack))
    twitch, database = twitch_starting.result(), postgres_starting.result()
    await asyncio.to_thread(
        deployment.prepare_account,
        emulator.endpoint(ports.emulator),
        {
            deployment.TWITCH_SECRET: {"client_id": twitch.client_id, "client_secret": twitch.client_secret},
            deployment.DATABASE_SECRET: {"password": database.password},
        },
    )
    return _Servers(cloud_starting.result(), twitch.process, database.url())


async def _start_emulator(ports: Ports, state: Path, report: Report, stack: AsyncExitStack) -> Process:
    with report.step("AWS emulator"):
        await emulator.install(state / "logs")
        return await stack.enter_async_context(emulator.run(ports.emulator, state, state / "logs"))


async def _start_twitch(ports: Ports, state: Path, report: Report, stack: AsyncExitStack) -> _Twitch:
    app = ("fanfare-local", secrets.token_urlsafe(24))
    command = [sys.executable, "-m", "local.twitch", "--port", str(ports.twitch)]
    command += ["--client-id", app[0], "--client-secret", app[1]]
    command += ["--cognito-callback-base", emulator.endpoint(ports.emulator)]
    with report.step("Simulated Twitch"):
        process = await stack.enter_async_context(
            running("The simulated Twitch", command, log=state / "logs" / "twitch.log", cwd=environment.ROOT)
        )
        await until_answers(f"http://{HOST}:{ports.twitch}/", seconds=_START_SECONDS, by=process)
    return _Twitch(process, *app)


async def _start_postgres(
    ports: Ports, state: Path, report: Report, stack: AsyncExitStack
) -> postgres.Postgres:
    with report.step("PostgreSQL"):
        try:
            server = postgres.running(state / "postgres", ports.database)
            return await stack.enter_async_context(_in_thread(server))
        except postgres.PostgresError as error:
            raise LocalCloudError(str(error)) from error


@asynccontextmanager
async def _in_thread(manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a blocking context manager without blocking the others."""
    entering = asyncio.create_task(asyncio.to_thread(manager.__enter__))
    try:
        yield await asyncio.shield(entering)
    finally:
        # A thread cannot be cancelled: when this was, what it made must still be taken down.
        await asyncio.wait([entering])
        if entering.exception() is None:
            await asyncio.to_thread(manager.__exit__, None, None, None)


async def _synthesize(ports: Ports, state: Path, report: Report) -> Path:
    with report.step("Building functions, site and templates") as step:
        return await deployment.synthesize(ports, state, state / "logs", step)


@asynccontextmanager
async def _together() -> AsyncIterator[asyncio.TaskGroup]:
    """Run the group's tasks at the same time; when one fails, stop the others and raise its error."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as failed:
        if isinstance(error := failed.exceptions[0], LocalCloudError):
            raise error from None
        raise


def _endpoints(ports: Ports, database_url: str, outputs: dict[str, str]) -> Endpoints:
    return Endpoints(
        site=outputs["SiteUrl"].rstrip("/") + "/",
        api=outputs["HttpApiUrl"],
        websocket=outputs["WebSocketUrl"],
        webhook=outputs["WebhookUrl"],
        twitch=f"http://{HOST}:{ports.twitch}",
        database=database_url,
        aws_endpoint=emulator.endpoint(ports.emulator),
        stack_outputs=outputs,
    )


async def _everything_answers(found: Endpoints, cloud: Process) -> None:
    site = urlsplit(found.site)
    # Not every resolver knows *.localhost, as browsers do.
    by_number, host = site._replace(netloc=f"{HOST}:{site.port}").geturl(), {"Host": site.netloc}
    counts = "api/channels/fanfare/counts"
    for url in (f"{found.twitch}/", f"{found.api}/{counts}"):
        await until_answers(url, seconds=_FIRST_ANSWER_SECONDS, by=cloud)
    for url in (by_number, f"{by_number}config.json", f"{by_number}{counts}"):
        await until_answers(url, headers=host, seconds=_FIRST_ANSWER_SECONDS, by=cloud)


async def _until_something_ends(servers: _Servers, ports: Ports) -> None:
    """Raise LocalCloudError as soon as one of the servers is gone."""
    async with _together() as group:
        group.create_task(_ends(servers.emulator))
        group.create_task(_ends(servers.twitch))
        group.create_task(_no_longer_listens(ports.database))


async def _ends(process: Process) -> None:
    status = await process.wait()
    raise process.failure(f"{process.name} ended with exit code {status}; everything else was stopped.")


async def _no_longer_listens(port: int) -> None:
    while not is_free(port):
        await asyncio.sleep(_WATCH_SECONDS)
    raise LocalCloudError("PostgreSQL ended; everything else was stopped. Its log is in the state folder.")


def _welcome(found: Endpoints, state: Path) -> str:
    rows = {
        "site": found.site,
        "simulated Twitch": f"{found.twitch}/",
        "API": f"{found.api}/api/",
        "AWS endpoint": found.aws_endpoint,
        "PostgreSQL": found.database,
        "logs": str(state / "logs"),
    }
    lines = [f"  {name:<17} {value}" for name, value in rows.items()]
    return "\n".join(["", "Fanfare is running; Ctrl-C stops it.", "", *lines, ""])
