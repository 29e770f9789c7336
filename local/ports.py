"""The ports that the local cloud listens on."""

import os
import secrets
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


class PortReservations(ExitStack):
    """Prevents two local clouds that start at the same moment from choosing the same port.

    A server listens on its port only seconds after the port was chosen. Until then a lock on a file, named
    after the port, reserves it. The kernel releases the lock when this process ends.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self._folder = folder or Path(tempfile.gettempdir()) / f"fanfare-ports-{os.getuid()}"

    def choose(self, environ: Mapping[str, str]) -> Ports:
        """The port for each server: the one set in ``environ``, else its default, else any free one.

        Raises LocalCloudError when a variable does not contain a port number, or the port is in use.
        """
        return Ports(
            emulator=self._port(environ, "FANFARE_PORT", 8600, "the site and the AWS emulator"),
            twitch=self._port(environ, "FANFARE_TWITCH_PORT", 8601, "the simulated Twitch"),
            database=self._port(environ, "FANFARE_DATABASE_PORT", 8602, "PostgreSQL"),
        )

    def _port(self, environ: Mapping[str, str], variable: str, default: int, server: str) -> int:
        if wanted := environ.get(variable):
            port = _parse(variable, wanted)
            if not self._reserve(port):
                raise LocalCloudError(
                    f"Port {port} for {server} is in use by another program. "
                    f"Stop that program, or choose another port with {variable}."
                )
            return port
        if self._reserve(default):
            return default
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
    """Whether a server can listen on ``port`` now."""
    with socket.socket() as probe:
        # Servers set this, too: they can listen while old connections are in TIME_WAIT.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def any_free_port() -> int:
    """A port that no program listens on now, and that the system gives to no connection by itself.

    Those begin at 32768 on Linux, and at 49152 elsewhere: https://www.rfc-editor.org/rfc/rfc6335#section-6
    """
    while not is_free(port := secrets.choice(range(10_000, 32_768))):
        pass
    return port


def _parse(variable: str, value: str) -> int:
    if value.isascii() and value.isdigit() and 1 <= int(value) <= 65535:
        return int(value)
    raise LocalCloudError(f"{variable} must be a port number from 1 to 65535, not {value!r}.")
