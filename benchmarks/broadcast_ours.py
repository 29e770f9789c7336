"""The broadcaster's handler in a process of its own: ``broadcast_ours <what> <viewers>`` prints figures."""

import contextlib
import io
import json
import os
import resource
import sys
import time
from typing import Any

import urllib3

from benchmarks.aws import event
from lambdas.handlers.broadcaster import handler

BURST, BURST_BATCH = 1_000, 10


class _Context:
    """What the handler asks Lambda's context."""

    function_name = "broadcaster"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:broadcaster"
    aws_request_id = "a-request"

    def get_remaining_time_in_millis(self) -> int:
        return 15_000


class _Meter:
    """Invokes the handler, and adds up what that took."""

    def __init__(self) -> None:
        self.cpu = self.seconds = 0.0
        self.posts = 0
        self._server = urllib3.PoolManager(ca_certs=os.environ["AWS_CA_BUNDLE"])
        # What came before was somebody else's.
        self._seen()

    def invoke(self, bodies: list[str]) -> list[str]:
        """Invoke the handler with a batch; returns the messages that it sent, when all posts are counted."""
        batch = {"Records": [{"messageId": str(n), "body": body} for n, body in enumerate(bodies)]}
        started, cpu = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            answer = handler(batch, _Context())
        self.cpu += time.process_time() - cpu
        self.seconds += time.perf_counter() - started
        if answer != {"batchItemFailures": []}:
            raise AssertionError(answer)
        seen = self._seen()
        self.posts += seen["posts"]
        sent: list[str] = seen["sent"]
        return sent

    def _seen(self) -> dict[str, Any]:
        """What has come to the server since the last time."""
        seen: dict[str, Any] = self._server.request("GET", f"{os.environ['AWS_ENDPOINT_URL']}/seen").json()
        return seen


def _fan_out(viewers: int) -> dict[str, float]:
    meter = _Meter()
    meter.invoke([event(0, 100)])
    meter.cpu = meter.seconds = meter.posts = 0
    waiting = meter.invoke([event(1, viewers)])
    while waiting:
        waiting = [message for chunk in waiting for message in meter.invoke([chunk])]
    if meter.posts != viewers - viewers // 100:
        raise AssertionError(f"{meter.posts} posts to {viewers} viewers, of whom a hundredth is gone")
    return {
        "frames_per_cpu_second": meter.posts / meter.cpu,
        "seconds": meter.seconds,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _burst(viewers: int) -> dict[str, float]:
    """Ten events every hundredth of a second; what is gathered comes back after a second, in one batch."""
    meter = _Meter()
    gathered: list[str] = []
    started = time.monotonic()
    for first in range(0, BURST, BURST_BATCH):
        time.sleep(max(started + first / BURST - time.monotonic(), 0))
        gathered += meter.invoke([event(number, viewers) for number in range(first, first + BURST_BATCH)])
    meter.invoke(gathered)
    return {"posts": meter.posts, "seconds": time.monotonic() - started}


if __name__ == "__main__":
    print(json.dumps({"fan-out": _fan_out, "burst": _burst}[sys.argv[1]](int(sys.argv[2]))))
