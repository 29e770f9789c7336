"""The broadcaster's handler in a process of its own: ``broadcast_ours <what> <viewers>`` prints figures."""

import contextlib
import io
import json
import multiprocessing
import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import urllib3

from benchmarks.aws import event
from lambdas.handlers.broadcaster import handler
from lambdas.live import serving

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

    def invoke(self, bodies: list[str]) -> list[str]:
        """Invoke the handler with a batch; returns the messages that it sent, when all posts are counted."""
        records = [
            {"messageId": f"{time.monotonic_ns()}-{number}", "body": body}
            for number, body in enumerate(bodies)
        ]
        batch = {"Records": records}
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
    # The pause after the last post is not what is measured.
    vars(serving)["ROUND_SECONDS"] = 0.0
    meter.invoke([event(0, 100)])
    meter.cpu = meter.seconds = meter.posts = 0
    waiting = meter.invoke([event(1, viewers)])
    while waiting:
        waiting = [message for request in waiting for message in meter.invoke([request])]
    if meter.posts != viewers - viewers // 100:
        raise AssertionError(f"{meter.posts} posts to {viewers} viewers, of whom a hundredth is gone")
    return {
        "frames_per_cpu_second": meter.posts / meter.cpu,
        "seconds": meter.seconds,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _burst(viewers: int) -> dict[str, float]:
    """Ten events every hundredth of a second; the parts are served by another process meanwhile."""
    meter = _Meter()
    started = time.monotonic()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as beside:
        served = []
        for first in range(0, BURST, BURST_BATCH):
            time.sleep(max(started + first / BURST - time.monotonic(), 0))
            events = [event(number, viewers) for number in range(first, first + BURST_BATCH)]
            served += [beside.submit(_serve, request) for request in meter.invoke(events)]
        meter.posts += sum(posts.result() for posts in served)
    return {"posts": meter.posts, "seconds": time.monotonic() - started}


def _serve(request: str) -> int:
    """Serve a part, and what is requested meanwhile; returns the posts that were counted."""
    meter = _Meter()
    requests = [request]
    while requests:
        requests = [following for request in requests for following in meter.invoke([request])]
    return meter.posts


if __name__ == "__main__":
    print(json.dumps({"fan-out": _fan_out, "burst": _burst}[sys.argv[1]](int(sys.argv[2]))))
