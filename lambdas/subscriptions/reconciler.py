"""Making Twitch's subscriptions what they should be: those of watched channels, and no others."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from lambdas.common.event import DISCONNECTED
from lambdas.common.observability import logger
from lambdas.subscriptions.channels import WATCHED_SECONDS, ChannelRecord, Resolution
from lambdas.subscriptions.helix import (
    CredentialsRefusedError,
    HelixError,
    Page,
    RateLimitedError,
    TransientError,
)
from lambdas.subscriptions.model import Grant, Subscription
from lambdas.subscriptions.plan import (
    LIMITED,
    CostItem,
    needs_verification,
    share_budget,
    to_create,
    unlisted,
)
from lambdas.subscriptions.reconciler_progress import ProgressItem
from lambdas.subscriptions.requests import Request
from lambdas.subscriptions.subscriber import Subscriber
from lambdas.subscriptions.subscription_status import Announcer
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPE_BY_KEY, SubscriptionState

T = TypeVar("T")

# A run stops after so many channels for which Twitch was unavailable, if it has answered for none.
MAX_UNAVAILABLE = 10
PAGE_ATTEMPTS = 3
# A list of more pages does not end: a hundred subscriptions each are a million.
MOST_PAGES = 10_000
# What Twitch created or said less than this before the list was read may not be in it: clocks differ.
FRESH_SECONDS = 60


@dataclasses.dataclass(slots=True)
class Report:
    """What a run found and did: channels that stay, subscriptions, and costs in points.

    ``failed`` are the channels, and the subscriptions of unknown types, that are left to the next run.

    ``asked`` are the channels for which subscriptions were asked for. ``complete`` is False for a run that
    Twitch or the time cut short; the next one does the rest.
    """

    channels: int = 0
    failed: int = 0
    asked: int = 0
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
    application. ``progress`` is what a run leaves to the next one. With ``tells_disconnections`` Twitch is to
    say when a user disconnects the application.
    """

    subscriber: Subscriber
    announcer: Announcer
    progress: ProgressItem
    count_viewers: Callable[[], Mapping[str, int]]
    grace_seconds: int
    sleep: Callable[[float], None]
    tells_disconnections: bool = False

    def run(self, deadline: float) -> Report:
        """Go through Twitch's list and the table once; ``deadline`` is when to stop, in epoch seconds.

        A channel that fails is logged and left to the next run. Raises HelixError if the list's first page
        cannot be read.
        """
        run = _Run(self, deadline)
        try:
            run.go()
        except _StoppedError as error:
            run.report.complete = False
            logger.warning("The run was cut short: %s", error)
        self.progress.keep(run.progress)
        return run.report


class _Run:
    """One run: what it has read, and what it has done so far.

    ``progress`` is where the next run is to go on.
    """

    def __init__(self, reconciler: Reconciler, deadline: float) -> None:
        self.report = Report()
        self.progress = reconciler.progress.load()
        self._reconciler = reconciler
        self._subscriber = reconciler.subscriber
        self._table = reconciler.subscriber.statuses.table
        self._deadline = self._stop_at = deadline
        self._unavailable = 0
        self._answered = False
        self._listed: dict[str, list[Subscription]] = {}

    def go(self) -> None:
        """Read everything, correct what stays, then delete what nobody watches."""
        # The list first: what the table knows and the list lacks is looked up again.
        self._list_began = self._now()
        listed = self._read_list()
        self._records = dict(self._table.scan())
        self._viewers = self._reconciler.count_viewers()
        unknown = self._group(listed)
        if self._reconciler.tells_disconnections:
            unknown = self._keep_disconnections(unknown)
        self._answered = False
        for one in unknown:
            self._try(functools.partial(self._delete, [one], "unknown_type"), subscription_id=one.id)

        streamer_ids = self._listed.keys() | self._records.keys() | self._viewers.keys()
        unwatched = {one for one in streamer_ids if self._is_unwatched(one)}
        self.report.channels = len(streamer_ids) - len(unwatched)
        self._plan_budget(streamer_ids - unwatched, unwatched)
        self._each(self._reconcile, streamer_ids - unwatched)
        self._each(self._delete_if_unwatched, unwatched)

    def _read_list(self) -> list[Subscription]:
        """Twitch's list from where the last run has left it; as much as half of the time allows.

        It is whole if it was read from its beginning to its end.
        """
        listed: list[Subscription] = []
        cursor = began_at = self.progress.cursor
        self._stop_at = self._now() + (self._deadline - self._now()) / 2
        cursors = set[str | None]()
        problem = None
        while cursor not in cursors and len(cursors) < MOST_PAGES:
            cursors.add(cursor)
            try:
                page = self._read_page(cursor)
            except _StoppedError as error:
                problem = str(error)
                break
            except HelixError as error:
                if cursor is None:
                    raise
                problem = f"a page cannot be read: {error.reason}"
                # The next run tries it again, and begins anew if it has failed then, or if Twitch refuses it.
                if not listed or not isinstance(error, TransientError):
                    cursor = None
                break
            self.report.total_cost, self.report.max_total_cost = page.total_cost, page.max_total_cost
            listed += page.subscriptions
            cursor = page.cursor
            if cursor is None:
                break
        else:
            problem, cursor = "its pages repeat", None
        self._stop_at = self._deadline
        if problem is not None:
            logger.warning("Twitch's list is not complete: %s", problem)
            self.report.complete = False
        self._is_whole = began_at is None and problem is None
        self.progress = dataclasses.replace(self.progress, cursor=cursor)
        return listed

    def _read_page(self, cursor: str | None) -> Page:
        """A page of Twitch's list. One that fails is asked for again: of hundreds, some do."""
        for _ in range(PAGE_ATTEMPTS - 1):
            try:
                return self._wait_if_limited(functools.partial(self._subscriber.helix.read_page, cursor))
            except TransientError:
                self._wait(1)
        return self._wait_if_limited(functools.partial(self._subscriber.helix.read_page, cursor))

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

    def _keep_disconnections(self, unknown: list[Subscription]) -> list[Subscription]:
        """Keep the one subscription that is the application's, not a channel's; return the others."""
        secret = self._subscriber.load_secret()
        callback = self._subscriber.callback(secret)
        kept = [one for one in unknown if one.type == DISCONNECTED and one.live and one.callback == callback]
        helix = self._subscriber.helix
        if not kept and self._is_whole:
            try:
                condition = {"client_id": helix.client_id()}
                helix.create_subscription(DISCONNECTED, "1", condition, callback, secret.current)
            except (HelixError, CredentialsRefusedError):
                logger.exception("Twitch does not tell who disconnects the application")
        return [one for one in unknown if one not in kept[:1]]

    def _each(self, step: Callable[[str], None], streamer_ids: Iterable[str]) -> None:
        """Do a step for each channel, beginning with those for which the last run had no time."""
        position = self.progress.position
        for streamer_id in sorted(streamer_ids, key=lambda one: (one <= position, one)):
            if self._subscriber.clock() > self._deadline:
                raise _StoppedError("there is no time left")
            self._try(functools.partial(step, streamer_id), channel=streamer_id)
            self.progress = dataclasses.replace(self.progress, position=streamer_id)

    def _try(self, step: Callable[[], None], **extra: str) -> None:
        """Do a step; an error is logged with ``extra``, and the run goes on."""
        try:
            step()
        except _StoppedError:
            raise
        except TransientError as error:
            self.report.failed += 1
            self._unavailable += 1
            logger.warning("Twitch is unavailable", extra={"reason": error.reason, **extra})
            if self._unavailable >= MAX_UNAVAILABLE and not self._answered:
                raise _StoppedError("Twitch answers nothing") from error
        except Exception:
            self.report.failed += 1
            logger.exception("A channel or subscription could not be reconciled", extra=extra)

    def _is_unwatched(self, streamer_id: str) -> bool:
        record = self._records.get(streamer_id)
        is_recent = record is not None and record.watched_at >= self._watched_since()
        return not self._viewers.get(streamer_id) and not is_recent

    def _delete_if_unwatched(self, streamer_id: str) -> None:
        """Delete a channel and its subscriptions, unless somebody has watched it since the table was read."""
        if not self._table.delete_unwatched(streamer_id, not_watched_since=self._watched_since()):
            return
        why = "not_watched" if streamer_id in self._records else "unknown_channel"
        self._delete(self._listed.get(streamer_id, []), why)
        # A watch during the deletion may have adopted subscriptions that are deleted now.
        record = self._table.get(streamer_id)
        if record is not None:
            self._ask(record, Request(streamer_id, compare=True))

    def _plan_budget(self, kept: Iterable[str], unwatched: Iterable[str]) -> None:
        """Choose which subscriptions to give up because Twitch's budget is short, and which to restore."""
        self._limited, self._restored = set[tuple[str, str]](), set[tuple[str, str]]()
        if not self._is_whole:
            return
        used: list[CostItem] = []
        waiting: list[CostItem] = []
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
                    waiting.append(CostItem.of(SUBSCRIPTION_TYPE_BY_KEY[key], streamer_id, viewers, 1))
        soon_deleted = sum(
            one.cost for streamer_id in unwatched for one in self._listed.get(streamer_id, []) if one.live
        )
        total, most = self.report.total_cost - soon_deleted, self.report.max_total_cost
        self._limited, self._restored = share_budget(used, waiting, total, most)
        self.report.limited = len(self._limited) + len(waiting) - len(self._restored)

    def _reconcile(self, streamer_id: str) -> None:
        """Correct one channel: the table by Twitch's list; then ask for what it lacks."""
        record = self._records.get(streamer_id) or self._make_record(streamer_id)
        if record is None:
            return
        record, listed, unsure = self._read_channel(streamer_id, record)
        grants = self._grants(streamer_id, record, listed)
        correction = self._subscriber.correct(
            streamer_id,
            {key: state for key, state in record.states.items() if key not in unsure},
            listed,
            grants,
            limit=functools.partial(self._apply_budget, streamer_id),
            delete=lambda one: self._delete([one], "dead_duplicate_or_limited"),
        )
        states = {**correction.states, **{key: record.states[key] for key in unsure}}
        now, watched = self._now(), self._viewers.get(streamer_id, 0) > 0
        unread = unsure and needs_verification(record.states, record.verified_at, now)
        if unread or correction.outdated or any(to_create(states, streamer_id, grants, now)):
            # ``subscriber`` also compares what was not read for long, and tells viewers.
            self._ask(record, Request(streamer_id, compare=bool(correction.outdated)))
        elif watched:
            self._reconciler.announcer.tell(streamer_id)
        self._table.record_run(streamer_id, now, verified=not unsure, watched=watched)

    def _make_record(self, streamer_id: str) -> ChannelRecord | None:
        """Somebody is connected to a channel that was deleted: it is watched again, if it still exists."""
        channel = self._wait_if_limited(lambda: self._subscriber.helix.get_user_by_id(streamer_id))
        now = self._now()
        return self._table.record_watch(Resolution(channel, now), now) if channel else None

    def _read_channel(
        self, streamer_id: str, record: ChannelRecord
    ) -> tuple[ChannelRecord, list[Subscription], Collection[str]]:
        """What the table and Twitch have of a channel, and the types of which the list cannot judge.

        These are those of which the table has news that may be newer than the list, and those that may be on
        a page that was not read. What else the table knows and the list lacks is looked up again.
        """
        listed = self._listed.get(streamer_id, [])
        fresh_since = (self._list_began - FRESH_SECONDS) * 1000
        unsure = {key for key, state in record.states.items() if state.as_of >= fresh_since}
        missing = unlisted(record.states, listed).keys() - unsure
        if missing and self._is_whole:
            record = self._table.get(streamer_id) or record
            known = record.states.values()
            return record, self._wait_if_limited(lambda: self._subscriber.listed(streamer_id, known)), ()
        unsure |= missing
        kept = [one for one in listed if one.target and one.target.subscription_type.key not in unsure]
        return record, kept, unsure

    def _grants(
        self, streamer_id: str, record: ChannelRecord, listed: Iterable[Subscription]
    ) -> Sequence[Grant]:
        """The channel's grants, if they matter: if something that needs a consent has ended."""
        live = {one.id for one in listed if one.live}
        ended = any(
            state.reason != "consent_required" and state.subscription_id not in live
            for key, state in record.states.items()
            if key in SUBSCRIPTION_TYPE_BY_KEY and SUBSCRIPTION_TYPE_BY_KEY[key].scope is not None
        )
        return self._subscriber.grants.for_channel(streamer_id) if ended else ()

    def _ask(self, record: ChannelRecord, request: Request) -> None:
        self._subscriber.requests.ask(record, request, self._now())
        self.report.asked += 1

    def _apply_budget(self, streamer_id: str, states: dict[str, SubscriptionState]) -> None:
        """Change the states of limited and restored subscriptions."""
        for key, state in states.items():
            if (streamer_id, key) in self._limited and state.live:
                states[key] = SubscriptionState("absent", None, LIMITED)
            elif (streamer_id, key) in self._restored and state.reason == LIMITED:
                states[key] = SubscriptionState("absent")

    def _delete(self, subscriptions: Iterable[Subscription], why: str) -> None:
        for subscription in subscriptions:
            self._wait_if_limited(functools.partial(self._subscriber.delete, subscription, why))
            self.report.deleted += 1
            if subscription.live:
                self.report.total_cost -= subscription.cost

    def _wait_if_limited(self, request: Callable[[], T]) -> T:
        """Make a request; while the rate limit refuses it, wait and make it again."""
        while True:
            if self._subscriber.clock() > self._stop_at:
                raise _StoppedError("there is no time left")
            try:
                answer = request()
            except RateLimitedError as error:
                self._wait(error.retry_after)
            else:
                self._answered = True
                return answer

    def _wait(self, seconds: int) -> None:
        """https://dev.twitch.tv/docs/api/guide/#twitch-rate-limits"""
        if self._subscriber.clock() + seconds > self._stop_at:
            raise _StoppedError("waiting for Twitch would take longer than is left")
        self._reconciler.sleep(seconds)

    def _watched_since(self) -> int:
        """A channel with an older ``watched_at``, which is up to a minute too early, is not watched."""
        return self._now() - self._reconciler.grace_seconds - WATCHED_SECONDS

    def _now(self) -> int:
        return self._subscriber.now()
