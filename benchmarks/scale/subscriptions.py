"""The scenarios of the subscriptions: the real code, the simulated Twitch, tables and queues in memory.

Calls take no time here, but for looking up a login; what is counted is who asks Twitch, when, and how often.
"""

import contextlib
import heapq
import itertools
import json
import math
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import urllib3

from benchmarks.in_process_twitch import InProcessPool
from benchmarks.scale.rows import CALLS, Row, percentile
from benchmarks.subscriptions import FREE, GRACE_SECONDS, World
from lambdas.common import dynamodb
from lambdas.common.viewers import ViewersTable
from lambdas.subscriptions.helix import PATIENCE_SECONDS, HelixError
from lambdas.subscriptions.logins import LOOK_SECONDS, WAIT_SECONDS
from lambdas.subscriptions.points import Points
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES

# Requests that Twitch allows in a minute.
LIMIT = 800
# Writes that DynamoDB takes of one item in a second.
WRITES = 1_000
PERIOD = 300.0
# The setting ``viewer_limits.channels``.
CHANNELS_PER_VIEWER = 20
# How often an accomplice asks for one of its channels: each is asked for again before its grace period ends.
GATHER_SECONDS = 25.0
# Twitch's answer to a lookup: median and spread (sigma of the logarithm). Assumed.
LOOKUP_SECONDS, LOOKUP_SPREAD = 0.15, 0.5
HEALTHY = [row for row in SUBSCRIPTION_TYPES[:FREE] if row.event_type != "channel.update"]


class FaultyPool(InProcessPool):
    """The simulated Twitch, of which a part of the calls fails, and all that create one type."""

    def __init__(self, world: World, rng: random.Random) -> None:
        super().__init__(world.twitch)
        self.part, self.event_type = 0.0, ""
        self._rng = rng

    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> Any:  # type: ignore[override]
        """Ask the simulator, or fail."""
        body = options.get("body") or b"{}"
        fails = self.event_type and method == "POST" and b'"type"' in body
        if self._rng.random() < self.part or (fails and json.loads(body)["type"] == self.event_type):
            return urllib3.HTTPResponse(b"{}", status=503)
        return super().urlopen(method, url, redirect, **options)


class Viewers(ViewersTable):
    """The viewers table in memory."""

    def __init__(self) -> None:
        self._items: dict[str, dict[str, dynamodb.Item]] = {}
        self._name = "viewers"

    def _read(self, viewer_id: str, now: datetime) -> list[dynamodb.Item]:
        items = self._items.get(viewer_id, {}).values()
        return [item for item in items if int(item["expires_at"]["N"]) > now.timestamp()]

    def _put(
        self,
        viewer_id: str,
        entry: str,
        expires_at: datetime,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        item = self._item(viewer_id, entry, expires_at, details)["Item"]
        self._items.setdefault(viewer_id, {})[entry] = item

    def _delete(self, viewer_id: str, entry: str) -> None:
        self._items.get(viewer_id, {}).pop(entry, None)


class Run:
    """A world whose events happen when they are due; the reconciler runs every five minutes."""

    def __init__(self, seed: int, *, max_total_cost: int = 10**6) -> None:
        self.rng = random.Random(seed)
        self.world = world = World(
            rate_limit=10**6, max_total_cost=max_total_cost, take_point=self._take_point, seed=seed
        )
        self.pool = FaultyPool(world, self.rng)
        world.helix._pool = self.pool
        self.began = world.now
        self.viewers = Viewers()
        self.calls: list[float] = []
        self.waits: list[float] = []
        self._points = Points(world.memory, "twitch", lambda: world.now)
        self.counts = True
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.incomplete = self.most_incomplete = 0
        self.at(PERIOD / 2, self._reconcile)

    def at(self, seconds: float, do: Callable[[], None]) -> None:
        """Let something happen so long after the beginning."""
        heapq.heappush(self._due, (self.began + seconds, next(self._numbers), do))

    def until(self, seconds: float) -> None:
        """Let everything happen that is due until then; it is later if a run of the reconciler waits."""
        self._until(self.began + seconds)

    def elapsed(self) -> float:
        """The seconds since the beginning."""
        return self.world.now - self.began

    def come(self, login: str, hoarder: str | None = None) -> None:
        """A viewer opens the page, and comes again if they are asked to wait; a hoarder does neither."""
        if hoarder is not None:
            now, keep = datetime.fromtimestamp(self.world.now, UTC), timedelta(seconds=GRACE_SECONDS)
            if self.viewers.follow(hoarder, login, most=CHANNELS_PER_VIEWER, now=now, keep=keep):
                with contextlib.suppress(HelixError):
                    self.world.viewers.pop(self.world.watch(login))
            return
        known = self.world.table.find_by_login(login)
        if known is None:
            wait = LOOKUP_SECONDS * math.exp(self.rng.gauss(0.0, LOOKUP_SPREAD))
            self.waits.append(min(wait, PATIENCE_SECONDS))
        try:
            self.world.watch(login)
        except HelixError:
            later = self.elapsed() + self.rng.uniform(5.0, 10.0)
            self.at(later, lambda: self.come(login))

    def live(self, login: str) -> set[str]:
        """The types of a channel that Twitch delivers."""
        known = self.world.table.find_by_login(login)
        record = known and self.world.table.get(known.channel.id)
        return {key for key, state in record.states.items() if state.status == "enabled"} if record else set()

    def judge(self, row: Row) -> None:
        """What each scenario must show."""
        most = begin = 0
        for end, time in enumerate(self.calls):
            while self.calls[begin] <= time - 60.0:
                begin += 1
            most = max(most, end - begin + 1)
        row.note("calls to Twitch", len(self.calls))
        row.must_be_at_most(CALLS, most, LIMIT)
        row.must_be_at_most("wait for Twitch, p99", percentile(self.waits or [0.0], 0.99), 2.0)
        row.note("longest wait for Twitch", max(self.waits, default=0.0))
        row.note("most writes of a channel", max(self.world.table.writes.values(), default=0))
        # The next run is the alarm.
        row.must_be_at_most("runs in a row that were not complete", self.most_incomplete, 2)
        writes = max(self.world.memory.point_writes.values(), default=0)
        row.must_be_at_most("writes of the points in a second", writes, WRITES)

    def _take_point(self, rank: int) -> bool:
        taken = not self.counts or self._points.take(rank)
        if taken and self.counts:
            self.calls.append(self.world.now)
        return taken

    def _until(self, end: float) -> None:
        world = self.world
        while True:
            requests = world.memory.requests
            at = min(
                [requests[0][0]] if requests else [math.inf], [self._due[0][0]] if self._due else [math.inf]
            )[0]
            if at > end:
                break
            world.now = max(world.now, at)
            while self._due and self._due[0][0] <= world.now:
                heapq.heappop(self._due)[2]()
            world.work()
            world.deliver()
        world.now = max(world.now, end)

    def _reconcile(self) -> None:
        self.at(self.elapsed() + PERIOD, self._reconcile)
        try:
            report = self.world.reconcile(lambda seconds: self._until(self.world.now + seconds), 220.0)
        except HelixError:
            complete = False
        else:
            complete = report.complete
        self.incomplete = 0 if complete else self.incomplete + 1
        self.most_incomplete = max(self.most_incomplete, self.incomplete)


def one_new_channel(seed: int = 1, size: float = 1.0, seconds: float = 30.0) -> Row:
    """10,000 viewers open one new channel within 30 s: one of them asks Twitch."""
    viewers = round(10_000 * size)
    row, run = Row(f"{viewers:,} viewers open one new channel"), Run(seed)
    first = LOOKUP_SECONDS * math.exp(run.rng.gauss(0.0, LOOKUP_SPREAD))
    times = sorted(run.rng.uniform(0.0, seconds) for _ in range(viewers))
    for time in times:
        run.at(time, lambda: run.come("new"))
        # Who comes before the answer of the one who asks looks for it every so often.
        left = min(first - (time - times[0]), WAIT_SECONDS)
        run.waits.append(math.ceil(left / LOOK_SECONDS) * LOOK_SECONDS if left > 0 else 0.0)
    run.until(seconds + 60.0)
    row.must_be_at_most("calls to Twitch", len(run.calls), 1 + FREE)
    row.must_be_at_most("types that are missing", FREE - len(run.live("new")), 0)
    row.must_be_at_most("writes of the channel", run.world.table.writes.total(), 30)
    run.judge(row)
    return row


def many_new_channels(seed: int = 1, size: float = 1.0, seconds: float = 60.0) -> Row:
    """1,000 new channels within a minute: the types that matter most come first, all within 10 minutes."""
    logins = [f"streamer_{number}" for number in range(round(1_000 * size))]
    row, run = Row(f"{len(logins):,} new channels within a minute"), Run(seed)
    for login in logins:
        run.at(run.rng.uniform(0.0, seconds), lambda login=login: run.come(login))  # type: ignore[misc]
    essential = {row.key for row in SUBSCRIPTION_TYPES[:FREE] if row.priority == 1}
    first = last = math.inf
    for second in range(0, 900, 2):
        run.until(float(second))
        live = [run.live(login) for login in logins]
        if math.isinf(first) and all(one >= essential for one in live):
            first = run.elapsed()
            row.note("types beyond the most important by then", sum(len(one - essential) for one in live))
        if all(len(one) == FREE for one in live):
            last = run.elapsed()
            break
    row.note("the most important types of all after (s)", first)
    row.must_be_at_most("all types of all after (s)", last, 600.0)
    run.judge(row)
    return row


def an_hour_with_faults(seed: int = 1, size: float = 1.0, seconds: float = 3_600.0) -> Row:
    """5,000 channels for an hour, a fifth of them new, while 2 % of the calls fail, and one type always."""
    logins = [f"streamer_{number}" for number in range(round(5_000 * size))]
    row, run = Row(f"{len(logins):,} channels, 2 % of calls and one type fail"), Run(seed)
    old = logins[: len(logins) * 4 // 5]
    run.counts = False
    for login in old:
        run.come(login)
        run.world.work()
    run.world.deliver()
    run.counts = True
    run.pool.part, run.pool.event_type = 0.02, "channel.update"
    missing: dict[str, float] = {}
    for number, login in enumerate(logins[len(old) :]):
        at = number * 3.0 * min(1.0, seconds / 3_600.0)
        run.at(at, lambda login=login: run.come(login))  # type: ignore[misc]
    longest = 0.0
    healthy = {one.key for one in HEALTHY}
    for second in range(0, round(seconds), 10):
        run.until(float(second))
        for login in logins[len(old) :]:
            known = run.world.table.find_by_login(login)
            if known is None or run.live(login) >= healthy:
                missing.pop(login, None)
            else:
                longest = max(longest, run.elapsed() - missing.setdefault(login, run.elapsed()))
    row.must_be_at_most("a healthy type is missing for (s)", longest, PERIOD)
    run.judge(row)
    return row


def hostile_account(seed: int = 1, size: float = 1.0, seconds: float = 3_000.0) -> Row:
    """One account asks for another channel three times a second; then 84 others, one by one, gather 20 each.

    They open no connection, but ask for what they have again and again. A newcomer comes each minute.
    """
    accounts = max(2, round(85 * size))
    row = Row(f"{accounts} accounts gather channels, and connect to none")
    run = Run(seed, max_total_cost=round(1_700 * size * FREE))
    alone, joined = 700.0, 1_900.0

    def insist(number: int) -> None:
        run.come(f"another_{number}", "hostile")
        run.at(run.elapsed() + 1 / 3, lambda: insist(number + 1))

    def gather(account: int, number: int) -> None:
        run.come(f"hoarded_{account}_{number % CHANNELS_PER_VIEWER}", f"accomplice_{account}")
        run.at(run.elapsed() + GATHER_SECONDS, lambda: gather(account, number + 1))

    run.at(0.0, lambda: insist(0))
    for account in range(1, accounts):
        begin = run.rng.uniform(alone, joined)
        run.at(begin, lambda account=account: gather(account, 0))  # type: ignore[misc]
    came = {f"newcomer_{minute}": 60.0 * minute for minute in range(1, round(seconds / 60.0) - 10)}
    for login, at in came.items():
        run.at(at, lambda login=login: run.come(login))  # type: ignore[misc]
    waits: dict[str, float] = {}
    channels = cost = 0
    for second in range(0, round(seconds), 5):
        run.until(float(second))
        for login, at in came.items():
            if login not in waits and len(run.live(login)) == FREE:
                waits[login] = run.elapsed() - at
        if run.elapsed() < alone:
            others = sum(at <= run.elapsed() for at in came.values())
            channels = max(channels, len(run.world.table.records) - others)
        cost = max(cost, run.world.twitch.state.total_cost)
    row.must_be_at_most("channels of one account at once", channels, 2 * CHANNELS_PER_VIEWER)
    beside_one = max(waits.get(login, math.inf) for login, at in came.items() if at < alone)
    row.must_be_at_most("a newcomer beside one has everything after (s)", beside_one, 10.0)
    beside_all = max(waits.get(login, math.inf) for login, at in came.items() if at >= alone)
    row.must_be_at_most("a newcomer beside all has everything after (s)", beside_all, 2 * PERIOD)
    row.note("most of the cost budget", cost / run.world.twitch.state.max_total_cost)
    run.judge(row)
    return row


SCENARIOS = (one_new_channel, many_new_channels, an_hour_with_faults, hostile_account)
