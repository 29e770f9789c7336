"""Decisions about a channel's subscriptions: what Twitch's list means, what is missing, what is too much.

A state moves ``absent → pending → enabled → revoked/failed``, see ``SubscriptionState``. A watch and the
reconciler decide with the same functions, from the same table and from Twitch's own list, so it does not
matter which of them comes first, whether both run at once, or where the last one stopped.
"""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from lambdas.common.event import parse_time
from lambdas.subscriptions.model import Grant, Subscription
from lambdas.subscriptions.subscription_types import (
    SUBSCRIPTION_TYPES,
    Attribution,
    SubscriptionState,
    SubscriptionType,
    attribute,
)

# The reconciler compares the table with Twitch's list every 5 minutes; after three runs without it, a watch
# compares for itself before it believes that a topic is subscribed.
TRUSTED_SECONDS = 15 * 60
# Twitch challenges the callback at once. A watch that comes later than this asks what came of it.
CHALLENGE_SECONDS = 5
# A challenge without an answer for so long never gets one.
PENDING_SECONDS = 10 * 60

# What Twitch refuses for a reason that time seldom mends is tried again after 4 minutes (by the reconciler's
# next run), then after twice as long each time, and at least daily.
FIRST_RETRY_SECONDS = 4 * 60
LONGEST_RETRY_SECONDS = 24 * 60 * 60

# Shares of Twitch's cost budget: above the first, topics give way until no more than the second is used,
# which leaves room for what is watched next; they come back as long as no more than the third is used.
CROWDED, RELIEVED, ROOMY = 0.95, 0.90, 0.85

# Why a topic that gave way is absent.
LIMITED = "limited"

# Why Twitch ends a subscription when the consent it rests on is gone.
WITHDRAWN = frozenset({"authorization_revoked", "moderator_removed", "user_removed"})


@dataclasses.dataclass(frozen=True, slots=True)
class Observation:
    """What Twitch's list says of one channel.

    ``states`` are by topic key. ``surplus`` are the subscriptions that should not be there: dead ones, and
    those of a topic that has a better one. ``outdated`` are the keys of topics that Twitch delivers to a
    former callback only: they need a subscription to the current one before the former one may go.
    """

    states: Mapping[str, SubscriptionState]
    surplus: list[Subscription]
    outdated: frozenset[str]


def attribution(subscription: Subscription) -> Attribution | None:
    """What a subscription at Twitch is for; None if it is for no topic in the table."""
    return attribute(subscription.type, subscription.version, subscription.condition)


def leads_here(subscription: Subscription, webhook_url: str) -> bool:
    """Whether it delivers to our webhook; a query only tells which secret signs."""
    return subscription.callback.partition("?")[0] == webhook_url


def is_live(subscription: Subscription) -> bool:
    """Whether Twitch delivers it, or is about to: it counts against the limits."""
    return SubscriptionState.of(subscription.id, subscription.status).live


def observe(
    subscriptions: Iterable[Subscription], callback: str, known: Mapping[str, SubscriptionState], now: int
) -> Observation:
    """Sort out a channel's subscriptions, all of which are ours.

    ``callback`` is where Twitch is to deliver now, the secret's version included. Where a topic has several
    subscriptions, one that Twitch delivers counts before one that waits for its challenge, then one to
    ``callback`` before the others, then the one that is already ``known``.
    """
    by_topic: dict[str, list[Subscription]] = {}
    for subscription in subscriptions:
        match = attribution(subscription)
        if match is not None:
            by_topic.setdefault(match.topic.key, []).append(subscription)
    states: dict[str, SubscriptionState] = {}
    surplus: list[Subscription] = []
    outdated: set[str] = set()
    for key, candidates in by_topic.items():
        known_id = known[key].subscription_id if key in known else None
        ranked = sorted(candidates, key=lambda one: _rank(one, callback, known_id, now))
        best = _state(ranked[0], now)
        states[key] = best
        if not best.live:
            surplus += ranked
            continue
        kept = {ranked[0].id}
        if ranked[0].callback != callback:
            replacement = next((one for one in ranked if _is_current(one, callback, now)), None)
            if replacement is None:
                outdated.add(key)
            else:
                kept.add(replacement.id)
        surplus += [one for one in ranked if one.id not in kept]
    return Observation(states, surplus, frozenset(outdated))


def verified(
    known: Mapping[str, SubscriptionState], observed: Mapping[str, SubscriptionState]
) -> dict[str, SubscriptionState]:
    """The states after a look at Twitch's list: what it shows is so, and what is live but not shown is lost.

    States that are not live and not shown stay: the reason why a topic is revoked outlives its subscription.
    """
    lost = {
        key: SubscriptionState("failed", None, "lost_at_twitch") if state.live else state
        for key, state in known.items()
    }
    return {**lost, **observed}


def needs_verification(known: Mapping[str, SubscriptionState], verified_at: int, now: int) -> bool:
    """Whether a watch must ask Twitch how the known topics stand (times in epoch seconds)."""
    age = now - verified_at
    trusted = {"enabled": TRUSTED_SECONDS, "pending": CHALLENGE_SECONDS}
    return any(age > trusted[state.status] for state in known.values() if state.live)


def unseen(known: Mapping[str, SubscriptionState], subscriptions: Iterable[Subscription]) -> bool:
    """Whether a live topic's subscription is not in the list, which may be older than the subscription."""
    listed = {subscription.id for subscription in subscriptions}
    return any(state.live and state.subscription_id not in listed for state in known.values())


def consents(topic: SubscriptionType, streamer_id: str, grants: Iterable[Grant]) -> list[Grant]:
    """The grants that a topic may be subscribed with, the streamer's own first, then the latest first."""
    fitting = [
        grant
        for grant in grants
        if topic.scope in grant.scopes and (topic.consent == "moderator" or grant.grantor_id == streamer_id)
    ]
    return sorted(fitting, key=lambda grant: (grant.grantor_id != streamer_id, -grant.granted_at))


def settle(
    states: Mapping[str, SubscriptionState], streamer_id: str, grants: Sequence[Grant]
) -> dict[str, SubscriptionState]:
    """The states of all topics, those that cannot be subscribed without a new grant saying so.

    A revoked topic goes on telling why it was revoked.
    """
    settled = {}
    for topic in SUBSCRIPTION_TYPES:
        state = states.get(topic.key, SubscriptionState("absent"))
        if topic.consent != "none" and not state.live and not consents(topic, streamer_id, grants):
            if state.status != "revoked":
                state = SubscriptionState("absent", None, "consent_required")
        elif state.reason == "consent_required":
            state = SubscriptionState("absent")
        settled[topic.key] = state
    return settled


def to_create(
    states: Mapping[str, SubscriptionState], streamer_id: str, grants: Sequence[Grant], now: int
) -> Iterator[SubscriptionType]:
    """The topics to subscribe now: not live, consented to, within the budget, and not refused lately."""
    for topic in SUBSCRIPTION_TYPES:
        state = states.get(topic.key, SubscriptionState("absent"))
        consented = topic.consent == "none" or consents(topic, streamer_id, grants)
        if not state.live and consented and state.reason != LIMITED and state.retry_at <= now:
            yield topic


def refused(reason: str, before: SubscriptionState | None, now: int) -> SubscriptionState:
    """The state of a topic that Twitch refuses for a reason that time seldom mends."""
    attempts = (before.attempts if before else 0) + 1
    wait = min(FIRST_RETRY_SECONDS * 2 ** (attempts - 1), LONGEST_RETRY_SECONDS)
    return SubscriptionState("failed", None, reason, attempts, now + wait)


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Expense:
    """A topic of a channel that costs, or would: the smallest gives way last."""

    priority: int
    absent_viewers: int
    streamer_id: str
    key: str
    cost: int = dataclasses.field(compare=False)

    @classmethod
    def of(cls, topic: SubscriptionType, streamer_id: str, viewers: int, cost: int) -> "Expense":
        """The expense of a topic on a channel with so many viewers."""
        return cls(topic.priority, -viewers, streamer_id, topic.key, cost)


def to_evict(expenses: Collection[Expense], total_cost: int, max_total_cost: int) -> set[tuple[str, str]]:
    """The topics, as (streamer id, topic key), that must give way to others.

    Those of low priority go first, and of these those of the channels with the fewest viewers.
    """
    evicted: set[tuple[str, str]] = set()
    if total_cost > CROWDED * max_total_cost:
        for expense in sorted(expenses, reverse=True):
            if total_cost <= RELIEVED * max_total_cost:
                break
            evicted.add((expense.streamer_id, expense.key))
            total_cost -= expense.cost
    return evicted


def to_restore(expenses: Collection[Expense], total_cost: int, max_total_cost: int) -> set[tuple[str, str]]:
    """The topics that gave way and may come back, as (streamer id, topic key)."""
    restored: set[tuple[str, str]] = set()
    for expense in sorted(expenses):
        total_cost += expense.cost
        if total_cost > ROOMY * max_total_cost:
            break
        restored.add((expense.streamer_id, expense.key))
    return restored


def _rank(one: Subscription, callback: str, known_id: str | None, now: int) -> tuple[int, bool, bool, str]:
    order = {"enabled": 0, "pending": 1}
    return order.get(_state(one, now).status, 2), one.callback != callback, one.id != known_id, one.created_at


def _is_current(one: Subscription, callback: str, now: int) -> bool:
    return one.callback == callback and _state(one, now).live


def _state(subscription: Subscription, now: int) -> SubscriptionState:
    state = SubscriptionState.of(subscription.id, subscription.status)
    if state.status == "pending" and now - parse_time(subscription.created_at).timestamp() > PENDING_SECONDS:
        return SubscriptionState.of(subscription.id, "webhook_callback_verification_failed")
    return state
