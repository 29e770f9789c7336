"""Decisions about a channel's subscriptions: what Twitch's list means, what is missing, what to delete.

``subscriber`` and the reconciler decide with the same functions, from the same table and Twitch's own list.
So it does not matter which of them comes first, whether both run at once, or where the last one stopped.
"""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from lambdas.common.event import parse_time
from lambdas.subscriptions.model import Grant, Subscription
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES, SubscriptionState, SubscriptionType

# The reconciler compares the table with Twitch's list every 5 minutes. If it has not done so for three runs,
# ``subscriber`` compares.
TRUSTED_SECONDS = 15 * 60
# Twitch sends its challenge at once. After this, a watch makes ``subscriber`` ask for the result.
CHALLENGE_SECONDS = 5
# After so long without an answer a challenge has failed.
PENDING_SECONDS = 10 * 60

# What has failed is tried again after this, then after twice as long each time up to the second, and in each
# case up to twice as late, by chance: what Twitch refuses for a lasting reason, and what may soon work.
LASTING_RETRY_SECONDS = 4 * 60, 24 * 60 * 60
TRANSIENT_RETRY_SECONDS = 30, 30 * 60

# Shares of Twitch's cost budget. Above the first, subscriptions are given up until no more than the second is
# used, which leaves room for new channels. They are restored while no more than the third is used.
LIMIT_ABOVE, LIMIT_TO, RESTORE_TO = 0.95, 0.90, 0.85

# The priority of the subscriptions without which a channel cannot be watched.
ESSENTIAL = 1

# Why a subscription that was given up for the budget is absent.
LIMITED = "limited"

# Twitch's statuses for a subscription that ended because the consent for it did.
CONSENT_ENDED = frozenset({"authorization_revoked", "moderator_removed", "user_removed"})


@dataclasses.dataclass(frozen=True, slots=True)
class Classification:
    """What Twitch's list says of one channel.

    ``states`` are by the subscription type's key. ``surplus`` are the subscriptions to delete: dead ones, and
    those of a type that has a better one. ``outdated`` are the keys of the types that Twitch delivers to a
    former callback only: they need a subscription to the current one before the former one may be deleted.
    """

    states: Mapping[str, SubscriptionState]
    surplus: list[Subscription]
    outdated: frozenset[str]


def classify(
    subscriptions: Iterable[Subscription], callback: str, known: Mapping[str, SubscriptionState], now: int
) -> Classification:
    """Sort a channel's subscriptions, all of which are ours.

    ``callback`` is where Twitch is to deliver now, the secret's version included. Of several subscriptions of
    one type, an enabled one comes before a pending one, then one to ``callback`` before the others, then the
    one that is already ``known``.
    """
    by_key: dict[str, list[Subscription]] = {}
    for subscription in subscriptions:
        target = subscription.target
        if target is not None:
            by_key.setdefault(target.subscription_type.key, []).append(subscription)
    states: dict[str, SubscriptionState] = {}
    surplus: list[Subscription] = []
    outdated: set[str] = set()
    for key, candidates in by_key.items():
        known_id = known[key].subscription_id if key in known else None
        ranked = sorted(candidates, key=lambda one: _rank(one, callback, known_id, now))
        best = states[key] = _state(ranked[0], now)
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
    return Classification(states, surplus, frozenset(outdated))


def merge_states(
    known: Mapping[str, SubscriptionState], listed: Mapping[str, SubscriptionState]
) -> dict[str, SubscriptionState]:
    """The known states, corrected by those that Twitch lists; what is live but not listed is lost.

    States that are not live and not listed stay: the reason of a revocation outlives the subscription.
    """
    lost = {
        key: SubscriptionState("failed", None, "lost_at_twitch") if state.live else state
        for key, state in known.items()
    }
    return {**lost, **listed}


def needs_verification(known: Mapping[str, SubscriptionState], verified_at: int, now: int) -> bool:
    """Whether the known states must be compared with Twitch's list (times in epoch seconds)."""
    age = now - verified_at
    trusted = {"enabled": TRUSTED_SECONDS, "pending": CHALLENGE_SECONDS}
    return any(age > trusted[state.status] for state in known.values() if state.live)


def unlisted(
    known: Mapping[str, SubscriptionState], subscriptions: Iterable[Subscription]
) -> dict[str, SubscriptionState]:
    """The live states whose subscription the list lacks: it may have been made after the list was read."""
    listed = {subscription.id for subscription in subscriptions}
    return {key: state for key, state in known.items() if state.live and state.subscription_id not in listed}


def usable_grants(
    subscription_type: SubscriptionType, streamer_id: str, grants: Iterable[Grant]
) -> list[Grant]:
    """The grants that allow a subscription of this type, the streamer's own first, then the latest first."""
    usable = [
        grant
        for grant in grants
        if subscription_type.scope in grant.scopes
        and (subscription_type.consent == "moderator" or grant.grantor_id == streamer_id)
    ]
    return sorted(usable, key=lambda grant: (grant.grantor_id != streamer_id, -grant.granted_at))


def apply_consent(
    states: Mapping[str, SubscriptionState], streamer_id: str, grants: Sequence[Grant]
) -> dict[str, SubscriptionState]:
    """The states of all subscription types; ``consent_required`` is set where a grant is missing.

    A revoked subscription keeps the reason why it was revoked.
    """
    applied = {}
    for row in SUBSCRIPTION_TYPES:
        state = states.get(row.key, SubscriptionState("absent"))
        if row.consent != "none" and not state.live and not usable_grants(row, streamer_id, grants):
            if state.status != "revoked":
                state = SubscriptionState("absent", None, "consent_required")
        elif state.reason == "consent_required":
            state = SubscriptionState("absent")
        applied[row.key] = state.following(states.get(row.key))
    return applied


def to_create(
    states: Mapping[str, SubscriptionState], streamer_id: str, grants: Sequence[Grant], now: float
) -> Iterator[SubscriptionType]:
    """The types to subscribe now: not live, with consent, within the budget, and not failed lately."""
    for row in SUBSCRIPTION_TYPES:
        state = states.get(row.key, SubscriptionState("absent"))
        consented = row.consent == "none" or usable_grants(row, streamer_id, grants)
        if not state.live and consented and state.reason != LIMITED and state.retry_at <= now:
            yield row


def back_off(
    reason: str,
    before: SubscriptionState | None,
    now: int,
    *,
    transient: bool,
    chance: float,
    at_least: int = 0,
) -> SubscriptionState:
    """The state of a type that failed again.

    ``chance`` is from 0 to 1; ``at_least`` is how many seconds Twitch asked to wait.
    """
    attempts = (before.attempts if before else 0) + 1
    first, longest = TRANSIENT_RETRY_SECONDS if transient else LASTING_RETRY_SECONDS
    wait = round(min(first * 2 ** min(attempts - 1, 20), longest) * (1 + chance))
    return SubscriptionState("failed", None, reason, attempts, now + max(wait, at_least))


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class CostItem:
    """A subscription that uses the cost budget, or would; the smallest in this order is given up last.

    Those of channels without an open connection are given up before all others.
    """

    unwatched: bool
    priority: int
    negative_viewers: int
    streamer_id: str
    key: str
    cost: int = dataclasses.field(compare=False)

    @classmethod
    def of(cls, subscription_type: SubscriptionType, streamer_id: str, viewers: int, cost: int) -> "CostItem":
        """The cost of a subscription of this type for a channel with so many viewers."""
        priority, key = subscription_type.priority, subscription_type.key
        return cls(not viewers, priority, -viewers, streamer_id, key, cost)


def share_budget(
    used: Collection[CostItem], waiting: Collection[CostItem], total_cost: int, max_total_cost: int
) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """The subscriptions to give up for the budget, and the waiting ones to restore.

    Both are as (streamer id, subscription type's key). What nobody is connected to also gives way to what
    somebody who is connected waits for.
    """
    given_up: set[tuple[str, str]] = set()
    restored: set[tuple[str, str]] = set()
    waited_for = sum(item.cost for item in waiting if not item.unwatched)
    too_much = total_cost > LIMIT_ABOVE * max_total_cost
    for item in sorted(used, reverse=True):
        limited = too_much and total_cost > LIMIT_TO * max_total_cost
        gives_way = item.unwatched and total_cost + waited_for > RESTORE_TO * max_total_cost
        if not limited and not (waited_for and gives_way):
            break
        given_up.add((item.streamer_id, item.key))
        total_cost -= item.cost
    for item in sorted(waiting):
        total_cost += item.cost
        if total_cost > RESTORE_TO * max_total_cost:
            break
        restored.add((item.streamer_id, item.key))
    return given_up, restored


def is_shut_out(states: Mapping[str, SubscriptionState]) -> bool:
    """Whether the budget has no room for the channel: nothing is live, and nothing essential may be made."""
    return not any(state.live for state in states.values()) and all(
        states.get(row.key, SubscriptionState("absent")).reason == LIMITED
        for row in SUBSCRIPTION_TYPES
        if row.consent == "none" and row.priority == ESSENTIAL
    )


def _rank(one: Subscription, callback: str, known_id: str | None, now: int) -> tuple[int, bool, bool, str]:
    order = {"enabled": 0, "pending": 1}
    return order.get(_state(one, now).status, 2), one.callback != callback, one.id != known_id, one.created_at


def _is_current(one: Subscription, callback: str, now: int) -> bool:
    return one.callback == callback and _state(one, now).live


def _state(subscription: Subscription, now: int) -> SubscriptionState:
    state = SubscriptionState.from_twitch(subscription.id, subscription.status)
    if state.status == "pending" and now - parse_time(subscription.created_at).timestamp() > PENDING_SECONDS:
        return SubscriptionState.from_twitch(subscription.id, "webhook_callback_verification_failed")
    return state
