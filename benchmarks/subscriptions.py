"""The Helix calls and the time to subscribe 2,000 channels, to keep and to delete their subscriptions.

Twitch limits Helix calls to 800 a minute, so they are counted. The simulated Twitch is in the same process
and the tables are in memory: the times do not include DynamoDB, which has one call for each steady channel.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from benchmarks.result import Result, limit
from lambdas.common.observability import logger
from lambdas.common.rotated_secret import RotatedSecret
from lambdas.subscriptions.channels import ChannelRecord, ChannelsTable, Resolution
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.helix import Credentials, Helix
from lambdas.subscriptions.model import Grant
from lambdas.subscriptions.reconciler import Reconciler
from lambdas.subscriptions.subscriber import Subscriber
from lambdas.subscriptions.subscription_status import StatusUpdater
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES, SubscriptionState
from lambdas.subscriptions.watching import resolve_login, watch_channel
from local.twitch.in_process import InProcessPool
from local.twitch.settings import Settings
from local.twitch.simulator import Simulator

CHANNELS = 2_000
# The number of subscriptions in one of Twitch's answers.
PAGE = 100
GRACE_SECONDS = 600
# The reconciler's own time limit.
RUN_SECONDS = 4 * 60
FREE = sum(row.consent == "none" for row in SUBSCRIPTION_TYPES)


class Channels(ChannelsTable):
    """The channels table in memory."""

    def __init__(self) -> None:
        self._records: dict[str, ChannelRecord] = {}
        self._resolutions: dict[str, Resolution] = {}

    def get(self, streamer_id: str) -> ChannelRecord | None:
        return self._records.get(streamer_id)

    def find_by_login(self, login: str) -> Resolution | None:
        return self._resolutions.get(login)

    def scan(self) -> Iterator[tuple[str, ChannelRecord]]:
        return iter(list(self._records.items()))

    def record_watch(self, resolution: Resolution, now: int) -> ChannelRecord:
        channel = resolution.channel
        self._resolutions[channel.login] = resolution
        known = self._records.get(channel.id, ChannelRecord(now, 0, {}, 0))
        record = self._records[channel.id] = dataclasses.replace(known, watched_at=now)
        return record

    def set_state(
        self, streamer_id: str, key: str, expected_id: str | None, state: SubscriptionState
    ) -> bool:
        record = self._records.get(streamer_id)
        if (
            record is None
            or record.states.get(key, SubscriptionState("absent")).subscription_id != expected_id
        ):
            return False
        self._records[streamer_id] = dataclasses.replace(record, states={**record.states, key: state})
        return True

    def record_verified(self, streamer_id: str, now: int, *, watched: bool) -> bool:
        record = self._records[streamer_id]
        watched_at = now if watched else record.watched_at
        self._records[streamer_id] = dataclasses.replace(record, verified_at=now, watched_at=watched_at)
        return True

    def delete_unwatched(self, streamer_id: str, not_watched_since: int) -> bool:
        record = self._records.get(streamer_id)
        if record is not None and record.watched_at >= not_watched_since:
            return False
        self._records.pop(streamer_id, None)
        return True


class NoGrants(GrantsTable):
    """The grants table, empty."""

    def __init__(self) -> None:
        pass

    def for_channel(self, streamer_id: str) -> list[Grant]:  # noqa: ARG002 -- as the table's
        return []

    def by_channel(self) -> Mapping[str, list[Grant]]:
        return {}


def measure(channels: int = CHANNELS) -> list[Result]:
    """Watch, watch again, reconcile without changes, and reconcile after all viewers have left."""
    level = logger.log_level
    logger.setLevel("ERROR")
    try:
        with ThreadPoolExecutor(len(SUBSCRIPTION_TYPES)) as executor:
            return _measure(channels, executor)
    finally:
        logger.setLevel(level)


def _measure(channels: int, executor: ThreadPoolExecutor) -> list[Result]:
    now = 1_800_000_000.0
    base_url = "https://twitch.example"
    # No waiting for the rate limit; a cost limit that is large enough for so many channels.
    settings = Settings(
        base_url, "id", "secret", base_url, rate_limit=10**6, max_total_cost=2 * channels * FREE
    )
    twitch = Simulator(settings, clock=lambda: int(now * 10**9))
    pool = InProcessPool(twitch)
    credentials = Credentials("id", "secret")
    helix = Helix(pool, lambda: credentials, f"{base_url}/helix", f"{base_url}/oauth2", lambda: now)
    table = Channels()
    secret = RotatedSecret("the-webhook-secret", None, "1")
    subscriber = Subscriber(
        helix,
        StatusUpdater(table, lambda _status: None),
        NoGrants(),
        "https://fanfare.example/webhooks/twitch",
        lambda: secret,
        executor,
    )
    viewers: dict[str, int] = {}
    reconciler = Reconciler(
        subscriber, lambda: viewers, GRACE_SECONDS, lambda *_change: None, lambda: now, time.sleep
    )

    def watch() -> None:
        for number in range(channels):
            resolution = resolve_login(helix, table, f"streamer_{number}", int(now))
            watch_channel(subscriber, resolution, None, int(now))
            viewers[resolution.channel.id] = 1

    def measured(work: Callable[[], object]) -> tuple[int, float]:
        """The number of Helix calls that the work makes, and its seconds."""
        before, started = len(pool.requests), time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        return sum(path.startswith("/helix") for _, path in pool.requests[before:]), seconds

    first, _ = measured(watch)
    for message in twitch.take_messages():
        twitch.answered(message, 200, message.challenge or "", "text/plain")
    again, _ = measured(watch)
    verifying, _ = measured(lambda: reconciler.run(now + RUN_SECONDS))
    steady, steady_seconds = measured(lambda: reconciler.run(now + RUN_SECONDS))
    viewers.clear()
    now += GRACE_SECONDS + 1
    left, left_seconds = measured(lambda: reconciler.run(now + 10 * RUN_SECONDS))
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
