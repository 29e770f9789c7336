"""Runs ``benchmarks.aws`` in a process of its own, with TLS and HTTP/2."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import trustme

REGION = "eu-central-1"


@contextlib.contextmanager
def running() -> Iterator[dict[str, str]]:
    """Run the server; yields the environment with which a function calls it instead of AWS."""
    with tempfile.TemporaryDirectory() as directory:
        bundle, certificate, key = _certificate(Path(directory))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "granian", "benchmarks.aws:app", "--interface", "rsgi"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--http", "auto", "--no-ws"]
        command += ["--log-level", "error", "--http2-max-concurrent-streams", "128"]
        # Do not wait for clients that keep their connections open.
        command += ["--workers-kill-timeout", "1"]
        command += ["--ssl-certificate", str(certificate), "--ssl-keyfile", str(key)]
        server = subprocess.Popen(command)
        try:
            _until_listening(port)
            yield {
                **os.environ,
                "AWS_CA_BUNDLE": str(bundle),
                "AWS_ENDPOINT_URL": f"https://127.0.0.1:{port}",
                "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
                "AWS_ACCESS_KEY_ID": "an-access-key-id",
                "AWS_SECRET_ACCESS_KEY": "a-secret-access-key",
                # As long as the tokens of Lambda's roles.
                "AWS_SESSION_TOKEN": "IQoJb3JpZ2luX2VjE" * 60,
            }
        finally:
            server.terminate()
            server.wait()


def _certificate(directory: Path) -> tuple[Path, Path, Path]:
    """The CA bundle, and the server's certificate and key."""
    bundle, certificate, key = (directory / f"{name}.pem" for name in ("ca", "certificate", "key"))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(bundle)
    issued = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    return bundle, certificate, key


def _until_listening(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
