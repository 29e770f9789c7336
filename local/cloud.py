"""The local cloud: starts its servers, deploys the app, watches the servers and stops them together."""

import asyncio
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from local import deployment, emulator, endpoints, environment, postgres
from local.endpoints import Endpoints
from local.errors import LocalCloudError
from local.ports import HOST, PortReservations, Ports
from local.processes import Process, running, try_lock, until_ended
from local.progress import Report
from local.readiness import until_answers
from local.threads import in_thread
from local.twitch.settings import CLIENT_SECRET

_OLDEST_NODE = 20
_START_SECONDS = 30
# The first request also starts the function's process and its database connection.
_FIRST_ANSWER_SECONDS = 60
_LEFTOVERS_SECONDS = 20
_CLIENT_ID = "fanfare-local"

T = TypeVar("T")


async def run(state: Path, report: Report) -> None:
    """Start everything, show the addresses, and keep it running until cancelled.

    ``state`` keeps PostgreSQL's data from one run to the next; the emulator and the simulated Twitch begin
    empty. Raises LocalCloudError when a step fails or a server ends by itself. At the end, every process that
    it started has ended and ``endpoints.json`` is deleted.
    """
    logs = state / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        _lock(state, stack)
        await until_ended(logs, seconds=_LEFTOVERS_SECONDS)
        await _check_tools(logs)
        ports = stack.enter_context(PortReservations()).choose(os.environ)
        environment.point_at_emulator(emulator.endpoint(ports.emulator))
        addresses = state / "endpoints.json"
        addresses.unlink(missing_ok=True)
        stack.callback(addresses.unlink, missing_ok=True)
        async with _task_group() as group:
            building = group.create_task(_synthesize(ports, state, report))
            cloud, database = await _start_servers(group, ports, state, report)
            assembly = await building
            with report.step("Deploying the stacks") as show:
                outputs = await deployment.deploy(assembly, state, logs, show)
            found = _endpoints(ports, database.url(), outputs)
            with report.step("Waiting for the first answers"):
                await _everything_answers(found, cloud)
            endpoints.write(addresses, found)
            report.say(_welcome(found, state))


async def _check_tools(logs: Path) -> None:
    """Raise LocalCloudError for the first tool that is missing or too old."""
    if sys.platform == "win32":
        raise LocalCloudError("The local cloud runs on Linux and macOS; on Windows, use WSL.")
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise LocalCloudError(
                f"{tool} was not found. Install Node.js {_OLDEST_NODE} or newer (https://nodejs.org), "
                "then run this again."
            )
    log = logs / "node.log"
    async with running("node", ["node", "--version"], log=log, cwd=environment.ROOT) as node:
        if await node.wait() != 0:
            raise node.failure("Node.js does not start.")
    version = log.read_text().strip()
    if int(version.removeprefix("v").split(".")[0]) < _OLDEST_NODE:
        raise LocalCloudError(f"Node.js {_OLDEST_NODE} or newer is needed; this is {version}.")
    if not deployment.CDK.exists():
        raise LocalCloudError(
            "The CDK command line is not installed: start with `make run`, which installs it."
        )


def _lock(state: Path, stack: ExitStack) -> None:
    """Lock the state folder until the exit stack closes."""
    file = stack.enter_context((state / "lock").open("w"))
    if not try_lock(file):
        raise LocalCloudError(
            f"Another local cloud is running with the state folder {state}; its addresses are in "
            f"{state / 'endpoints.json'}. Stop it first, or use another folder: set FANFARE_STATE_DIR or "
            "--state-dir."
        )


async def _start_servers(
    group: asyncio.TaskGroup, ports: Ports, state: Path, report: Report
) -> tuple[Process, postgres.Postgres]:
    """Start the three servers at the same time, and put the secrets of two of them into the emulator.

    They run until the group is cancelled, and are then stopped at the same time. The group fails when one of
    them ends by itself. Returns the emulator and PostgreSQL.
    """
    logs, client_secret = state / "logs", secrets.token_urlsafe(24)
    database_server = postgres.run_async(state / "postgres", ports.database, logs / "postgres.log")
    cloud = _serve(group, report, "AWS emulator", emulator.run(ports.emulator, state, logs))
    twitch = _serve(group, report, "Simulated Twitch", simulated_twitch(ports, client_secret, logs))
    database = _serve(group, report, "PostgreSQL", database_server)
    starting: list[asyncio.Future[Any]] = [cloud, twitch, database]
    await asyncio.wait(starting)
    for process in (cloud.result(), twitch.result(), database.result().process):
        group.create_task(process.fail_when_it_ends())
    await in_thread(
        deployment.prepare_account,
        {
            deployment.TWITCH_SECRET: {"client_id": _CLIENT_ID, "client_secret": client_secret},
            deployment.DATABASE_SECRET: {"password": database.result().password},
        },
    )
    return cloud.result(), database.result()


def _serve(
    group: asyncio.TaskGroup, report: Report, name: str, server: AbstractAsyncContextManager[T]
) -> asyncio.Future[T]:
    """Run a server until the group is cancelled; the future is done when the server has started."""
    started: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            with report.step(name):
                started.set_result(await stack.enter_async_context(server))
            await asyncio.Event().wait()

    group.create_task(serve())
    return started


@asynccontextmanager
async def simulated_twitch(ports: Ports, client_secret: str, logs: Path) -> AsyncIterator[Process]:
    """Run the simulated Twitch until the block is left."""
    command = [sys.executable, "-m", "local.twitch", "--port", str(ports.twitch), "--client-id", _CLIENT_ID]
    command += ["--cognito-callback-base", emulator.endpoint(ports.emulator)]
    async with running(
        "The simulated Twitch",
        command,
        log=logs / "twitch.log",
        cwd=environment.ROOT,
        env={**os.environ, CLIENT_SECRET: client_secret},
    ) as process:
        await until_answers(f"http://{HOST}:{ports.twitch}/", seconds=_START_SECONDS, by=process)
        yield process


async def _synthesize(ports: Ports, state: Path, report: Report) -> Path:
    with report.step("Building functions, site and templates") as show:
        return await deployment.synthesize(ports, state, state / "logs", show)


@asynccontextmanager
async def _task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Run the group's tasks at the same time; when one fails, stop the others and raise its error."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as failed:
        if isinstance(error := failed.exceptions[0], LocalCloudError):
            raise error from None
        raise


def _endpoints(ports: Ports, database_url: str, outputs: dict[str, str]) -> Endpoints:
    site = urlsplit(outputs["SiteUrl"])
    label = str(site.hostname).partition(".")[0]
    return Endpoints(
        site=outputs["SiteUrl"].rstrip("/") + "/",
        # By way of CloudFront, without which reads are refused, but at an address that needs no resolver.
        api=f"{emulator.endpoint(ports.emulator)}/_aws/cloudfront/{label}",
        websocket=outputs["WebSocketUrl"],
        webhook=outputs["WebhookUrl"],
        twitch=f"http://{HOST}:{ports.twitch}",
        database=database_url,
        aws_endpoint=emulator.endpoint(ports.emulator),
        stack_outputs=outputs,
    )


async def _everything_answers(found: Endpoints, cloud: Process) -> None:
    site = urlsplit(found.site)
    # Browsers resolve *.localhost by themselves; not every system resolver knows it.
    by_number, host = site._replace(netloc=f"{HOST}:{site.port}").geturl(), {"Host": site.netloc}
    counts = "api/channels/fanfare/counts"
    for url in (f"{found.twitch}/", f"{found.api}/{counts}"):
        await until_answers(url, seconds=_FIRST_ANSWER_SECONDS, by=cloud)
    for url in (by_number, f"{by_number}config.json", f"{by_number}{counts}"):
        await until_answers(url, headers=host, seconds=_FIRST_ANSWER_SECONDS, by=cloud)


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
