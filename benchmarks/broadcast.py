"""What a frame costs the broadcaster, and boto3; what a burst costs; what a hundred thousand viewers take.

The broadcaster's own handler runs in a process of its own, against a TLS server in another
(``broadcast_aws``), which answers as API Gateway, DynamoDB and SQS do. Messages that the handler puts into
its queues are brought back to it, as Lambda does.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trustme

from benchmarks.result import Result, limit

VIEWERS = 10_000
THREADS = (1, 4, 16, 64)
VIEWERS_OF_BOTO3 = 400
BURST, BURST_VIEWERS = 1_000, 100


def measure() -> list[Result]:
    """Run each in a fresh process, so that neither's caches and sockets are the other's."""
    with tempfile.TemporaryDirectory() as directory, _server(Path(directory)) as environment:
        ours = _run(environment, "ours", "fan-out", VIEWERS)
        boto3 = max(
            (_run(environment, "boto3", VIEWERS_OF_BOTO3, threads) for threads in THREADS),
            key=lambda run: float(run["frames_per_cpu_second"]),
        )
        burst = _run(environment, "ours", "burst", BURST_VIEWERS)
        many = _run(environment, "ours", "fan-out", 100_000)
    frames, best = ours["frames_per_cpu_second"], boto3["frames_per_cpu_second"]
    return [
        Result(
            name=f"broadcast to {VIEWERS:,} viewers",
            unit="frames/CPU s",
            ours=frames,
            baseline_name=f"boto3, {boto3['threads']} threads",
            baseline=best,
            ratio=frames / best,
            target=25,
            better="higher",
        ),
        limit(f"broadcast to {VIEWERS:,} viewers", "s", ours["seconds"], 1, "lower"),
        Result(
            name=f"{BURST:,} events in a second, {BURST_VIEWERS} viewers",
            unit="posts",
            ours=burst["posts"],
            baseline_name="a post per event and viewer",
            baseline=BURST * BURST_VIEWERS,
            ratio=BURST * BURST_VIEWERS / burst["posts"],
            target=50,
            better="higher",
        ),
        limit("memory at 100,000 viewers", "MB", many["memory_mb"], 256, "lower"),
    ]


@contextlib.contextmanager
def _server(directory: Path) -> Iterator[dict[str, str]]:
    """Run the server; the environment in which a function calls nothing else."""
    authority = trustme.CA()
    bundle, certificate = directory / "ca.pem", directory / "certificate.pem"
    authority.cert_pem.write_to_path(bundle)
    issued = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    key = directory / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "granian",
        "--interface",
        "rsgi",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command += ["--http", "auto", "--no-ws", "--log-level", "error", "--http2-max-concurrent-streams", "128"]
    command += [
        "--ssl-certificate",
        str(certificate),
        "--ssl-keyfile",
        str(key),
        "benchmarks.broadcast_aws:app",
    ]
    server = subprocess.Popen(command)
    try:
        _until_listening(port)
        yield {
            **os.environ,
            "AWS_CA_BUNDLE": str(bundle),
            "AWS_ENDPOINT_URL": f"https://127.0.0.1:{port}",
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "an-access-key-id",
            "AWS_SECRET_ACCESS_KEY": "a-secret-access-key",
            # As long as those that Lambda's roles get.
            "AWS_SESSION_TOKEN": "IQoJb3JpZ2luX2VjE" * 60,
            "CONNECTIONS_TABLE": "connections",
            "CONNECTIONS_ENDPOINT": f"https://127.0.0.1:{port}/live",
            "GATHER_QUEUE_URL": "gather",
            "FAN_OUT_QUEUE_URL": "fan-out",
            "POWERTOOLS_SERVICE_NAME": "broadcaster",
        }
    finally:
        server.terminate()
        server.wait()


def _until_listening(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _run(environment: dict[str, str], who: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", f"benchmarks.broadcast_{who}", *map(str, arguments)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
