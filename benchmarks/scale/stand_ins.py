"""What the real code finds instead of the clock, chance, libcurl, the log and the metrics."""

import contextlib
import datetime as datetimes
import heapq
import itertools
import json
import math
import os
import random
import secrets
import sys
import time
import types
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import pycurl

from benchmarks.scale import constants
from benchmarks.scale.clock import Clock
from benchmarks.scale.connections_api import NEVER, ConnectionsApi
from benchmarks.scale.dynamodb import DynamoDB, ServiceError
from benchmarks.scale.queues import SQS
from lambdas.common import observability

# Answers are seen at every tick only, several at once, as a busy process finds them.
TICK_SECONDS = 0.001
# Unix time at the beginning of every scenario.
EPOCH = datetimes.datetime(2026, 1, 1, tzinfo=datetimes.UTC).timestamp()
REGION = "us-east-1"
ENVIRONMENT = {
    "AWS_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "AKIAMODEL",
    "AWS_SECRET_ACCESS_KEY": "model",
    "AWS_SESSION_TOKEN": "",
    "POWERTOOLS_METRICS_NAMESPACE": "model",
    "POWERTOOLS_SERVICE_NAME": "model",
}


class Services:
    """Everything that the real code calls."""

    def __init__(self, clock: Clock, rng: random.Random, dynamodb: DynamoDB, sqs: SQS, api: ConnectionsApi) -> None:
        self.clock = clock
        self.rng = rng
        self.dynamodb = dynamodb
        self.sqs = sqs
        self.api = api
        self.metrics: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        # Until when DynamoDB is silent.
        self.dynamodb_silent_from = self.dynamodb_silent_until = math.inf
        self.calls: Counter[str] = Counter()

    def call(self, service: str, action: str, parameters: dict[str, Any], patience: float) -> tuple[int, dict[str, Any]]:
        """The status and the answer of a service; TimeoutError when there is none in time."""
        self.calls[action] += 1
        if service == "dynamodb":
            if self.dynamodb_silent_from <= self.clock.now < self.dynamodb_silent_until:
                self.clock.sleep(patience)
                raise TimeoutError
            there = self._latency(constants.DYNAMODB_SECONDS, constants.DYNAMODB_SPREAD) / 2
        else:
            there = self._latency(constants.SQS_SECONDS, constants.SQS_SPREAD) / 2
        self.clock.sleep(there)
        do = {"dynamodb": self.dynamodb.call, "sqs": self.sqs.call}[service]
        try:
            answer, items = do(action, parameters)
        except ServiceError as error:
            self.clock.sleep(there)
            return 400, {"__type": f"model#{error.code}", "message": error.message}
        self.clock.sleep(there + items * constants.DYNAMODB_ITEM_SECONDS)
        return 200, answer

    def _latency(self, median: float, spread: float) -> float:
        return median * math.exp(self.rng.gauss(0.0, spread))


class Curl:
    """One request: of a service (``perform_rb``), or of ``@connections`` by way of a ``CurlMulti``."""

    __slots__ = ("_message", "_services", "_status", "options")

    def __init__(self, services: Services) -> None:
        self._services = services
        self.options: dict[int, Any] = {}
        self._status = 0
        self._message = ""

    def setopt(self, option: int, value: Any) -> None:
        """Set an option."""
        self.options[option] = value

    def unsetopt(self, option: int) -> None:
        """Set an option back."""
        self.options.pop(option, None)

    def perform_rb(self) -> bytes:
        """Call the service that the options say, and wait for its answer."""
        options = self.options
        service = urlsplit(options[pycurl.URL]).netloc.split(".")[0]
        target = next(header for header in options[pycurl.HTTPHEADER] if header.startswith("X-Amz-Target: "))
        body = options[pycurl.POSTFIELDS]
        patience = options[pycurl.TIMEOUT_MS] / 1000
        try:
            self._status, answer = self._services.call(
                service, target.rpartition(".")[2], json.loads(body), patience
            )
        except TimeoutError:
            self._status, self._message = 0, "Operation timed out"
            raise pycurl.error(pycurl.E_OPERATION_TIMEDOUT, self._message) from None
        return json.dumps(answer).encode()

    def errstr(self) -> str:
        """What went wrong."""
        return self._message

    def getinfo(self, info: int) -> int:
        """The status, or the version of HTTP."""
        return self._status if info == pycurl.RESPONSE_CODE else pycurl.CURL_HTTP_VERSION_2_0

    def close(self) -> None:
        """Nothing is to be closed."""

    def begin(self) -> tuple[float, bool]:
        """Send what the options say to ``@connections``; when it is over, and whether it was answered."""
        services, options = self._services, self.options
        connection_id = unquote(options[pycurl.URL].rpartition("/")[2])
        if options.get(pycurl.CUSTOMREQUEST) == "DELETE":
            self._status, seconds = services.api.delete(connection_id)
        else:
            self._status, seconds = services.api.post(connection_id, options[pycurl.POSTFIELDS])
        patience = options[pycurl.TIMEOUT_MS] / 1000
        if seconds > patience:
            self._status = 0
            return services.clock.now + patience, False
        return services.clock.now + seconds, True


class CurlMulti:
    """Many requests of ``@connections`` at once. What making one takes of the CPU passes when they are sent."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._clock = services.clock
        self._added: list[Curl] = []
        self._under_way: list[tuple[float, int, Curl, bool]] = []
        self._unanswered: set[Curl] = set()
        self._numbers = itertools.count()

    def setopt(self, option: int, value: Any) -> None:
        """Nothing of it matters here."""

    def add_handle(self, handle: Curl) -> None:
        """Send the request when next ``perform`` is called."""
        self._added.append(handle)

    def remove_handle(self, handle: Curl) -> None:
        """Forget the request, whose answer has come or does not matter any more."""
        if handle in self._unanswered:
            self._unanswered.remove(handle)
            self._under_way = [entry for entry in self._under_way if entry[2] is not handle]
            heapq.heapify(self._under_way)
        elif self._added and handle in self._added:
            self._added.remove(handle)

    def perform(self) -> tuple[int, int]:
        """Send what has been added."""
        if self._added:
            added, self._added = self._added, []
            self._clock.sleep(len(added) * constants.POST_CPU_SECONDS)
            for handle in added:
                over_at, is_answered = handle.begin()
                over_at = math.ceil(over_at / TICK_SECONDS) * TICK_SECONDS
                self._unanswered.add(handle)
                heapq.heappush(self._under_way, (over_at, next(self._numbers), handle, is_answered))
        return 0, len(self._under_way)

    def info_read(self) -> tuple[int, list[Curl], list[tuple[Curl, int, str]]]:
        """What has been answered, and what has not."""
        answered, broken = [], []
        while self._under_way and self._under_way[0][0] <= self._clock.now:
            _, _, handle, is_answered = heapq.heappop(self._under_way)
            self._unanswered.remove(handle)
            if is_answered:
                answered.append(handle)
            else:
                broken.append((handle, pycurl.E_OPERATION_TIMEDOUT, "Operation timed out"))
        return 0, answered, broken

    def select(self, seconds: float) -> int:
        """Wait for an answer, but not for longer."""
        next_at = self._under_way[0][0] if self._under_way else NEVER
        self._clock.sleep(min(seconds, next_at - self._clock.now))
        return 0

    def timeout(self) -> int:
        """Milliseconds after which libcurl wants to be called: never by itself."""
        return -1


class Quiet:
    """The log and the metrics: errors and figures are counted."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def inject_lambda_context(self, *_: Any, **__: Any) -> Callable[[Any], Any]:
        """The handler as it is."""
        return lambda handler: handler

    def log_metrics(self, *arguments: Any, **_: Any) -> Any:
        """The handler as it is."""
        return arguments[0] if arguments else lambda handler: handler

    def add_metric(self, name: str, unit: Any, value: float) -> None:
        """Count it."""
        self._services.metrics[name] += value  # type: ignore[assignment]

    def error(self, message: str, *arguments: Any, **_: Any) -> None:
        """Count it."""
        self._services.errors[message] += 1

    exception = warning = error

    def info(self, *_: Any, **__: Any) -> None:
        """Nobody reads it."""

    debug = append_keys = remove_keys = info


class _Module(types.ModuleType):
    """A module with some of its names replaced."""

    def __init__(self, original: types.ModuleType, **replaced: Any) -> None:
        super().__init__(original.__name__)
        self.__dict__.update(original.__dict__)
        self.__dict__.update(replaced)


def _replacements(services: Services) -> dict[int, Any]:
    """What stands for what, by the identity of the original."""
    clock, rng = services.clock, services.rng

    class Datetime(datetimes.datetime):
        @classmethod
        def now(cls, tz: datetimes.tzinfo | None = None) -> "Datetime":
            return cls.fromtimestamp(EPOCH + clock.now, tz)

    def now() -> float:
        return clock.now

    def unix() -> float:
        return EPOCH + clock.now

    def token(nbytes: int | None = None) -> str:
        return f"{rng.getrandbits(8 * (nbytes or 32)):0{2 * (nbytes or 32)}x}"

    def uuid4() -> uuid.UUID:
        return uuid.UUID(int=rng.getrandbits(128), version=4)

    quiet = Quiet(services)
    curl, multi = lambda: Curl(services), lambda: CurlMulti(services)
    pairs: list[tuple[Any, Any]] = [
        (time, _Module(time, time=unix, monotonic=now, perf_counter=now, sleep=clock.sleep, time_ns=lambda: int(unix() * 1e9))),
        (time.time, unix),
        (time.monotonic, now),
        (time.sleep, clock.sleep),
        (datetimes.datetime, Datetime),
        (random, rng),
        (secrets, _Module(secrets, token_hex=token, token_urlsafe=token)),
        (secrets.token_hex, token),
        (secrets.token_urlsafe, token),
        (uuid, _Module(uuid, uuid4=uuid4)),
        (uuid.uuid4, uuid4),
        (pycurl, _Module(pycurl, Curl=curl, CurlMulti=multi)),
        (observability.logger, quiet),
        (observability.metrics, quiet),
    ]
    return {id(original): replacement for original, replacement in pairs}


class World:
    """While it is entered, the real code runs in the model."""

    def __init__(self, services: Services, environment: dict[str, str]) -> None:
        self._environment = {**ENVIRONMENT, **environment}
        self._replacements = _replacements(services)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Replace what the real code's modules have imported, and set the environment."""
        before = dict(os.environ)
        undo: list[tuple[dict[str, Any], str, Any]] = []
        undo_defaults: list[tuple[types.FunctionType, tuple[Any, ...]]] = []
        for name, module in list(sys.modules.items()):
            if name.startswith("lambdas."):
                undo += self._replace(module.__dict__)
                undo_defaults += self._replace_defaults(module)
        os.environ.update(self._environment)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
            for names, name, original in undo:
                names[name] = original
            for function, defaults in undo_defaults:
                function.__defaults__ = defaults

    def load(self, code: types.CodeType, module: str) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
        """Run a handler's module anew, as a new execution environment does."""
        names: dict[str, Any] = {"__name__": module}
        exec(code, names)  # noqa: S102: the product's own module
        self._replace(names)
        handler: Callable[[dict[str, Any], Any], dict[str, Any]] = names["handler"]
        return handler

    def _replace(self, names: dict[str, Any]) -> list[tuple[dict[str, Any], str, Any]]:
        undo = []
        for name, value in list(names.items()):
            if not name.startswith("__") and id(value) in self._replacements:
                undo.append((names, name, value))
                names[name] = self._replacements[id(value)]
        return undo

    def _replace_defaults(self, module: types.ModuleType) -> list[tuple[types.FunctionType, tuple[Any, ...]]]:
        """Parameters' defaults were evaluated when the module was imported."""
        functions = [value for value in vars(module).values() if isinstance(value, types.FunctionType)]
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__:
                functions += [each for each in vars(value).values() if isinstance(each, types.FunctionType)]
        undo = []
        for function in functions:
            defaults = function.__defaults__ or ()
            if any(id(default) in self._replacements for default in defaults):
                undo.append((function, defaults))
                function.__defaults__ = tuple(self._replacements.get(id(each), each) for each in defaults)
        return undo
