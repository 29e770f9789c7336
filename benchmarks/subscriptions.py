"""The Helix calls and the time to subscribe 2,000 channels, to keep and to delete their subscriptions.

Twitch limits Helix calls to 800 a minute, so they are counted. The simulated Twitch is in the same process
and the tables are in memory: the times do not include DynamoDB, which has one call for each steady channel.
"""

import dataclasses
import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Any

from benchmarks.in_process_twitch import InProcessPool
from benchmarks.result import Result, limit
from lambdas.common.aws import AwsError, Client
from lambdas.common.observability import logger
from lambdas.common.rotated_secret import RotatedSecret
from lambdas.subscriptions.channels import WATCHED_SECONDS, ChannelRecord, ChannelsTable, Resolution
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.helix import Credentials, Helix
from lambdas.subscriptions.model import Grant
from lambdas.subscriptions.notices import Notice, apply_notice
from lambdas.subscriptions.reconciler import FRESH_SECONDS, Reconciler, Report
from lambdas.subscriptions.reconciler_progress import ProgressItem
from lambdas.subscriptions.requests import Request, Requests
from lambdas.subscriptions.subscriber import Subscriber
from lambdas.subscriptions.subscription_status import Announcer, StatusUpdater
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES, SubscriptionState
from lambdas.subscriptions.watching import Watching
from local.twitch.settings import Settings
from local.twitch.simulator import Simulator

BEGIN = 1_800_000_000.0
CHANNELS = 2_000
# The number of subscriptions in one of Twitch's answers.
PAGE = 100
GRACE_SECONDS = 600
# The reconciler's own time limit.
RUN_SECONDS = 4 * 60
FREE = sum(row.consent == "none" for row in SUBSCRIPTION_TYPES)


class Channels(ChannelsTable):
    """The channels table in memory; ``writes`` counts them by channel."""

    def __init__(self) -> None:
        self.records: dict[str, ChannelRecord] = {}
        self.writes: Counter[str] = Counter()
        self._resolutions: dict[str, Resolution] = {}

    def get(self, streamer_id: str) -> ChannelRecord | None:
        return self.records.get(streamer_id)

    def find_by_login(self, login: str) -> Resolution | None:
        return self._resolutions.get(login)

    def scan(self) -> Iterator[tuple[str, ChannelRecord]]:
        return iter(list(self.records.items()))

    def record_watch(self, resolution: Resolution, now: int) -> ChannelRecord:
        channel = resolution.channel
        self._resolutions[channel.login] = resolution
        known = self.records.get(channel.id, ChannelRecord(0, 0, {}, now * 1000, now * 1000))
        if known.watched_at <= now - WATCHED_SECONDS:
            known = self._write(channel.id, known, watched_at=now)
        return known

    def set_state(
        self, streamer_id: str, key: str, expected_id: str | None, state: SubscriptionState
    ) -> bool:
        record = self.records.get(streamer_id)
        if record is None:
            return False
        known = record.states.get(key, SubscriptionState("absent"))
        if known.subscription_id != expected_id or known.as_of > state.as_of:
            return False
        states = {**record.states, key: state}
        self._write(streamer_id, record, states=states, revision=record.revision + 1)
        return True

    def record_run(self, streamer_id: str, now: int, *, verified: bool, watched: bool) -> None:
        record = self.records[streamer_id]
        verified_at = now if verified else record.verified_at
        watched_at = now if watched else record.watched_at
        self._write(streamer_id, record, verified_at=verified_at, watched_at=watched_at)

    def claim(self, streamer_id: str, now: int, until: int) -> bool:
        record = self.records.get(streamer_id)
        if record is None or record.asked_until > now:
            return False
        self._write(streamer_id, record, asked_until=until)
        return True

    def settle(
        self, streamer_id: str, *, asked_until: int, verified_at: int | None = None
    ) -> ChannelRecord | None:
        record = self.records.get(streamer_id)
        if record is None:
            return None
        at = record.verified_at if verified_at is None else verified_at
        return self._write(streamer_id, record, asked_until=asked_until, verified_at=at)

    def record_told(self, streamer_id: str, revision: int) -> bool:
        self._write(streamer_id, self.records[streamer_id], told=revision)
        return True

    def delete_unwatched(self, streamer_id: str, not_watched_since: int) -> bool:
        record = self.records.get(streamer_id)
        if record is not None and record.watched_at >= not_watched_since:
            return False
        self.records.pop(streamer_id, None)
        return True

    def _write(self, streamer_id: str, record: ChannelRecord, **changes: Any) -> ChannelRecord:
        self.writes[streamer_id] += 1
        record = self.records[streamer_id] = dataclasses.replace(record, **changes)
        return record


class NoGrants(GrantsTable):
    """The grants table, empty."""

    def __init__(self) -> None:
        pass

    def for_channel(self, streamer_id: str) -> list[Grant]:  # noqa: ARG002 -- as the table's
        return []


class Memory(Client):
    """Queues and single items in memory: requests wait until they are due, frames are counted."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.requests: list[tuple[float, int, str]] = []
        self.frames = 0
        self._clock = clock
        self._numbers = itertools.count()
        self._items: dict[str, Any] = {}
        # How often the points were written, or tried to, in each second.
        self.point_writes: Counter[int] = Counter()

    def call(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if action == "SendMessage" and parameters["QueueUrl"] == "broadcast":
            self.frames += 1
        elif action == "SendMessage":
            due = self._clock() + parameters["DelaySeconds"]
            heapq.heappush(self.requests, (due, next(self._numbers), parameters["MessageBody"]))
        elif action == "UpdateItem":
            self._take_point(
                {name: int(value["N"]) for name, value in parameters["ExpressionAttributeValues"].items()}
            )
        elif action == "PutItem":
            self._items[parameters["Item"]["name"]["S"]] = parameters["Item"]
        else:
            item = self._items.get(parameters["Key"]["name"]["S"])
            return {"Item": item} if item else {}
        return {}

    def _take_point(self, values: Mapping[str, int]) -> None:
        """The two conditional updates of ``points``."""
        self.point_writes[int(self._clock())] += 1
        item = self._items.setdefault("points", {"empty_at": {"N": "0"}})
        at = int(item["empty_at"]["N"])
        adds = ":latest" in values
        if not (values[":now"] <= at <= values[":latest"] if adds else at < values[":now"]):
            raise AwsError("dynamodb:UpdateItem", "ConditionalCheckFailedException", "the condition is false")
        item["empty_at"] = {"N": str(at + values[":point"] if adds else values[":then"])}


class AtOnce(Executor):
    """Runs what is submitted at once, in this thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class World:
    """The functions, with the simulated Twitch and the tables in memory, and a clock that is moved."""

    def __init__(
        self,
        *,
        rate_limit: int,
        max_total_cost: int,
        take_point: Callable[[int], bool] = lambda _rank: True,
        seed: int = 1,
    ) -> None:
        self.now = BEGIN
        rng = random.Random(seed)
        base_url = "https://twitch.example"
        settings = Settings(
            base_url, "id", "secret", base_url, rate_limit=rate_limit, max_total_cost=max_total_cost
        )
        self.twitch = Simulator(settings, clock=lambda: int(self.now * 10**9))
        self.pool = InProcessPool(self.twitch)
        self.table, self.memory, grants = Channels(), Memory(lambda: self.now), NoGrants()
        self.helix = Helix(
            self.pool,
            lambda: Credentials("id", "secret"),
            f"{base_url}/helix",
            f"{base_url}/oauth2",
            take_point=take_point,
            clock=lambda: self.now,
        )
        self.viewers: dict[str, int] = {}
        self.requests = Requests(self.memory, "subscribe", self.table)
        self.announcer = Announcer(self.table, grants, self.memory, "broadcast")
        self.statuses = StatusUpdater(self.table, lambda _status: None)
        self.grants = grants
        secret = RotatedSecret("the-webhook-secret", None, "1")
        self.subscriber = Subscriber(
            self.helix,
            self.statuses,
            grants,
            self.requests,
            "https://fanfare.example/webhooks/twitch",
            lambda: secret,
            AtOnce(),
            clock=lambda: self.now,
            chance=rng.random,
        )
        self._watching = Watching(self.table, grants, self.requests)

    def watch(self, login: str) -> str:
        """A viewer asks to watch, and connects; returns the channel's id. Raises HelixError."""
        resolution = self.table.find_by_login(login)
        if resolution is None:
            channel = self.helix.get_user(login)
            if channel is None:
                raise RuntimeError(f"the simulated Twitch does not know {login}")
            resolution = Resolution(channel, int(self.now))
        self._watching.watch(resolution, None, lambda: False, int(self.now))
        self.viewers[resolution.channel.id] = 1
        return resolution.channel.id

    def work(self) -> None:
        """Handle the requests that are due."""
        requests = self.memory.requests
        while requests and requests[0][0] <= self.now:
            request = Request.from_json(heapq.heappop(requests)[2])
            self.subscriber.handle(request)
            self.announcer.tell(request.streamer_id, settled=True)

    def deliver(self) -> None:
        """Twitch's challenges are answered, and its notices applied."""
        for message in self.twitch.take_messages():
            if message.challenge is not None:
                self.twitch.answered(message, 200, message.challenge, "text/plain")
                fields = {**message.subscription.to_dict(), "status": "webhook_callback_verification_pending"}
            else:
                fields = message.subscription.to_dict()
            notice = Notice(fields, int(self.now * 1000))
            streamer_id = apply_notice(self.statuses, self.grants, notice)
            if streamer_id is not None:
                self.announcer.tell(streamer_id, settled=notice.verifies)

    def reconcile(self, sleep: Callable[[float], None] = time.sleep, seconds: float = RUN_SECONDS) -> Report:
        """One run of the reconciler."""
        reconciler = Reconciler(
            self.subscriber,
            self.announcer,
            ProgressItem(self.memory, "twitch"),
            lambda: self.viewers,
            GRACE_SECONDS,
            sleep=sleep,
        )
        return reconciler.run(self.now + seconds)


def measure(channels: int = CHANNELS) -> list[Result]:
    """Watch, watch again, reconcile without changes, and reconcile after all viewers have left."""
    level = logger.log_level
    logger.setLevel("ERROR")
    try:
        return _measure(channels)
    finally:
        logger.setLevel(level)


def _measure(channels: int) -> list[Result]:
    # No waiting for the rate limit; a cost limit that is large enough for so many channels.
    world = World(rate_limit=10**6, max_total_cost=2 * channels * FREE)
    twitch = world.twitch

    def watch() -> None:
        for number in range(channels):
            world.watch(f"streamer_{number}")
        world.work()

    def measured(work: Callable[[], object]) -> tuple[int, float]:
        """The number of Helix calls that the work makes, and its seconds."""
        before, started = len(world.pool.requests), time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        return sum(path.startswith("/helix") for _, path in world.pool.requests[before:]), seconds

    first, _ = measured(watch)
    for message in twitch.take_messages():
        twitch.answered(message, 200, message.challenge or "", "text/plain")
    again, _ = measured(watch)
    world.now += FRESH_SECONDS + 1
    verifying, _ = measured(world.reconcile)
    steady, steady_seconds = measured(world.reconcile)
    world.viewers.clear()
    world.now += GRACE_SECONDS + WATCHED_SECONDS + 1
    left, left_seconds = measured(lambda: world.reconcile(seconds=10 * RUN_SECONDS))
    if twitch.state.subscriptions:
        raise RuntimeError("subscriptions are left although nobody watches")
    pages = -(-channels * FREE // PAGE)
    if verifying != steady:
        raise RuntimeError("the first run made more Helix calls than the list needs")
    return [
        _least("Helix calls a channel: first watch", first / channels, "a lookup, one a type", 1 + FREE),
        Result(
            name="Helix calls a channel: watched again",
            unit="calls",
            ours=again / channels,
            baseline_name="a lookup each time",
            baseline=1,
            ratio=again / channels,
            target=0,
            better="lower",
        ),
        _least(f"Helix calls: {channels:,} steady channels", steady, "the list's pages", pages),
        _least("Helix calls a channel: left", (left - pages) / channels, "one a subscription", FREE),
        limit(f"reconciling {channels:,} steady channels", "s", steady_seconds, RUN_SECONDS, "lower"),
        limit(f"cleaning {channels:,} channels up", "s", left_seconds, RUN_SECONDS, "lower"),
    ]


def _least(name: str, ours: float, least_name: str, least: float) -> Result:
    """A number of calls, compared with the least that Twitch's API needs."""
    return Result(
        name=name,
        unit="calls",
        ours=ours,
        baseline_name=least_name,
        baseline=least,
        ratio=ours / least,
        target=1,
        better="lower",
    )
