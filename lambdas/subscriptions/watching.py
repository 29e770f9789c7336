"""A viewer watches a channel: make sure that Twitch delivers its events."""

import dataclasses
from collections.abc import Mapping, Sequence

from lambdas.common.observability import logger
from lambdas.subscriptions.channels import ChannelRecord, ChannelsTable, Resolution
from lambdas.subscriptions.helix import BudgetExceededError, Helix, HelixError, TransientError
from lambdas.subscriptions.model import Grant
from lambdas.subscriptions.plan import apply_consent, classify, merge_states, needs_verification, to_create
from lambdas.subscriptions.subscriber import Outcome, Subscriber
from lambdas.subscriptions.subscription_types import SubscriptionState, SubscriptionType

# Twitch does not give a login to somebody else until half a year after it was given up.
RESOLVED_SECONDS = 24 * 60 * 60
# The priority of the subscriptions without which a channel cannot be watched.
ESSENTIAL = 1


@dataclasses.dataclass(frozen=True, slots=True)
class WatchResult:
    """The states of a channel's subscriptions now and before, by type key, and how many were created.

    ``states`` are those since ``revision``.
    """

    states: Mapping[str, SubscriptionState]
    before: Mapping[str, SubscriptionState]
    created: int
    revision: int


def resolve_login(helix: Helix, table: ChannelsTable, login: str, now: int) -> Resolution:
    """The channel that has this login, from the table if Twitch has said so within a day.

    If Twitch does not answer, an older entry is used. Raises NoSuchChannelError, TransientError.
    """
    known = table.find_by_login(login)
    if known is not None and now - known.resolved_at < RESOLVED_SECONDS:
        return known
    try:
        return Resolution(helix.get_user(login), now)
    except TransientError:
        if known is None:
            raise
        return known


def watch_channel(
    subscriber: Subscriber, resolution: Resolution, grant: Grant | None, now: int
) -> WatchResult:
    """Create the subscriptions that a channel lacks.

    ``grant`` is what the viewer, having signed in as a streamer, has granted. ``now`` is in epoch seconds. If
    one subscription cannot be created, its state says why, and the others are created all the same.

    Raises BudgetExceededError if Twitch's budget has no room for the channel; what was created for it is
    deleted again. Raises TransientError if no subscription is live because Twitch is busy or unavailable.
    """
    streamer_id = resolution.channel.id
    table = subscriber.statuses.table
    record = table.record_watch(resolution, now)
    if grant is not None and subscriber.grants.record(streamer_id, grant):
        logger.info("A grant was given", extra={"channel": streamer_id, "grantor": grant.grantor_id})
    grants = subscriber.grants.for_channel(streamer_id)
    known, corrected = _known_states(subscriber, streamer_id, record, grants, now)

    wanted = list(to_create(known, streamer_id, grants, now))
    essential = [one for one in wanted if _is_essential(one)]
    outcome = subscriber.subscribe(streamer_id, essential, known, grants, now)
    budget_errors = [error for error in outcome.errors.values() if isinstance(error, BudgetExceededError)]
    if budget_errors and not any(state.live for state in known.values()):
        _undo(subscriber, streamer_id, outcome, now)
        raise budget_errors[0]
    others = [one for one in wanted if not _is_essential(one)]
    rest = subscriber.subscribe(streamer_id, others, known, grants, now)

    states = {**known, **outcome.states, **rest.states}
    errors = [*outcome.errors.values(), *rest.errors.values()]
    transient = [error for error in errors if isinstance(error, TransientError)]
    if transient and not any(state.live for state in states.values()):
        raise max(transient, key=lambda error: error.retry_after)
    created = len(outcome.created) + len(rest.created)
    if created:
        table.record_verified(streamer_id, now, watched=True)
    if not wanted and not corrected:
        return WatchResult(states, record.states, created, record.revision)
    # The table knows of challenges that were answered meanwhile.
    latest = table.get(streamer_id) or record
    return WatchResult({**states, **latest.states}, record.states, created, latest.revision)


def _known_states(
    subscriber: Subscriber, streamer_id: str, record: ChannelRecord, grants: Sequence[Grant], now: int
) -> tuple[Mapping[str, SubscriptionState], bool]:
    """The states before anything is created; compared with Twitch's list if the table may be out of date.

    Returns them with whether the table was corrected.
    """
    known = dict(record.states)
    if needs_verification(known, record.verified_at, now):
        try:
            listed = subscriber.listed(streamer_id, known.values())
        except TransientError as error:
            # Most likely the table is right.
            logger.warning("Twitch's list cannot be read now", extra={"reason": error.reason})
        else:
            callback = subscriber.callback(subscriber.load_secret())
            known = merge_states(known, classify(listed, callback, known, now).states)
            subscriber.statuses.table.record_verified(streamer_id, now, watched=True)
    states = apply_consent(known, streamer_id, grants)
    corrections = {
        key: state
        for key, state in states.items()
        if (key in record.states or state.live) and state != record.states.get(key)
    }
    for key, state in corrections.items():
        why = state.reason or "found"
        subscriber.statuses.update(streamer_id, key, record.states.get(key), state, why)
    return states, bool(corrections)


def _undo(subscriber: Subscriber, streamer_id: str, outcome: Outcome, now: int) -> None:
    """Delete what was just created, and the channel unless somebody else has begun to watch it."""
    for subscription in outcome.created.values():
        try:
            subscriber.helix.delete_subscription(subscription.id)
        except HelixError:
            # The reconciler deletes it, since its channel is not in the table.
            logger.exception("A subscription could not be deleted", extra={"channel": streamer_id})
    subscriber.statuses.table.delete_unwatched(streamer_id, not_watched_since=now + 1)


def _is_essential(subscription_type: SubscriptionType) -> bool:
    return subscription_type.consent == "none" and subscription_type.priority == ESSENTIAL
