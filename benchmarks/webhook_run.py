"""A webhook handler in a process of its own: ``webhook_run <time> start|warm <module> [<notifications>]``.

Reads the event from standard input and prints figures. The time is that of the process's start, by
``time.monotonic``, which all processes share. This file imports only what Lambda's runtime has loaded.
"""

import importlib
import json
import sys
import time
from types import ModuleType
from typing import Any


class Context:
    """The part of Lambda's context that the handler uses."""

    function_name = "webhook"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:webhook"
    aws_request_id = "a-request"


class Unpublished:
    """SNS without a call."""

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
    # The last line: the handler has printed its logs and metrics before.
    print(json.dumps(figures))
