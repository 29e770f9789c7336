"""The AWS emulator: its own Python environment, and the process."""

import asyncio
import hashlib
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from local import environment
from local.ports import HOST
from local.processes import Process, running, try_lock
from local.readiness import until_answers
from local.threads import in_thread

REQUIREMENTS = environment.ROOT / "requirements" / "emulator.txt"
VENV = environment.ROOT / ".local" / "emulator-venv"
# The functions' unpacked packages, named by content. They are kept: unpacking and deleting takes seconds.
_UNPACKED = environment.ROOT / ".cache" / "functions"
_UNPACKED_DAYS = 30
_LAUNCHER = Path(__file__).with_name("emulator_launcher.py")
_START_SECONDS = 60


def endpoint(port: int) -> str:
    """The emulator's address. It has no host name: S3 clients would resolve ``<bucket>.<host name>``."""
    return f"http://{HOST}:{port}"


async def _install(logs: Path) -> None:
    """Make the emulator's environment from its requirements, unless it exists."""
    lock = VENV.with_name("emulator-venv.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        while not try_lock(file):  # Another local cloud is installing it.
            await asyncio.sleep(0.1)
        stamp = VENV / ".installed-from"
        wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
        if stamp.exists() and stamp.read_text() == wanted:
            return
        shutil.rmtree(VENV, ignore_errors=True)
        uv, python = [sys.executable, "-m", "uv", "--quiet"], str(VENV / "bin" / "python")
        sync = ["pip", "sync", "--python", python, "--require-hashes", str(REQUIREMENTS)]
        for command in (["venv", "--python", sys.executable, str(VENV)], sync):
            log = logs / "emulator-install.log"
            async with running("uv", [*uv, *command], log=log, cwd=environment.ROOT) as process:
                if await process.wait() != 0:
                    raise process.failure(
                        "The AWS emulator could not be installed. "
                        "Check that the Python package registry can be reached, then run this again."
                    )
        stamp.write_text(wanted)


@asynccontextmanager
async def run(port: int, state: Path, logs: Path) -> AsyncIterator[Process]:
    """Run the emulator, empty, with IAM enforcement, until the block is left.

    It and the functions that it runs do not see the caller's environment. At the end, their temporary folder
    and ``endpoints.json`` are deleted.
    """
    await _install(logs)
    temporary = state / "tmp"
    await in_thread(shutil.rmtree, temporary, True)  # a killed run may have left it
    temporary.mkdir(parents=True)
    await in_thread(_delete_old_packages)
    variables = {
        "PATH": os.environ["PATH"],  # for node, which runs CloudFront functions and triggers
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        **environment.aws_variables(endpoint(port)),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": HOST,
        "AUTH": "true",
        "FANFARE_UNPACKED": str(_UNPACKED),
        # Two servers that nothing here uses. Their ports are fixed: two local clouds would conflict.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        # Do not use Docker where it is installed.
        "DOCKER_HOST": "unix:///nonexistent",
    }
    # -P: do not import this package's modules, which are in the launcher's folder.
    command = [str(VENV / "bin" / "python"), "-P", str(_LAUNCHER)]
    async with running(
        "The AWS emulator",
        command,
        log=logs / "emulator.log",
        cwd=temporary,
        env=variables,
        delete=[state / "endpoints.json", temporary],
    ) as process:
        await until_answers(f"{endpoint(port)}/_ministack/health", seconds=_START_SECONDS, by=process)
        yield process


def _delete_old_packages() -> None:
    _UNPACKED.mkdir(parents=True, exist_ok=True)
    for package in _UNPACKED.iterdir():
        if package.stat().st_mtime < time.time() - _UNPACKED_DAYS * 86_400:
            shutil.rmtree(package, ignore_errors=True)
