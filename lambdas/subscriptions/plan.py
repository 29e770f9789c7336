"""Decisions about a channel's subscriptions: what Twitch's list means, what to create, what to delete."""

import dataclasses
from collections.abc import Iterable, Mapping

from lambdas.subscriptions.model import Subscription
from lambdas.subscriptions.topics import TOPICS, Topic, TopicState, attribute

# The reconciler compares the table with Twitch's list every 5 minutes; after three runs without it, a watch
# compares for itself before it believes that a topic is subscribed.
TRUSTED_SECONDS = 15 * 60


@dataclasses.dataclass(frozen=True, slots=True)
class Observation:
    """What Twitch's list says of one channel.

    ``states`` are by topic key. ``surplus`` are the subscriptions that should not be there: dead ones, and
    those of a topic that has a better one.
    """

    states: Mapping[str, TopicState]
    surplus: list[Subscription]


def observe(
    subscriptions: Iterable[Subscription], streamer_id: str, callback: str, known: Mapping[str, TopicState]
) -> Observation:
    """Sort out the subscriptions of a channel that lead to ``callback``; the others are not ours.

    Where a topic has several, a live one counts before a dead one, then the one that is already ``known``.
    """
    ours: dict[str, list[Subscription]] = {}
    for subscription in subscriptions:
        match = attribute(subscription.type, subscription.version, subscription.condition)
        if match is not None and match[1] == streamer_id and subscription.callback == callback:
            ours.setdefault(match[0].key, []).append(subscription)
    states: dict[str, TopicState] = {}
    surplus: list[Subscription] = []
    for key, candidates in ours.items():
        known_id = known[key].subscription_id if key in known else None
        candidates.sort(key=lambda candidate: (not _state(candidate).live, candidate.id != known_id))
        states[key] = _state(candidates[0])
        surplus += candidates[1:] if states[key].live else candidates
    return Observation(states, surplus)


def needs_verification(known: Mapping[str, TopicState], verified_at: int, now: int) -> bool:
    """Whether a watch must ask Twitch how the known topics stand (times in epoch seconds)."""
    live = [state for state in known.values() if state.live]
    overdue = now - verified_at > TRUSTED_SECONDS
    return any(state.status == "pending" or overdue for state in live)


def verified(known: Mapping[str, TopicState], observed: Mapping[str, TopicState]) -> dict[str, TopicState]:
    """The states after a look at Twitch's list: what it shows is so, and what is live but not shown is lost.

    States that are not live and not shown stay: the reason why a topic is revoked outlives its subscription.
    """
    lost = {
        key: TopicState("failed", None, "lost_at_twitch") if state.live else state
        for key, state in known.items()
    }
    return {**lost, **observed}


def unseen(known: Mapping[str, TopicState], subscriptions: Iterable[Subscription]) -> bool:
    """Whether a live topic's subscription is not in the list, which may be older than the subscription."""
    listed = {subscription.id for subscription in subscriptions}
    return any(state.live and state.subscription_id not in listed for state in known.values())


def to_create(states: Mapping[str, TopicState]) -> list[Topic]:
    """The topics that need nobody's consent and have no live subscription."""
    return [
        topic
        for topic in TOPICS
        if topic.consent == "none" and (topic.key not in states or not states[topic.key].live)
    ]


def _state(subscription: Subscription) -> TopicState:
    return TopicState.of(subscription.id, subscription.status)
