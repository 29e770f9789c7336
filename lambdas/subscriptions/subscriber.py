"""Making one channel's subscriptions what they should be: what the functions that ask Twitch share."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor

from lambdas.common.event import parse_time
from lambdas.common.observability import logger
from lambdas.common.rotated_secret import RotatedSecret
from lambdas.subscriptions.channels import ChannelRecord
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.helix import (
    BudgetExceededError,
    ConflictError,
    ForbiddenError,
    Helix,
    HelixError,
    PointsUsedUpError,
    TransientError,
)
from lambdas.subscriptions.model import Grant, Subscription
from lambdas.subscriptions.plan import (
    ESSENTIAL,
    LIMITED,
    apply_consent,
    back_off,
    classify,
    merge_states,
    needs_verification,
    to_create,
    usable_grants,
)
from lambdas.subscriptions.points import COMMON, RETRY, URGENT
from lambdas.subscriptions.requests import LONGEST_DELAY_SECONDS, LOST_SECONDS, Request, Requests
from lambdas.subscriptions.subscription_status import StatusUpdater
from lambdas.subscriptions.subscription_types import (
    SUBSCRIPTION_TYPE_BY_KEY,
    SubscriptionState,
    SubscriptionType,
)

# So many subscriptions are created side by side, and their points taken, before more important ones of other
# channels have their turn.
AT_ONCE = 10
# When a request is looked at again for which there were no points: so much, up to three times as late.
POINTS_SECONDS = 5
# How long replacements have to answer their challenge. Until the former subscriptions are deleted then, both
# deliver, with different message ids, and events are counted twice.
CHALLENGE_WAIT_SECONDS = 3
# Of a type that several people have granted, so many grants are tried one after the other.
MOST_GRANTS = 3

States = Mapping[str, SubscriptionState]


@dataclasses.dataclass(frozen=True, slots=True)
class Correction:
    """A channel's states after the table was compared with Twitch's list, by type key.

    ``outdated`` are the types that Twitch delivers to a former callback only.
    """

    states: States
    outdated: Sequence[SubscriptionType]


@dataclasses.dataclass(frozen=True, slots=True)
class Subscriber:
    """Creates and corrects subscriptions, and stores their states.

    ``executor`` runs the requests for one channel side by side. ``load_secret`` is called when something is
    to be compared or subscribed. ``clock`` is in epoch seconds, ``chance`` from 0 to 1.
    """

    helix: Helix
    statuses: StatusUpdater
    grants: GrantsTable
    requests: Requests
    webhook_url: str
    load_secret: Callable[[], RotatedSecret]
    executor: Executor
    clock: Callable[[], float]
    chance: Callable[[], float]

    def handle(self, request: Request) -> list[Subscription]:
        """Create what a channel lacks, and return it; ask again for the rest, to be tried when it is due.

        If one subscription cannot be created, its state says why, and the others are created all the same.
        """
        streamer_id, now = request.streamer_id, self.now()
        record = self.statuses.table.get(streamer_id)
        if record is None:
            # Nobody watches it any more.
            return []
        grants = self.grants.for_channel(streamer_id)
        if request.moderator is not None:
            grants.append(request.moderator)
        work = _Work(self, request, grants, dict(record.states))
        if request.compare or (
            request.moderator is None and needs_verification(record.states, record.verified_at, now)
        ):
            work.compare()
        work.create()
        self._settle(request, record, work)
        return work.created

    def correct(
        self,
        streamer_id: str,
        known: States,
        listed: Sequence[Subscription],
        grants: Sequence[Grant],
        *,
        limit: Callable[[dict[str, SubscriptionState]], None] = lambda _states: None,
        delete: Callable[[Subscription], None],
    ) -> Correction:
        """Correct the table by Twitch's list of a channel's subscriptions; ``delete`` what is to be deleted.

        ``limit`` changes the states for the cost budget.
        """
        found = classify(listed, self.callback(self.load_secret()), known, self.now())
        states = apply_consent(merge_states(known, found.states), streamer_id, grants)
        limit(states)
        states = {key: state.following(known.get(key)) for key, state in states.items()}
        for key, state in states.items():
            before = known.get(key)
            if before is not None or state.live:
                self.statuses.update(streamer_id, key, before, state, state.reason or "found_at_twitch")
        limited = [
            one for one in listed if one.target and states[one.target.subscription_type.key].reason == LIMITED
        ]
        for one in {one.id: one for one in [*found.surplus, *limited]}.values():
            delete(one)
        outdated = [SUBSCRIPTION_TYPE_BY_KEY[key] for key in found.outdated if states[key].live]
        return Correction(states, outdated)

    def delete(self, subscription: Subscription, why: str, *, rank: int = COMMON) -> None:
        """Delete a subscription at Twitch. Raises TransientError."""
        self.helix.delete_subscription(subscription.id, rank=rank)
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

    def callback(self, secret: RotatedSecret) -> str:
        """The callback of subscriptions that are made with this secret.

        The secret of a subscription cannot be read from Twitch or changed: after a rotation each is replaced.
        To see which version one was made with, the callback names it once there has been a rotation.
        """
        return self.webhook_url if secret.previous is None else f"{self.webhook_url}?secret={secret.version}"

    def listed(
        self, streamer_id: str, known: Iterable[SubscriptionState], *, rank: int = COMMON
    ) -> list[Subscription]:
        """Our subscriptions for a channel, as Twitch lists them now. Raises TransientError."""
        ids = {state.subscription_id for state in known if state.live}
        return [
            subscription
            for subscription in self.helix.list_subscriptions(streamer_id, rank=rank)
            if (subscription.delivers_to(self.webhook_url) or subscription.id in ids)
            # Twitch's filter also finds the subscriptions of channels that the streamer moderates.
            and (target := subscription.target) is not None
            and target.streamer_id == streamer_id
        ]

    def now(self) -> int:
        """The time, in epoch seconds."""
        return int(self.clock())

    def _settle(self, request: Request, before: ChannelRecord, work: "_Work") -> None:
        """If something is left to do soon, ask for it again; store what was asked and compared."""
        now, due = self.now(), work.due()
        asked_until = 0
        # The reconciler finds what is due later.
        if due is not None and due <= now + LONGEST_DELAY_SECONDS:
            delay = max(due - now, 0)
            compare = work.replaced or (request.compare and not work.compared)
            urgent = work.replaced or (request.urgent and compare)
            self.requests.send(dataclasses.replace(request, compare=compare, urgent=urgent), delay)
            asked_until = now + delay + LOST_SECONDS
        verified_at = now if work.compared or work.created else None
        lasts = 0 < asked_until <= before.asked_until + LOST_SECONDS // 2
        # A moderator's request has no claim.
        if request.moderator is None and (verified_at is not None or not lasts):
            self.statuses.table.settle(request.streamer_id, asked_until=asked_until, verified_at=verified_at)


class _Work:
    """What is done for one request: the channel's states by type key, as they are now, and what was created.

    ``compared`` is whether the states were compared with Twitch's list, ``replaced`` whether subscriptions to
    a former callback are to be deleted when their replacements have answered their challenge.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        request: Request,
        grants: Sequence[Grant],
        states: dict[str, SubscriptionState],
    ) -> None:
        self.created: list[Subscription] = []
        self.compared = False
        self.replaced = False
        self._subscriber = subscriber
        self._request = request
        self._streamer_id = request.streamer_id
        self._grants = grants
        self._states = states
        self._outdated: Sequence[SubscriptionType] = ()
        # The scopes that Twitch has refused, by the grantor's id.
        self._refused: dict[str, set[str]] = {}
        # Whether Twitch's budget has no room for more, and in how many seconds to try the rest.
        self._shut = False
        self._wait: int | None = None

    def due(self) -> int | None:
        """When something is left to do (epoch seconds); None if nothing is."""
        now = self._subscriber.now()
        times = [retry_at for row in self._missing(math.inf) if (retry_at := self._states[row.key].retry_at)]
        if self.replaced:
            times.append(now + CHALLENGE_WAIT_SECONDS)
        if self._wait is not None:
            # What is due already has to wait, too.
            times = [now + self._wait, *(time for time in times if time > now)]
        return min(times, default=None)

    def compare(self) -> None:
        """Correct the states by Twitch's list; if it cannot be read, most likely the table is right."""
        rank = URGENT if self._request.urgent else COMMON
        delete = functools.partial(self._subscriber.delete, why="dead_or_duplicate", rank=rank)
        try:
            listed = self._subscriber.listed(self._streamer_id, self._states.values(), rank=rank)
            correction = self._subscriber.correct(
                self._streamer_id, self._states, listed, self._grants, delete=delete
            )
        except TransientError as error:
            logger.warning(
                "A channel cannot be compared with Twitch's list now",
                extra={"channel": self._streamer_id, "reason": error.reason},
            )
            if self._request.compare:
                self._wait = self._patience()
        else:
            self._states, self._outdated = dict(correction.states), correction.outdated
            self.compared = True

    def create(self) -> None:
        """Create what is missing or outdated, the most important first."""
        subscriber = self._subscriber
        self._states = apply_consent(self._states, self._streamer_id, self._grants)
        wanted = [*self._missing(subscriber.now()), *self._outdated]
        if not wanted:
            return
        secret = subscriber.load_secret()
        wanted.sort(key=lambda row: row.priority)
        essential = [row for row in wanted if row.priority == ESSENTIAL]
        for rows in (essential, wanted[len(essential) :]):
            for start in range(0, len(rows), AT_ONCE):
                if not self._create(rows[start : start + AT_ONCE], secret):
                    return

    def _missing(self, at: float) -> list[SubscriptionType]:
        """What is to be created at this time; for a moderator's request, only what their grant may allow."""
        rows = to_create(self._states, self._streamer_id, self._grants, at)
        return [row for row in rows if self._request.moderator is None or row.consent == "moderator"]

    def _create(self, wanted: Sequence[SubscriptionType], secret: RotatedSecret) -> bool:
        """Create some, and return whether to go on with less important ones."""
        create = functools.partial(self._create_one, secret=secret)
        results = zip(wanted, self._subscriber.executor.map(create, wanted), strict=True)
        errors = {row: error for row, error in results if error is not None}
        self._grants = [
            dataclasses.replace(grant, scopes=grant.scopes - self._refused.get(grant.grantor_id, set()))
            for grant in self._grants
        ]
        self._adopt(
            [row for row, error in errors.items() if isinstance(error, ConflictError)], errors, secret
        )
        for row, error in errors.items():
            if isinstance(error, PointsUsedUpError):
                self._wait = self._patience()
            else:
                self._store_failure(row, error)
        return self._wait is None

    def _create_one(self, wanted: SubscriptionType, *, secret: RotatedSecret) -> HelixError | None:
        """Create one subscription and store its state; return the error if it cannot be created."""
        if self._shut and wanted.consent == "none":
            return BudgetExceededError("the budget has no room for a more important one")
        try:
            created = self._ask_twitch(wanted, secret)
        except HelixError as error:
            self._shut |= isinstance(error, BudgetExceededError)
            return error
        # Stored at once, so that a crash during the others does not lose it.
        as_of = round(parse_time(created.created_at).timestamp() * 1000)
        self._store(wanted, SubscriptionState.from_twitch(created.id, created.status, as_of), "subscribed")
        self.created.append(created)
        self.replaced |= wanted in self._outdated
        return None

    def _rank(self, wanted: SubscriptionType) -> int:
        """New channels come before retries, and on each the types in the order of their priority."""
        if self._request.urgent:
            return URGENT
        if self._states[wanted.key].attempts:
            return RETRY
        return URGENT if wanted.priority == ESSENTIAL else wanted.priority

    def _ask_twitch(self, wanted: SubscriptionType, secret: RotatedSecret) -> Subscription:
        """Create the subscription; if Twitch does not accept a grant, the next one is tried."""
        refusal = ForbiddenError("there is no grant")
        grants = usable_grants(wanted, self._streamer_id, self._grants) if wanted.scope else [None]
        for grant in grants[:MOST_GRANTS]:
            condition = wanted.condition(self._streamer_id, grant.grantor_id if grant else None)
            try:
                created = self._subscriber.helix.create_subscription(
                    wanted.event_type,
                    wanted.version,
                    condition,
                    self._subscriber.callback(secret),
                    secret.current,
                    rank=self._rank(wanted),
                )
            except ForbiddenError as error:
                refusal = error
                if grant is not None:
                    self._refuse(grant, str(wanted.scope))
                continue
            if grant is not None and grant == self._request.moderator:
                self._subscriber.grants.record(self._streamer_id, grant)
            return created
        raise refusal

    def _refuse(self, grant: Grant, scope: str) -> None:
        self._refused.setdefault(grant.grantor_id, set()).add(scope)
        if grant != self._request.moderator:
            self._subscriber.grants.remove_scope(self._streamer_id, grant, scope)

    def _adopt(
        self,
        wanted: Sequence[SubscriptionType],
        errors: dict[SubscriptionType, HelixError],
        secret: RotatedSecret,
    ) -> None:
        """Find the subscriptions that exist already, store their states, and take them out of the errors.

        Another function that runs at the same time has created them, or one that ended before it stored them.
        """
        if not wanted:
            return
        try:
            listed = self._subscriber.listed(self._streamer_id, self._states.values())
        except TransientError as error:
            errors.update(dict.fromkeys(wanted, error))
            return
        callback = self._subscriber.callback(secret)
        found = classify(listed, callback, self._states, self._subscriber.now()).states
        for row in wanted:
            state = found.get(row.key)
            if state is not None and state.live:
                self._store(row, state, "adopted")
                del errors[row]

    def _store_failure(self, wanted: SubscriptionType, error: HelixError) -> None:
        logger.warning(
            "A subscription could not be created",
            extra={
                "channel": self._streamer_id,
                "subscription_type": wanted.key,
                "reason": error.reason,
                "error": str(error),
            },
        )
        self._store(wanted, self._state_after(error, wanted), error.reason)

    def _state_after(self, error: HelixError, wanted: SubscriptionType) -> SubscriptionState:
        """The state of a subscription that could not be created."""
        before = self._states[wanted.key]
        match error:
            case ForbiddenError() if wanted.scope:
                # The reason of a revocation says more than that consent is missing.
                revoked = before.status == "revoked"
                return before if revoked else SubscriptionState("absent", None, "consent_required")
            case BudgetExceededError():
                return SubscriptionState("absent", None, LIMITED)
        return back_off(
            error.reason,
            before,
            self._subscriber.now(),
            transient=isinstance(error, TransientError | ConflictError),
            chance=self._subscriber.chance(),
            at_least=error.retry_after if isinstance(error, TransientError) else 0,
        )

    def _store(self, wanted: SubscriptionType, after: SubscriptionState, why: str) -> None:
        before = self._states[wanted.key]
        if before.live:
            # Until a replacement has answered its challenge, the state is that of the one to be replaced.
            return
        after = self._states[wanted.key] = after.following(before)
        self._subscriber.statuses.update(self._streamer_id, wanted.key, before, after, why)

    def _patience(self) -> int:
        """In how many seconds there may be points."""
        return round(POINTS_SECONDS * (1 + 2 * self._subscriber.chance()))
