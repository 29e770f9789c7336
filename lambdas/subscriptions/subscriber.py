"""Creating a channel's subscriptions: the part that a watch and the reconciler share."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor

from lambdas.common.observability import logger
from lambdas.common.rotated_secret import RotatedSecret
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.helix import (
    BudgetExceededError,
    ConflictError,
    ForbiddenError,
    Helix,
    HelixError,
    TransientError,
)
from lambdas.subscriptions.model import Grant, Subscription
from lambdas.subscriptions.plan import LIMITED, back_off, classify, usable_grants
from lambdas.subscriptions.subscription_status import StatusUpdater
from lambdas.subscriptions.subscription_types import SubscriptionState, SubscriptionType


@dataclasses.dataclass(slots=True)
class Outcome:
    """What subscribing did, by the subscription type's key: the new states, what was created, and errors."""

    states: dict[str, SubscriptionState] = dataclasses.field(default_factory=dict)
    created: dict[str, Subscription] = dataclasses.field(default_factory=dict)
    errors: dict[str, HelixError] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Subscriber:
    """Creates subscriptions and stores their states.

    ``executor`` runs the requests for one channel side by side: one after the other, a viewer would wait for
    all of them. ``load_secret`` is called when something is to be subscribed.
    """

    helix: Helix
    statuses: StatusUpdater
    grants: GrantsTable
    webhook_url: str
    load_secret: Callable[[], RotatedSecret]
    executor: Executor

    def callback(self, secret: RotatedSecret) -> str:
        """The callback of subscriptions that are made with this secret.

        The secret of a subscription cannot be read from Twitch or changed: after a rotation each is replaced.
        To see which version one was made with, the callback names it once there has been a rotation.
        """
        return self.webhook_url if secret.previous is None else f"{self.webhook_url}?secret={secret.version}"

    def subscribe(
        self,
        streamer_id: str,
        wanted: Sequence[SubscriptionType],
        known: Mapping[str, SubscriptionState],
        grants: Sequence[Grant],
        now: int,
    ) -> Outcome:
        """Create the wanted subscriptions, each with the first grant that Twitch accepts, and store states.

        If one cannot be created, its state says why, and the others are created all the same. ``known`` are
        the channel's states before; ``now`` is in epoch seconds.
        """
        if not wanted:
            return Outcome()
        secret = self.load_secret()
        attempt = _Attempt(self, streamer_id, known, grants, secret, now)
        for one, result in zip(wanted, self.executor.map(attempt.create, wanted), strict=True):
            if isinstance(result, Subscription):
                attempt.outcome.created[one.key] = result
            else:
                attempt.outcome.errors[one.key] = result
        conflicts = [one for one in wanted if isinstance(attempt.outcome.errors.get(one.key), ConflictError)]
        attempt.adopt(conflicts)
        return attempt.outcome

    def listed(self, streamer_id: str, known: Iterable[SubscriptionState]) -> list[Subscription]:
        """Our subscriptions for a channel, as Twitch lists them now. Raises TransientError."""
        ids = {state.subscription_id for state in known if state.live}
        return [
            subscription
            for page in self.helix.list_subscriptions(user_id=streamer_id)
            for subscription in page.subscriptions
            if (subscription.delivers_to(self.webhook_url) or subscription.id in ids)
            # Twitch's filter also finds the subscriptions of channels that the streamer moderates.
            and (target := subscription.target) is not None
            and target.streamer_id == streamer_id
        ]


@dataclasses.dataclass(frozen=True, slots=True)
class _Attempt:
    """The creation of one channel's subscriptions, and its outcome so far."""

    subscriber: Subscriber
    streamer_id: str
    known: Mapping[str, SubscriptionState]
    grants: Sequence[Grant]
    secret: RotatedSecret
    now: int
    outcome: Outcome = dataclasses.field(default_factory=Outcome)

    @property
    def callback(self) -> str:
        return self.subscriber.callback(self.secret)

    def create(self, wanted: SubscriptionType) -> Subscription | HelixError:
        """Create one subscription and store its state; conflicts are left to ``adopt``."""
        try:
            created = self._request(wanted)
        except HelixError as error:
            if not isinstance(error, ConflictError):
                self._store_failure(wanted, error)
            return error
        # Stored at once, so that a crash during the others does not lose it.
        state = SubscriptionState.from_twitch(created.id, created.status)
        self._store(wanted, state, "subscribed")
        return created

    def adopt(self, wanted: Sequence[SubscriptionType]) -> None:
        """Find the subscriptions that exist already, and store their states.

        Another function that runs at the same time has created them, or one that ended before it stored them.
        """
        if not wanted:
            return
        found: Mapping[str, SubscriptionState] = {}
        list_error: HelixError | None = None
        try:
            listed = self.subscriber.listed(self.streamer_id, self.known.values())
            found = classify(listed, self.callback, self.known, self.now).states
        except TransientError as error:
            list_error = error
        for one in wanted:
            state = found.get(one.key)
            conflict = self.outcome.errors.pop(one.key)
            if state is not None and state.live:
                self._store(one, state, "adopted")
            else:
                failure = self.outcome.errors[one.key] = list_error or conflict
                self._store_failure(one, failure)

    def _request(self, wanted: SubscriptionType) -> Subscription:
        """Create the subscription; if Twitch does not accept a grant, the next one is tried."""
        refusal = ForbiddenError("there is no grant")
        for grant in usable_grants(wanted, self.streamer_id, self.grants) if wanted.scope else (None,):
            condition = wanted.condition(self.streamer_id, grant.grantor_id if grant else None)
            try:
                return self.subscriber.helix.create_subscription(
                    wanted.event_type, wanted.version, condition, self.callback, self.secret.current
                )
            except ForbiddenError as error:
                refusal = error
                if grant is not None and wanted.scope is not None:
                    self.subscriber.grants.remove_scope(self.streamer_id, grant, wanted.scope)
        raise refusal

    def _store_failure(self, wanted: SubscriptionType, error: HelixError) -> None:
        logger.warning(
            "A subscription could not be created",
            extra={
                "channel": self.streamer_id,
                "subscription_type": wanted.key,
                "reason": error.reason,
                "error": str(error),
            },
        )
        state = _state_after(error, wanted, self.known.get(wanted.key), self.now)
        self._store(wanted, state, error.reason)

    def _store(self, wanted: SubscriptionType, after: SubscriptionState, why: str) -> None:
        before = self.known.get(wanted.key)
        if before is not None and before.live:
            # Until a replacement has answered its challenge, the state is that of the one to be replaced.
            after = before
        self.subscriber.statuses.update(self.streamer_id, wanted.key, before, after, why)
        self.outcome.states[wanted.key] = after


def _state_after(
    error: HelixError, wanted: SubscriptionType, before: SubscriptionState | None, now: int
) -> SubscriptionState:
    """The state of a subscription that could not be created."""
    match error:
        case ForbiddenError() if wanted.scope:
            # The reason of a revocation says more than that consent is missing.
            revoked = before is not None and before.status == "revoked"
            return before if before and revoked else SubscriptionState("absent", None, "consent_required")
        case BudgetExceededError():
            return SubscriptionState("absent", None, LIMITED)
        case TransientError() | ConflictError():
            return SubscriptionState("failed", None, error.reason, before.attempts if before else 0)
        case _:
            return back_off(error.reason, before, now)
