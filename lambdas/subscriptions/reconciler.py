"""Making Twitch's subscriptions what they should be: those of watched channels, and no others."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from lambdas.common.observability import logger
from lambdas.subscriptions.channels import ChannelRecord, Resolution
from lambdas.subscriptions.helix import RateLimitedError, TransientError
from lambdas.subscriptions.model import Grant, Subscription
from lambdas.subscriptions.plan import (
    LIMITED,
    CostItem,
    apply_consent,
    choose_limited,
    choose_restored,
    classify,
    is_list_stale,
    merge_states,
    to_create,
)
from lambdas.subscriptions.subscriber import Outcome, Subscriber
from lambdas.subscriptions.subscription_types import (
    SUBSCRIPTION_TYPE_BY_KEY,
    SubscriptionState,
    SubscriptionType,
)

T = TypeVar("T")

# A run stops after so many channels in a row for which Twitch was unavailable.
MAX_UNAVAILABLE = 3
# How long replacements have to answer their challenge, and how many channels wait for that at once.
CHALLENGE_WAIT_SECONDS = 2
MAX_WAITING_CHANNELS = 50


@dataclasses.dataclass(slots=True)
class Report:
    """What a run found and did: channels that stay, those that failed, subscriptions, and costs in points.

    ``complete`` is False for a run that Twitch or the time cut short; the next one does the rest.
    """

    channels: int = 0
    failed: int = 0
    created: int = 0
    deleted: int = 0
    limited: int = 0
    total_cost: int = 0
    max_total_cost: int = 0
    complete: bool = True


class _StoppedError(Exception):
    """The run cannot go on: there is no time left, or Twitch is unavailable."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reconciler:
    """What a run works with.

    ``count_viewers`` returns how many connections each channel has (those without may be left out). A channel
    is deleted when nobody is connected and nobody has watched it for ``grace_seconds``. Only subscriptions
    that lead to our webhook, or that the table knows, are changed: other stages may share the Twitch
    application. ``on_change`` is called with the states, by type key, that a watched channel had before and
    has now. ``clock`` is in epoch seconds.
    """

    subscriber: Subscriber
    count_viewers: Callable[[], Mapping[str, int]]
    grace_seconds: int
    on_change: Callable[[str, Mapping[str, SubscriptionState], Mapping[str, SubscriptionState]], None]
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
        except _StoppedError as error:
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
        self._unavailable = 0
        self._replacing: list[str] = []

    def go(self) -> None:
        """Read everything, delete what nobody watches, then correct what is left."""
        # The list first: what the table knows and the list lacks is looked up again.
        listed = self._wait_if_limited(self._read_list)
        self._records = dict(self._table.scan())
        self._viewers = self._reconciler.count_viewers()
        self._grants = self._subscriber.grants.by_channel()
        self._listed: dict[str, list[Subscription]] = {}
        unknown = self._group(listed)
        self._delete(unknown, "unknown_type")

        streamer_ids = self._listed.keys() | self._records.keys() | self._viewers.keys()
        kept = [one for one in streamer_ids if not self._try(self._delete_if_unwatched, one)]
        self.report.channels = len(kept)
        self._plan_budget(kept)
        # The channels with most viewers come first, in case there is too little time or budget for all.
        for streamer_id in sorted(kept, key=lambda one: (-self._viewers.get(one, 0), one)):
            self._try(self._reconcile, streamer_id)
            if len(self._replacing) >= MAX_WAITING_CHANNELS:
                self._finish_replacing()
        self._finish_replacing()

    def _read_list(self) -> list[Subscription]:
        listed: list[Subscription] = []
        for page in self._subscriber.helix.list_subscriptions():
            self.report.total_cost, self.report.max_total_cost = page.total_cost, page.max_total_cost
            listed += page.subscriptions
        return listed

    def _group(self, listed: Iterable[Subscription]) -> list[Subscription]:
        """Group our subscriptions by streamer; return those whose type is not in the table."""
        unknown: list[Subscription] = []
        known_ids = {
            state.subscription_id
            for record in self._records.values()
            for state in record.states.values()
            if state.live
        }
        for subscription in listed:
            ours = subscription.delivers_to(self._subscriber.webhook_url) or subscription.id in known_ids
            if not ours:
                continue
            target = subscription.target
            if target is None:
                unknown.append(subscription)
            else:
                self._listed.setdefault(target.streamer_id, []).append(subscription)
        return unknown

    def _try(self, step: Callable[[str], bool], streamer_id: str) -> bool:
        """Do a step for one channel and return its answer; an error is logged, and the run goes on."""
        if self._reconciler.clock() > self._deadline:
            raise _StoppedError("there is no time left")
        try:
            done = step(streamer_id)
        except _StoppedError:
            raise
        except TransientError as error:
            self.report.failed += 1
            self._unavailable += 1
            logger.warning("Twitch is unavailable", extra={"channel": streamer_id, "reason": error.reason})
            if self._unavailable >= MAX_UNAVAILABLE:
                raise _StoppedError("Twitch is unavailable") from error
            return False
        except Exception:
            self.report.failed += 1
            logger.exception("A channel could not be reconciled", extra={"channel": streamer_id})
            return False
        self._unavailable = 0
        return done

    def _delete_if_unwatched(self, streamer_id: str) -> bool:
        """Delete a channel and its subscriptions if nobody watches it; return whether it is deleted."""
        record = self._records.get(streamer_id)
        since = self._now() - self._reconciler.grace_seconds
        if self._viewers.get(streamer_id) or (record is not None and record.watched_at >= since):
            return False
        # The table decides: somebody may have watched since it was read.
        if not self._table.delete_unwatched(streamer_id, not_watched_since=since):
            return False
        self._delete(self._listed.pop(streamer_id, []), "not_watched" if record else "unknown_channel")
        # A watch during the deletion may have adopted subscriptions that are deleted now.
        new_record = self._table.get(streamer_id)
        if new_record is None:
            return True
        self._records[streamer_id] = new_record
        return False

    def _plan_budget(self, kept: Iterable[str]) -> None:
        """Choose which subscriptions to give up because Twitch's budget is short, and which to restore."""
        used: list[CostItem] = []
        saved: list[CostItem] = []
        for streamer_id in kept:
            viewers = self._viewers.get(streamer_id, 0)
            for subscription in self._listed.get(streamer_id, []):
                target = subscription.target
                if target and subscription.cost and subscription.live:
                    used.append(
                        CostItem.of(target.subscription_type, streamer_id, viewers, subscription.cost)
                    )
            record = self._records.get(streamer_id)
            for key, state in record.states.items() if record else ():
                if state.reason == LIMITED and key in SUBSCRIPTION_TYPE_BY_KEY:
                    saved.append(CostItem.of(SUBSCRIPTION_TYPE_BY_KEY[key], streamer_id, viewers, 1))
        total, most = self.report.total_cost, self.report.max_total_cost
        self._limited = choose_limited(used, total, most)
        self._restored = choose_restored(saved, total, most)
        self.report.limited = len(self._limited) + len(saved) - len(self._restored)

    def _reconcile(self, streamer_id: str) -> bool:
        """Correct one channel: the table by Twitch's list, then Twitch by what is wanted."""
        now = self._now()
        record, listed = self._read_channel(streamer_id, now)
        if record is None:
            return False
        grants = self._grants.get(streamer_id, [])
        callback = self._subscriber.callback(self._subscriber.load_secret())
        found = classify(listed, callback, record.states, now)
        states = apply_consent(merge_states(record.states, found.states), streamer_id, grants)
        surplus = [*found.surplus, *self._apply_budget(streamer_id, listed, states)]
        for key, state in states.items():
            before = record.states.get(key)
            if before is not None or state.live:
                why = state.reason or "found_at_twitch"
                self._subscriber.statuses.update(streamer_id, key, before, state, why)
        self._delete({one.id: one for one in surplus}.values(), "dead_duplicate_or_limited")

        outdated = [SUBSCRIPTION_TYPE_BY_KEY[key] for key in found.outdated if states[key].live]
        wanted = [*to_create(states, streamer_id, grants, now), *outdated]
        outcome = self._subscribe(streamer_id, wanted, states, grants, now)
        if outcome.created.keys() & found.outdated:
            self._replacing.append(streamer_id)
        watched = self._viewers.get(streamer_id, 0) > 0
        self._table.record_verified(streamer_id, now, watched=watched)
        if watched:
            self._reconciler.on_change(streamer_id, record.states, states | outcome.states)
        for error in outcome.errors.values():
            if isinstance(error, TransientError):
                raise error
        return True

    def _read_channel(self, streamer_id: str, now: int) -> tuple[ChannelRecord | None, list[Subscription]]:
        """What the table and Twitch have of a channel, the list being no older than the table."""
        record = self._records.get(streamer_id)
        listed = self._listed.get(streamer_id, [])
        if record is None:
            # Somebody is connected to a channel that was deleted.
            channel = self._wait_if_limited(lambda: self._subscriber.helix.get_user_by_id(streamer_id))
            return (self._table.record_watch(Resolution(channel, now), now) if channel else None), listed
        if not is_list_stale(record.states, listed):
            return record, listed
        return self._read_channel_again(streamer_id)

    def _read_channel_again(self, streamer_id: str) -> tuple[ChannelRecord | None, list[Subscription]]:
        record = self._table.get(streamer_id)
        if record is None:
            return None, []
        states = record.states.values()
        return record, self._wait_if_limited(lambda: self._subscriber.listed(streamer_id, states))

    def _apply_budget(
        self, streamer_id: str, listed: Iterable[Subscription], states: dict[str, SubscriptionState]
    ) -> list[Subscription]:
        """Change the states of limited and restored subscriptions, and return those to delete."""
        for key, state in states.items():
            if (streamer_id, key) in self._limited and state.live:
                states[key] = SubscriptionState("absent", None, LIMITED)
            elif (streamer_id, key) in self._restored and state.reason == LIMITED:
                states[key] = SubscriptionState("absent")
        return [
            one
            for one in listed
            if (target := one.target) and states[target.subscription_type.key].reason == LIMITED
        ]

    def _subscribe(
        self,
        streamer_id: str,
        wanted: Sequence[SubscriptionType],
        states: Mapping[str, SubscriptionState],
        grants: Sequence[Grant],
        now: int,
    ) -> Outcome:
        """Create subscriptions, waiting for Twitch's rate limit if need be."""
        outcome = self._subscriber.subscribe(streamer_id, wanted, states, grants, now)
        self.report.created += len(outcome.created)
        waits = [error for error in outcome.errors.values() if isinstance(error, RateLimitedError)]
        if waits:
            self._wait(max(error.retry_after for error in waits))
            again = [one for one in wanted if outcome.errors.get(one.key) in waits]
            rest = self._subscribe(streamer_id, again, {**states, **outcome.states}, grants, now)
            for one in again:
                del outcome.errors[one.key]
            outcome.states |= rest.states
            outcome.created |= rest.created
            outcome.errors |= rest.errors
        return outcome

    def _finish_replacing(self) -> None:
        """Let replacements answer their challenge, then delete the subscriptions that they replace.

        Until then both deliver, with different message ids, and events are counted twice: so not for long.
        """
        if not self._replacing:
            return
        self._reconciler.sleep(CHALLENGE_WAIT_SECONDS)
        waiting, self._replacing = self._replacing, []
        for streamer_id in waiting:
            self._try(self._reconcile_again, streamer_id)

    def _reconcile_again(self, streamer_id: str) -> bool:
        record, listed = self._read_channel_again(streamer_id)
        if record is None:
            return False
        self._records[streamer_id], self._listed[streamer_id] = record, listed
        return self._reconcile(streamer_id)

    def _delete(self, subscriptions: Iterable[Subscription], why: str) -> None:
        for subscription in subscriptions:
            delete = functools.partial(self._subscriber.helix.delete_subscription, subscription.id)
            self._wait_if_limited(delete)
            self.report.deleted += 1
            if subscription.live:
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

    def _wait_if_limited(self, request: Callable[[], T]) -> T:
        """Make a request; while Twitch's rate limit refuses it, wait and make it again."""
        while True:
            try:
                return request()
            except RateLimitedError as error:
                self._wait(error.retry_after)

    def _wait(self, seconds: int) -> None:
        """https://dev.twitch.tv/docs/api/guide/#twitch-rate-limits"""
        if self._reconciler.clock() + seconds > self._deadline:
            raise _StoppedError("Twitch's rate limit lasts longer than the time left")
        self._reconciler.sleep(seconds)

    def _now(self) -> int:
        return int(self._reconciler.clock())
