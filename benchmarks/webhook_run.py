"""A webhook handler in a process of its own: ``webhook_run <time> start|warm <module> [<notifications>]``.

Takes the event on standard input and prints figures. The time (``time.monotonic``, which is the machine's) is
that at which the process was started. What is imported here is what Lambda's runtime has loaded anyway.
"""

import importlib
import json
import sys
import time
from types import ModuleType
from typing import Any


class Context:
    """What the handler asks Lambda's context."""

    function_name = "webhook"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:webhook"
    aws_request_id = "a-request"


class Unpublished:
    """SNS, without the call."""

    def call(self, action: str, parameters: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 -- as the client's
        return {}


def _answer(module: ModuleType, event: dict[str, Any]) -> None:
    status = module.handler(event, Context())["statusCode"]
    if status != 204:
        raise AssertionError(status)


def _start(started: float, name: str, event: dict[str, Any]) -> dict[str, float]:
    before = time.monotonic()
    module = importlib.import_module(name)
    imported = time.monotonic()
    _answer(module, event)
    return {"imports_ms": (imported - before) * 1000, "answered_ms": (time.monotonic() - started) * 1000}


def _warm(name: str, event: dict[str, Any], notifications: int) -> dict[str, float]:
    module = importlib.import_module(name)
    vars(module)["_SNS"] = Unpublished()
    _answer(module, event)
    before = time.process_time()
    for _ in range(notifications):
        _answer(module, event)
    return {"cpu_ms": (time.process_time() - before) * 1000 / notifications}


if __name__ == "__main__":
    event = json.load(sys.stdin)
    started, what, name, *rest = sys.argv[1:]
    figures = _start(float(started), name, event) if what == "start" else _warm(name, event, int(rest[0]))
    # After the handler's own lines, its logs and metrics.
    print(json.dumps(figures))
