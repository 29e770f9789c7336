"""Subscribing topics of a channel: the part that a watch and the reconciler share."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor

from lambdas.common.observability import logger
from lambdas.common.webhook_secret import WebhookSecret
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
from lambdas.subscriptions.plan import LIMITED, attribution, consents, leads_here, observe, refused
from lambdas.subscriptions.subscription_status import StatusUpdater
from lambdas.subscriptions.subscription_types import SubscriptionState, SubscriptionType


@dataclasses.dataclass(slots=True)
class Outcome:
    """What came of subscribing topics, by topic key: their states, what was made, and what went wrong."""

    states: dict[str, SubscriptionState] = dataclasses.field(default_factory=dict)
    created: dict[str, Subscription] = dataclasses.field(default_factory=dict)
    errors: dict[str, HelixError] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Subscriber:
    """What subscribing takes.

    ``executor`` runs the requests for one channel side by side: one after the other, a viewer would wait for
    all of them. ``load_secret`` is called when something is to be subscribed.
    """

    helix: Helix
    statuses: StatusUpdater
    grants: GrantsTable
    webhook_url: str
    load_secret: Callable[[], WebhookSecret]
    executor: Executor

    def subscribe(
        self,
        streamer_id: str,
        topics: Sequence[SubscriptionType],
        known: Mapping[str, SubscriptionState],
        grants: Sequence[Grant],
        now: int,
    ) -> Outcome:
        """Subscribe topics, each on the first consent that Twitch accepts, and note how each stands then.

        A topic that cannot be subscribed has failed with its reason, and keeps no other from working.
        ``known`` are the channel's states before; ``now`` is in epoch seconds.
        """
        if not topics:
            return Outcome()
        secret = self.load_secret()
        attempt = _Attempt(self, streamer_id, known, grants, secret, now)
        for topic, result in zip(topics, self.executor.map(attempt.create, topics), strict=True):
            if isinstance(result, Subscription):
                attempt.outcome.created[topic.key] = result
            else:
                attempt.outcome.errors[topic.key] = result
        attempt.adopt([topic for topic in topics if _is_conflict(attempt.outcome, topic)])
        return attempt.outcome

    def listed(self, streamer_id: str, known: Iterable[SubscriptionState]) -> list[Subscription]:
        """Our subscriptions for a channel, as Twitch lists them now. Raises TransientError."""
        ids = {state.subscription_id for state in known if state.live}
        found = []
        for page in self.helix.list_subscriptions(user_id=streamer_id):
            for subscription in page.subscriptions:
                match = attribution(subscription)
                ours = leads_here(subscription, self.webhook_url) or subscription.id in ids
                # Twitch's filter also finds what the streamer moderates.
                if ours and match is not None and match.streamer_id == streamer_id:
                    found.append(subscription)
        return found


@dataclasses.dataclass(frozen=True, slots=True)
class _Attempt:
    """One channel's topics being subscribed, and what has come of it so far."""

    subscriber: Subscriber
    streamer_id: str
    known: Mapping[str, SubscriptionState]
    grants: Sequence[Grant]
    secret: WebhookSecret
    now: int
    outcome: Outcome = dataclasses.field(default_factory=Outcome)

    @property
    def callback(self) -> str:
        return self.secret.callback(self.subscriber.webhook_url)

    def create(self, topic: SubscriptionType) -> Subscription | HelixError:
        """Subscribe one topic and note how it stands; conflicts are left to ``adopt``."""
        try:
            made = self._request(topic)
        except HelixError as error:
            if not isinstance(error, ConflictError):
                self._note_failure(topic, error)
            return error
        # Noted at once: whatever becomes of the others, this one is known.
        self._note(topic, SubscriptionState.of(made.id, made.status), "subscribed")
        return made

    def adopt(self, topics: Sequence[SubscriptionType]) -> None:
        """Find the subscriptions that exist already, and note how they stand.

        They are made by somebody who runs at the same time, or who stopped before they could be noted.
        """
        if not topics:
            return
        observed: Mapping[str, SubscriptionState] = {}
        trouble: HelixError | None = None
        try:
            listed = self.subscriber.listed(self.streamer_id, self.known.values())
            observed = observe(listed, self.callback, self.known, self.now).states
        except TransientError as error:
            trouble = error
        for topic in topics:
            state = observed.get(topic.key)
            if state is not None and state.live:
                del self.outcome.errors[topic.key]
                self._note(topic, state, "adopted")
            else:
                self.outcome.errors[topic.key] = trouble or self.outcome.errors[topic.key]
                self._note_failure(topic, self.outcome.errors[topic.key])

    def _request(self, topic: SubscriptionType) -> Subscription:
        """Create the subscription; where Twitch does not know of a grant, the next one is tried."""
        refusal = ForbiddenError("nobody consented")
        for grant in consents(topic, self.streamer_id, self.grants) if topic.scope else (None,):
            condition = topic.condition(self.streamer_id, grant.grantor_id if grant else None)
            try:
                return self.subscriber.helix.create_subscription(
                    topic.event_type, topic.version, condition, self.callback, self.secret.current
                )
            except ForbiddenError as error:
                refusal = error
                if grant is not None and topic.scope is not None:
                    self.subscriber.grants.refuse(self.streamer_id, grant, topic.scope)
        raise refusal

    def _note_failure(self, topic: SubscriptionType, error: HelixError) -> None:
        logger.warning(
            "A topic could not be subscribed",
            extra={
                "channel": self.streamer_id,
                "topic": topic.key,
                "reason": error.reason,
                "error": str(error),
            },
        )
        self._note(topic, after_failure(topic, self.known.get(topic.key), error, self.now), error.reason)

    def _note(self, topic: SubscriptionType, after: SubscriptionState, why: str) -> None:
        before = self.known.get(topic.key)
        if before is not None and before.live:
            # Until a replacement has answered its challenge, what it is to replace is what counts.
            after = before
        self.subscriber.statuses.move(self.streamer_id, topic.key, before, after, why)
        self.outcome.states[topic.key] = after


def after_failure(
    topic: SubscriptionType, before: SubscriptionState | None, error: HelixError, now: int
) -> SubscriptionState:
    """How a topic stands that could not be subscribed."""
    match error:
        case ForbiddenError() if topic.scope:
            # Why it was revoked says more than that consent is missing.
            revoked = before is not None and before.status == "revoked"
            return before if before and revoked else SubscriptionState("absent", None, "consent_required")
        case BudgetExceededError():
            return SubscriptionState("absent", None, LIMITED)
        case TransientError() | ConflictError():
            return SubscriptionState("failed", None, error.reason, before.attempts if before else 0)
        case _:
            return refused(error.reason, before, now)


def _is_conflict(outcome: Outcome, topic: SubscriptionType) -> bool:
    return isinstance(outcome.errors.get(topic.key), ConflictError)
