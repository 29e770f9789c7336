"""What a frame costs the broadcaster, and boto3; what a burst costs; what a hundred thousand viewers take.

The broadcaster's own handler runs in a process of its own, against a TLS server in another (``aws``), which
answers as API Gateway, DynamoDB and SQS do. Messages that the handler puts into its queues are brought back
to it, as Lambda does.
"""

import json
import subprocess
import sys
from typing import Any

from benchmarks import server
from benchmarks.result import Result, limit

VIEWERS = 10_000
THREADS = (1, 4, 16, 64)
VIEWERS_OF_BOTO3 = 400
# As often as boto3, whose best thread count is found: the best counts.
RUNS = len(THREADS)
BURST, BURST_VIEWERS = 1_000, 100
SETTINGS = {
    "CONNECTIONS_TABLE": "connections",
    "INBOXES_TABLE": "inboxes",
    "BROADCAST_QUEUE_URL": "broadcast",
    "FAN_OUT_QUEUE_URL": "fan-out",
    # Two invocations of the stage share half of it. Here one serves both parts of the audience.
    "POSTS_PER_SECOND": "19000",
    "POWERTOOLS_SERVICE_NAME": "broadcaster",
}


def measure() -> list[Result]:
    """Run each in a fresh process, so that neither's caches and sockets are the other's."""
    with server.running() as aws:
        endpoint = f"{aws['AWS_ENDPOINT_URL']}/live"
        environment = {**aws, **SETTINGS, "CONNECTIONS_ENDPOINT": endpoint}
        ours = [_run(environment, "ours", "fan-out", VIEWERS) for _ in range(RUNS)]
        boto3 = max(
            (_run(environment, "boto3", VIEWERS_OF_BOTO3, threads) for threads in THREADS),
            key=lambda run: float(run["frames_per_cpu_second"]),
        )
        burst = _run(environment, "ours", "burst", BURST_VIEWERS)
        many = _run(environment, "ours", "fan-out", 100_000)
    frames, best = max(run["frames_per_cpu_second"] for run in ours), boto3["frames_per_cpu_second"]
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
        limit(f"broadcast to {VIEWERS:,} viewers", "s", min(run["seconds"] for run in ours), 1, "lower"),
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


def _run(environment: dict[str, str], who: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", f"benchmarks.broadcast_{who}", *map(str, arguments)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
