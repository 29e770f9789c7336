"""Moving Twitch's subscriptions towards the wanted ones: those of watched channels."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from lambdas.common.observability import logger
from lambdas.subscriptions.channels import Record, Resolution
from lambdas.subscriptions.helix import RateLimitedError, TransientError
from lambdas.subscriptions.model import Grant, Subscription
from lambdas.subscriptions.plan import (
    LIMITED,
    Expense,
    attribution,
    is_live,
    leads_here,
    observe,
    settle,
    to_create,
    to_evict,
    to_restore,
    unseen,
    verified,
)
from lambdas.subscriptions.subscriber import Outcome, Subscriber
from lambdas.subscriptions.subscription_types import (
    SUBSCRIPTION_TYPE_BY_KEY,
    SubscriptionState,
    SubscriptionType,
)

T = TypeVar("T")

# After so many channels in a row for which Twitch was away, it is away for the others, too.
OUTAGE = 3
# Replacements are given this long to answer their challenge, and so many channels wait for that together.
SETTLING_SECONDS = 2
SETTLED_TOGETHER = 50


@dataclasses.dataclass(slots=True)
class Report:
    """What a run found and did: channels that stay, those that failed, topics, and costs in Twitch's points.

    A run that Twitch or the time cut short has ``complete`` False; the next one goes on.
    """

    channels: int = 0
    failed: int = 0
    created: int = 0
    deleted: int = 0
    limited: int = 0
    total_cost: int = 0
    max_total_cost: int = 0
    complete: bool = True


class _CutShortError(Exception):
    """There is no point, or no time, to go on with this run."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reconciler:
    """What a run works with.

    ``count_viewers`` tells how many connections each channel has (those without may be left out). A channel
    is given up when nobody is connected and nobody watched it for ``grace_seconds``. Only subscriptions that
    lead to our webhook, or that the table knows, are touched: other stages may share the Twitch application.
    ``tell`` is given the states, by topic key, that a watched channel had before and has now. ``clock`` is in
    epoch seconds.
    """

    subscriber: Subscriber
    count_viewers: Callable[[], Mapping[str, int]]
    grace_seconds: int
    tell: Callable[[str, Mapping[str, SubscriptionState], Mapping[str, SubscriptionState]], None]
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def run(self, deadline: float) -> Report:
        """Go through Twitch's list and the table once; ``deadline`` is when to stop, in epoch seconds.

        A channel that fails is logged and left to the next run. Raises TransientError if the list itself
        cannot be read.
        """
        run = _Run(self, deadline)
        try:
            run.go()
        except _CutShortError as error:
            run.report.complete = False
            logger.warning("The run was cut short: %s", error)
        return run.report


class _Run:
    """One run: what it has read, and what it has done so far."""

    def __init__(self, reconciler: Reconciler, deadline: float) -> None:
        self.report = Report()
        self._reconciler = reconciler
        self._subscriber = reconciler.subscriber
        self._table = reconciler.subscriber.statuses.table
        self._deadline = deadline
        self._outage = 0
        self._replacing: list[str] = []

    def go(self) -> None:
        """Read everything, then give up what nobody watches, then mend what is left."""
        # The list first: what the table knows and the list does not have is looked for anew.
        listed = self._patiently(self._read_list)
        self._records = dict(self._table.scan())
        self._viewers = self._reconciler.count_viewers()
        self._grants = self._subscriber.grants.all()
        self._listed: dict[str, list[Subscription]] = {}
        unknown = self._sort(listed)
        self._delete(unknown, "unknown_topic")

        streamer_ids = self._listed.keys() | self._records.keys() | self._viewers.keys()
        kept = [streamer_id for streamer_id in streamer_ids if not self._isolated(self._retire, streamer_id)]
        self.report.channels = len(kept)
        self._share_out(kept)
        # What most people watch comes first, should there be too little time or budget for all.
        for streamer_id in sorted(kept, key=lambda one: (-self._viewers.get(one, 0), one)):
            self._isolated(self._reconcile, streamer_id)
            if len(self._replacing) >= SETTLED_TOGETHER:
                self._settle()
        self._settle()

    def _read_list(self) -> list[Subscription]:
        listed: list[Subscription] = []
        for page in self._subscriber.helix.list_subscriptions():
            self.report.total_cost, self.report.max_total_cost = page.total_cost, page.max_total_cost
            listed += page.subscriptions
        return listed

    def _sort(self, listed: Iterable[Subscription]) -> list[Subscription]:
        """Sort our subscriptions by streamer; return the rest, which is for topics not in the table."""
        unknown: list[Subscription] = []
        known_ids = {
            state.subscription_id
            for record in self._records.values()
            for state in record.topics.values()
            if state.live
        }
        for subscription in listed:
            leads_to_us = leads_here(subscription, self._subscriber.webhook_url)
            if not leads_to_us and subscription.id not in known_ids:
                continue
            match = attribution(subscription)
            if match is None:
                unknown.append(subscription)
            else:
                self._listed.setdefault(match.streamer_id, []).append(subscription)
        return unknown

    def _isolated(self, step: Callable[[str], bool], streamer_id: str) -> bool:
        """Do a step for one channel; whatever is wrong with it, the others must not wait for it."""
        if self._reconciler.clock() > self._deadline:
            raise _CutShortError("there is no time left")
        try:
            done = step(streamer_id)
        except _CutShortError:
            raise
        except TransientError as error:
            self.report.failed += 1
            self._outage += 1
            logger.warning("Twitch is away", extra={"channel": streamer_id, "reason": error.reason})
            if self._outage >= OUTAGE:
                raise _CutShortError("Twitch is away") from error
            return False
        except Exception:
            self.report.failed += 1
            logger.exception("A channel could not be reconciled", extra={"channel": streamer_id})
            return False
        self._outage = 0
        return done

    def _retire(self, streamer_id: str) -> bool:
        """Give a channel up if nobody watches it, and return whether it is given up."""
        record = self._records.get(streamer_id)
        since = self._now() - self._reconciler.grace_seconds
        if self._viewers.get(streamer_id) or (record is not None and record.watched_at >= since):
            return False
        # The table decides: somebody may have come since it was read.
        if not self._table.retire(streamer_id, not_watched_since=since):
            return False
        self._delete(self._listed.pop(streamer_id, []), "not_watched" if record else "unknown_channel")
        # Who came while they were being deleted may have taken them for its own.
        latecomer = self._table.get(streamer_id)
        if latecomer is None:
            return True
        self._records[streamer_id] = latecomer
        return False

    def _share_out(self, kept: Iterable[str]) -> None:
        """Decide which topics give way to others, because Twitch's budget is short, and which come back."""
        spent: list[Expense] = []
        saved: list[Expense] = []
        for streamer_id in kept:
            viewers = self._viewers.get(streamer_id, 0)
            for subscription in self._listed.get(streamer_id, []):
                match = attribution(subscription)
                if match and subscription.cost and is_live(subscription):
                    spent.append(Expense.of(match.topic, streamer_id, viewers, subscription.cost))
            record = self._records.get(streamer_id)
            for key, state in record.topics.items() if record else ():
                if state.reason == LIMITED and key in SUBSCRIPTION_TYPE_BY_KEY:
                    saved.append(Expense.of(SUBSCRIPTION_TYPE_BY_KEY[key], streamer_id, viewers, 1))
        total, most = self.report.total_cost, self.report.max_total_cost
        self._evicted = to_evict(spent, total, most)
        self._restored = to_restore(saved, total, most)
        self.report.limited = len(self._evicted) + len(saved) - len(self._restored)

    def _reconcile(self, streamer_id: str) -> bool:
        """Mend one channel: the table by what Twitch lists, and then Twitch by what is wanted."""
        now = self._now()
        record, listed = self._look(streamer_id, now)
        if record is None:
            return False
        grants = self._grants.get(streamer_id, [])
        callback = self._subscriber.load_secret().callback(self._subscriber.webhook_url)
        observation = observe(listed, callback, record.topics, now)
        states = settle(verified(record.topics, observation.states), streamer_id, grants)
        surplus = [*observation.surplus, *self._give_way(streamer_id, listed, states)]
        for key, state in states.items():
            before = record.topics.get(key)
            if before is not None or state.live:
                why = state.reason or "found_at_twitch"
                self._subscriber.statuses.move(streamer_id, key, before, state, why)
        self._delete({one.id: one for one in surplus}.values(), "dead_duplicate_or_limited")

        outdated = [SUBSCRIPTION_TYPE_BY_KEY[key] for key in observation.outdated if states[key].live]
        wanted = [*to_create(states, streamer_id, grants, now), *outdated]
        outcome = self._subscribe(streamer_id, wanted, states, grants, now)
        if outcome.created.keys() & observation.outdated:
            self._replacing.append(streamer_id)
        watched = self._viewers.get(streamer_id, 0) > 0
        self._table.vouch(streamer_id, now, watched=watched)
        if watched:
            self._reconciler.tell(streamer_id, record.topics, states | outcome.states)
        for error in outcome.errors.values():
            if isinstance(error, TransientError):
                raise error
        return True

    def _look(self, streamer_id: str, now: int) -> tuple[Record | None, list[Subscription]]:
        """What the table and Twitch have of a channel, neither of them older than the other."""
        record = self._records.get(streamer_id)
        listed = self._listed.get(streamer_id, [])
        if record is None:
            # Somebody is connected to a channel that was given up.
            channel = self._patiently(lambda: self._subscriber.helix.get_user_by_id(streamer_id))
            return (self._table.watch(Resolution(channel, now), now) if channel else None), listed
        if not unseen(record.topics, listed):
            return record, listed
        # Some subscriptions may be younger than the list, and some states than what was read of the table.
        return self._look_again(streamer_id)

    def _look_again(self, streamer_id: str) -> tuple[Record | None, list[Subscription]]:
        record = self._table.get(streamer_id)
        if record is None:
            return None, []
        states = record.topics.values()
        return record, self._patiently(lambda: self._subscriber.listed(streamer_id, states))

    def _give_way(
        self, streamer_id: str, listed: Iterable[Subscription], states: dict[str, SubscriptionState]
    ) -> list[Subscription]:
        """Change the states of topics that give way or come back, and return what is too much then."""
        for key, state in states.items():
            if (streamer_id, key) in self._evicted and state.live:
                states[key] = SubscriptionState("absent", None, LIMITED)
            elif (streamer_id, key) in self._restored and state.reason == LIMITED:
                states[key] = SubscriptionState("absent")
        matches = ((one, attribution(one)) for one in listed)
        return [one for one, match in matches if match and states[match.topic.key].reason == LIMITED]

    def _subscribe(
        self,
        streamer_id: str,
        topics: Sequence[SubscriptionType],
        states: Mapping[str, SubscriptionState],
        grants: Sequence[Grant],
        now: int,
    ) -> Outcome:
        """Subscribe topics, waiting for Twitch's rate limit if need be."""
        outcome = self._subscriber.subscribe(streamer_id, topics, states, grants, now)
        self.report.created += len(outcome.created)
        waits = [error for error in outcome.errors.values() if isinstance(error, RateLimitedError)]
        if waits:
            self._wait(max(error.retry_after for error in waits))
            again = [topic for topic in topics if outcome.errors.get(topic.key) in waits]
            rest = self._subscribe(streamer_id, again, {**states, **outcome.states}, grants, now)
            for topic in again:
                del outcome.errors[topic.key]
            outcome.states |= rest.states
            outcome.created |= rest.created
            outcome.errors |= rest.errors
        return outcome

    def _settle(self) -> None:
        """Let replacements answer their challenge, then delete what they replace.

        Until then both deliver, and their message ids differ: the less time that takes, the fewer events are
        counted twice.
        """
        if not self._replacing:
            return
        self._reconciler.sleep(SETTLING_SECONDS)
        waiting, self._replacing = self._replacing, []
        for streamer_id in waiting:
            self._isolated(self._replace, streamer_id)

    def _replace(self, streamer_id: str) -> bool:
        record, listed = self._look_again(streamer_id)
        if record is None:
            return False
        self._records[streamer_id], self._listed[streamer_id] = record, listed
        return self._reconcile(streamer_id)

    def _delete(self, subscriptions: Iterable[Subscription], why: str) -> None:
        for subscription in subscriptions:
            self._patiently(functools.partial(self._subscriber.helix.delete_subscription, subscription.id))
            self.report.deleted += 1
            if is_live(subscription):
                self.report.total_cost -= subscription.cost
            logger.info(
                "Subscription deleted",
                extra={
                    "subscription_id": subscription.id,
                    "event_type": subscription.type,
                    "condition": subscription.condition,
                    "status": subscription.status,
                    "why": why,
                },
            )

    def _patiently(self, request: Callable[[], T]) -> T:
        """Make a request, waiting for Twitch's rate limit if need be."""
        while True:
            try:
                return request()
            except RateLimitedError as error:
                self._wait(error.retry_after)

    def _wait(self, seconds: int) -> None:
        """https://dev.twitch.tv/docs/api/guide/#twitch-rate-limits"""
        if self._reconciler.clock() + seconds > self._deadline:
            raise _CutShortError("Twitch's rate limit lasts longer than the time left")
        self._reconciler.sleep(seconds)

    def _now(self) -> int:
        return int(self._reconciler.clock())
