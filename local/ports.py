"""Which ports the local cloud listens on."""

import os
import socket
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from local.errors import LocalCloudError
from local.processes import try_lock

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """One port for each server. The AWS emulator's port also serves the site and the API."""

    emulator: int
    twitch: int
    database: int


@dataclass(frozen=True)
class _Server:
    variable: str
    default: int
    name: str


_EMULATOR = _Server("FANFARE_PORT", 8600, "the site and the AWS emulator")
_TWITCH = _Server("FANFARE_TWITCH_PORT", 8601, "the simulated Twitch")
_DATABASE = _Server("FANFARE_DATABASE_PORT", 8602, "PostgreSQL")


class PortReservations(ExitStack):
    """Keeps two local clouds that start at the same moment from choosing the same port.

    A port is free until its server listens, which is seconds after it was chosen; meanwhile a lock on a file
    named after the port marks it as taken. The kernel drops the lock when this process ends, however it ends.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self._folder = folder or Path(tempfile.gettempdir()) / f"fanfare-ports-{os.getuid()}"

    def choose(self, environ: Mapping[str, str]) -> Ports:
        """The port for each server: the one set in ``environ``, else its default, else any free one.

        Raises LocalCloudError when a port that was asked for is no port or is in use.
        """
        return Ports(
            emulator=self._port(_EMULATOR, environ),
            twitch=self._port(_TWITCH, environ),
            database=self._port(_DATABASE, environ),
        )

    def _port(self, server: _Server, environ: Mapping[str, str]) -> int:
        wanted = environ.get(server.variable)
        if wanted:
            port = _parse(server.variable, wanted)
            if not self._reserve(port):
                raise LocalCloudError(
                    f"Port {port}, set with {server.variable} for {server.name}, is in use by another "
                    f"program. Stop that program, choose another port, or unset {server.variable} to use any "
                    "free one."
                )
            return port
        if self._reserve(server.default):
            return server.default
        while not self._reserve(port := any_free_port()):
            pass
        return port

    def _reserve(self, port: int) -> bool:
        if not is_free(port):
            return False
        self._folder.mkdir(exist_ok=True)
        marker = (self._folder / str(port)).open("w")
        if not try_lock(marker):
            marker.close()
            return False
        self.enter_context(marker)
        return True


def is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` now."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def any_free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _parse(variable: str, value: str) -> int:
    if value.isascii() and value.isdigit() and 1 <= int(value) <= 65535:
        return int(value)
    raise LocalCloudError(f"{variable} must be a port number from 1 to 65535, not {value!r}.")
