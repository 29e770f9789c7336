"""What the real code finds instead of the clock, chance, libcurl, the log and the metrics."""

import contextlib
import datetime as dt
import heapq
import importlib
import itertools
import json
import math
import os
import pkgutil
import random
import secrets
import sys
import time
import types
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pycurl

from benchmarks.scale import constants
from benchmarks.scale.clock import Clock
from benchmarks.scale.connections_api import ConnectionsApi
from benchmarks.scale.dynamodb import DynamoDB, ServiceError
from benchmarks.scale.queues import SQS
from lambdas import common, live
from lambdas.common import observability
from lambdas.live.frames import Frame
from lambdas.live.posting import CLOSE, SILENT, Answer, Posting
from lambdas.live.transport import CurlTransport

# Answers are seen at every tick only, several at once, as a busy process finds them.
TICK_SECONDS = 0.001
# Unix time at the beginning of every scenario.
EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()
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

    def __init__(
        self, clock: Clock, rng: random.Random, dynamodb: DynamoDB, sqs: SQS, api: ConnectionsApi
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.dynamodb = dynamodb
        self.sqs = sqs
        self.api = api
        self.metrics: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.dynamodb_seconds, self.dynamodb_spread = constants.DYNAMODB_SECONDS, constants.DYNAMODB_SPREAD
        # When DynamoDB is silent.
        self.dynamodb_silent_from = self.dynamodb_silent_until = math.inf
        # One of so many answers of DynamoDB and SQS is lost, none if this is 0.
        self.lost_every = 0
        self.calls: Counter[str] = Counter()

    def call(
        self, service: str, action: str, parameters: dict[str, Any], patience: float
    ) -> tuple[int, dict[str, Any]]:
        """The status and the answer of a service; TimeoutError when there is none in time."""
        self.calls[action] += 1
        if service == "dynamodb":
            if self.dynamodb_silent_from <= self.clock.now < self.dynamodb_silent_until:
                self.clock.sleep(patience)
                raise TimeoutError
            there = self._latency(self.dynamodb_seconds, self.dynamodb_spread) / 2
        else:
            there = self._latency(constants.SQS_SECONDS, constants.SQS_SPREAD) / 2
        self.clock.sleep(there)
        do = {"dynamodb": self.dynamodb.call, "sqs": self.sqs.call}[service]
        try:
            answer, items = do(action, parameters)
        except ServiceError as error:
            self.clock.sleep(there)
            return 400, {"__type": f"model#{error.code}", "message": error.message}
        if self.lost_every and self.rng.random() * self.lost_every < 1.0:
            self.clock.sleep(patience)
            raise TimeoutError
        self.clock.sleep(there + items * constants.DYNAMODB_ITEM_SECONDS)
        return 200, answer

    def _latency(self, median: float, spread: float) -> float:
        return median * math.exp(self.rng.gauss(0.0, spread))


class Curl:
    """libcurl, which ``lambdas.common.aws.Client`` calls the services with."""

    __slots__ = ("_message", "_options", "_services", "_status")

    def __init__(self, services: Services) -> None:
        self._services = services
        self._options: dict[int, Any] = {}
        self._status = 0
        self._message = ""

    def setopt(self, option: int, value: Any) -> None:
        """Set an option."""
        self._options[option] = value

    def perform_rb(self) -> bytes:
        """Call the service that the options say, and wait for its answer."""
        options = self._options
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
        """The status."""
        assert info == pycurl.RESPONSE_CODE
        return self._status


class Transport:
    """The way to ``@connections``. What making a post takes of the CPU passes before it is sent."""

    def __init__(self, services: Services) -> None:
        self._clock = services.clock
        self._api = services.api
        self._added: list[tuple[Posting, Frame, float]] = []
        self._under_way: list[tuple[float, int, Posting, int]] = []
        self._cancelled: set[Posting] = set()
        self._numbers = itertools.count()

    def start(self, posting: Posting, frame: Frame, seconds: float) -> None:
        """Begin a post; it is sent with the others when answers are asked for."""
        self._added.append((posting, frame, seconds))

    def answers(self, seconds: float) -> list[Answer]:
        """What has been answered; if nothing has, wait for it."""
        clock = self._clock
        if self._added:
            added, self._added = self._added, []
            clock.sleep(len(added) * constants.POST_CPU_SECONDS)
            for posting, frame, patience in added:
                self._send(posting, frame, patience)
        if not self._is_due():
            # Even a look takes a moment.
            next_at = self._under_way[0][0] if self._under_way else math.inf
            clock.sleep(min(seconds, next_at - clock.now))
        answers = []
        while self._is_due():
            _, _, posting, status = heapq.heappop(self._under_way)
            if posting in self._cancelled:
                self._cancelled.remove(posting)
            else:
                answers.append(Answer(posting, status, "" if status < 300 else "model"))
        return answers

    def cancel(self, posting: Posting) -> None:
        """Forget the post."""
        before = len(self._added)
        self._added = [each for each in self._added if each[0] is not posting]
        if len(self._added) == before:
            self._cancelled.add(posting)

    def _send(self, posting: Posting, frame: Frame, patience: float) -> None:
        connection_id = posting.connection.id
        status, seconds = (
            self._api.delete(connection_id) if frame is CLOSE else self._api.post(connection_id, frame.data)
        )
        if seconds > patience:
            status, seconds = SILENT, patience
        over_at = math.ceil((self._clock.now + seconds) / TICK_SECONDS) * TICK_SECONDS
        heapq.heappush(self._under_way, (over_at, next(self._numbers), posting, status))

    def _is_due(self) -> bool:
        return bool(self._under_way) and self._under_way[0][0] <= self._clock.now


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

    class Datetime(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "Datetime":
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
    pairs: list[tuple[Any, Any]] = [
        (
            time,
            _Module(
                time,
                time=unix,
                monotonic=now,
                perf_counter=now,
                sleep=clock.sleep,
                time_ns=lambda: int(unix() * 1e9),
            ),
        ),
        (time.time, unix),
        (time.monotonic, now),
        (time.sleep, clock.sleep),
        (dt.datetime, Datetime),
        (random, rng),
        (secrets, _Module(secrets, token_hex=token, token_urlsafe=token)),
        (secrets.token_hex, token),
        (secrets.token_urlsafe, token),
        (uuid, _Module(uuid, uuid4=uuid4)),
        (uuid.uuid4, uuid4),
        (pycurl, _Module(pycurl, Curl=lambda: Curl(services))),
        (CurlTransport, lambda endpoint: Transport(services)),
        (observability.logger, quiet),
        (observability.metrics, quiet),
    ]
    return {id(original): replacement for original, replacement in pairs}


class World:
    """While it is entered, the real code runs in the model."""

    def __init__(self, services: Services, environment: dict[str, str]) -> None:
        self._environment = {**ENVIRONMENT, **environment}
        self._replacements = _replacements(services)
        for package in (common, live):
            for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                importlib.import_module(module.name)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Replace what the real code's modules have imported, and set the environment."""
        before = dict(os.environ)
        undo: list[tuple[dict[str, Any], str, Any]] = []
        undo_defaults: list[tuple[types.FunctionType, Any, Any]] = []
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
            for function, defaults, keyword_defaults in undo_defaults:
                function.__defaults__, function.__kwdefaults__ = defaults, keyword_defaults

    def load(self, code: types.CodeType, module: str) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
        """Run a handler's module anew, as a new execution environment does."""
        names: dict[str, Any] = {"__name__": module}
        exec(code, names)  # noqa: S102
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

    def _replace_defaults(self, module: types.ModuleType) -> list[tuple[types.FunctionType, Any, Any]]:
        """Parameters' defaults were evaluated when the module was imported."""
        functions = [value for value in vars(module).values() if isinstance(value, types.FunctionType)]
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__:
                functions += [each for each in vars(value).values() if isinstance(each, types.FunctionType)]
        undo: list[tuple[types.FunctionType, Any, Any]] = []
        for function in functions:
            before = function.__defaults__, function.__kwdefaults__
            undo.append((function, *before))
            function.__defaults__ = before[0] and tuple(map(self._replaced, before[0]))
            function.__kwdefaults__ = before[1] and {
                name: self._replaced(it) for name, it in before[1].items()
            }
        return undo

    def _replaced(self, value: Any) -> Any:
        return self._replacements.get(id(value), value)
