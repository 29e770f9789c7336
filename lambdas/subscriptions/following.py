"""Following a channel: make sure that Twitch delivers its topics."""

import dataclasses
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from lambdas.common.observability import logger
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.helix import (
    ConflictError,
    Helix,
    HelixError,
    TransientError,
)
from lambdas.subscriptions.model import Channel, Subscription
from lambdas.subscriptions.plan import needs_verification, observe, to_create, verified
from lambdas.subscriptions.topics import Topic, TopicState

Outcome = Subscription | HelixError


@dataclasses.dataclass(frozen=True, slots=True)
class Following:
    """How a channel's topics stand, by topic key, and how many subscriptions were made for it just now."""

    topics: Mapping[str, TopicState]
    created: int


def follow(
    helix: Helix,
    table: ChannelsTable,
    channel: Channel,
    *,
    callback: str,
    load_secret: Callable[[], str],
    now: int,
) -> Following:
    """Subscribe the topics of a channel that are not subscribed yet.

    ``load_secret`` gives the secret that Twitch is to sign with, and is called only if something is missing.
    ``now`` is in epoch seconds. A topic that cannot be subscribed fails with its reason and does not keep the
    others from working. Raises TransientError if not one topic works because Twitch is busy or away.
    """
    record = table.watch(channel, now)
    known = record.topics
    look = needs_verification(known, record.verified_at, now)
    if look:
        known = verified(known, _observed(helix, channel.id, callback, known))
    outcomes = _create(helix, channel.id, to_create(known), callback, load_secret)
    made = {
        key: TopicState.of(outcome.id, outcome.status)
        for key, outcome in outcomes.items()
        if isinstance(outcome, Subscription)
    }
    errors = {key: outcome for key, outcome in outcomes.items() if isinstance(outcome, HelixError)}
    adopted, errors = _adopt(helix, channel.id, callback, known, errors)
    failed = {key: TopicState("failed", None, error.reason) for key, error in errors.items()}

    found = {key: state for key, state in known.items() if state != record.topics.get(key)} | adopted | made
    if look or found:
        table.record(channel.id, found, verified_at=now)
    for key, state in failed.items():
        before = known.get(key)
        table.replace(channel.id, key, before.subscription_id if before else None, state)

    topics = {**known, **found, **failed}
    transient = [error for error in errors.values() if isinstance(error, TransientError)]
    if transient and not any(state.live for state in topics.values()):
        raise max(transient, key=lambda error: error.retry_after)
    return Following(topics, created=len(made))


def _observed(
    helix: Helix, streamer_id: str, callback: str, known: Mapping[str, TopicState]
) -> Mapping[str, TopicState]:
    pages = helix.list_subscriptions(user_id=streamer_id)
    subscriptions = [subscription for page in pages for subscription in page.subscriptions]
    return observe(subscriptions, streamer_id, callback, known).states


def _create(
    helix: Helix, streamer_id: str, topics: list[Topic], callback: str, load_secret: Callable[[], str]
) -> dict[str, Outcome]:
    """Create the subscriptions side by side: one after the other, a viewer would wait for all of them."""
    if not topics:
        return {}
    secret = load_secret()

    def create(topic: Topic) -> Outcome:
        try:
            return helix.create_subscription(
                topic.event_type, topic.version, topic.condition(streamer_id), callback, secret
            )
        except HelixError as error:
            return error

    with ThreadPoolExecutor(max_workers=len(topics)) as executor:
        outcomes = dict(zip((topic.key for topic in topics), executor.map(create, topics), strict=True))
    for key, outcome in outcomes.items():
        if isinstance(outcome, HelixError) and not isinstance(outcome, ConflictError):
            logger.warning(
                "A topic could not be subscribed",
                extra={"streamer_id": streamer_id, "topic": key, "reason": outcome.reason},
                exc_info=outcome,
            )
    return outcomes


def _adopt(
    helix: Helix,
    streamer_id: str,
    callback: str,
    known: Mapping[str, TopicState],
    errors: Mapping[str, HelixError],
) -> tuple[dict[str, TopicState], dict[str, HelixError]]:
    """Find the subscriptions that exist already, and return their states and the errors that remain.

    They are made by a watch that runs at the same time, or by one that stopped before it could record them.
    """
    conflicts = {key for key, error in errors.items() if isinstance(error, ConflictError)}
    if not conflicts:
        return {}, dict(errors)
    try:
        observed = _observed(helix, streamer_id, callback, known)
    except HelixError as error:
        return {}, {key: error if key in conflicts else errors[key] for key in errors}
    adopted = {key: observed[key] for key in conflicts if key in observed}
    return adopted, {key: error for key, error in errors.items() if key not in adopted}
