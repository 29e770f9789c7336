"""Following a channel: make sure that Twitch delivers its topics."""

import dataclasses
from collections.abc import Mapping, Sequence

from lambdas.common.observability import logger
from lambdas.subscriptions.channels import ChannelsTable, Record, Resolution
from lambdas.subscriptions.helix import BudgetExceededError, Helix, HelixError, TransientError
from lambdas.subscriptions.model import Grant
from lambdas.subscriptions.plan import needs_verification, observe, settle, to_create, verified
from lambdas.subscriptions.subscriber import Outcome, Subscriber
from lambdas.subscriptions.subscription_types import SubscriptionState, SubscriptionType

# Twitch keeps a login that was given up from being taken for half a year.
RESOLVED_SECONDS = 24 * 60 * 60
# The topics that a channel is not worth watching without.
ESSENTIAL = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Following:
    """How a channel's topics stand and stood before, by topic key; how many were subscribed just now."""

    topics: Mapping[str, SubscriptionState]
    before: Mapping[str, SubscriptionState]
    created: int


def resolve(helix: Helix, table: ChannelsTable, login: str, now: int) -> Resolution:
    """The channel that has this login, from the table if Twitch has said so within a day.

    If Twitch cannot be asked, an older answer has to do. Raises NoSuchChannelError, TransientError.
    """
    known = table.find(login)
    if known is not None and now - known.resolved_at < RESOLVED_SECONDS:
        return known
    try:
        return Resolution(helix.get_user(login), now)
    except TransientError:
        if known is None:
            raise
        return known


def follow(subscriber: Subscriber, resolution: Resolution, grant: Grant | None, now: int) -> Following:
    """Subscribe the topics of a channel that are not subscribed yet.

    ``grant`` is what the viewer, having signed in as a streamer, lets Fanfare see. ``now`` is in epoch
    seconds. A topic that cannot be subscribed fails with its reason and keeps no other from working.

    Raises BudgetExceededError if Twitch's budget has no room for the channel, and TransientError if not one
    topic works because Twitch is busy or away. Nothing that was made for the channel is left then.
    """
    streamer_id = resolution.channel.id
    table = subscriber.statuses.table
    record = table.watch(resolution, now)
    if grant is not None and subscriber.grants.record(streamer_id, grant):
        logger.info("A grant was given", extra={"channel": streamer_id, "grantor": grant.grantor_id})
    grants = subscriber.grants.of(streamer_id)
    known = _settled(subscriber, streamer_id, record, grants, now)

    wanted = list(to_create(known, streamer_id, grants, now))
    essential = [topic for topic in wanted if _is_essential(topic)]
    outcome = subscriber.subscribe(streamer_id, essential, known, grants, now)
    no_room = _budget_error(outcome)
    if no_room is not None and not any(state.live for state in known.values()):
        _undo(subscriber, streamer_id, outcome, now)
        raise no_room
    others = [topic for topic in wanted if not _is_essential(topic)]
    rest = subscriber.subscribe(streamer_id, others, known, grants, now)

    topics = {**known, **outcome.states, **rest.states}
    errors = [*outcome.errors.values(), *rest.errors.values()]
    transient = [error for error in errors if isinstance(error, TransientError)]
    if transient and not any(state.live for state in topics.values()):
        raise max(transient, key=lambda error: error.retry_after)
    created = len(outcome.created) + len(rest.created)
    if created:
        table.vouch(streamer_id, now, watched=True)
    return Following(topics, record.topics, created)


def _settled(
    subscriber: Subscriber, streamer_id: str, record: Record, grants: Sequence[Grant], now: int
) -> Mapping[str, SubscriptionState]:
    """How the topics stand before anything is done: as Twitch says, if the table may be out of date."""
    known = dict(record.topics)
    if needs_verification(known, record.verified_at, now):
        try:
            listed = subscriber.listed(streamer_id, known.values())
        except TransientError as error:
            # Most likely it still is as the table says.
            logger.warning("Twitch's list cannot be read now", extra={"reason": error.reason})
        else:
            callback = subscriber.load_secret().callback(subscriber.webhook_url)
            known = verified(known, observe(listed, callback, known, now).states)
            subscriber.statuses.table.vouch(streamer_id, now, watched=True)
    settled = settle(known, streamer_id, grants)
    for key, state in settled.items():
        if key in record.topics or state.live:
            subscriber.statuses.move(streamer_id, key, record.topics.get(key), state, state.reason or "found")
    return settled


def _undo(subscriber: Subscriber, streamer_id: str, outcome: Outcome, now: int) -> None:
    """Delete what was just made, and forget the channel unless somebody else has begun to watch it."""
    for subscription in outcome.created.values():
        try:
            subscriber.helix.delete_subscription(subscription.id)
        except HelixError:
            # The reconciler deletes it: the channel that it belongs to is unknown.
            logger.exception("A subscription could not be deleted", extra={"channel": streamer_id})
    subscriber.statuses.table.retire(streamer_id, not_watched_since=now + 1)


def _budget_error(outcome: Outcome) -> BudgetExceededError | None:
    return next((error for error in outcome.errors.values() if isinstance(error, BudgetExceededError)), None)


def _is_essential(topic: SubscriptionType) -> bool:
    return topic.consent == "none" and topic.priority == ESSENTIAL
