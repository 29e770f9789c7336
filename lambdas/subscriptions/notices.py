"""What Twitch's notices about subscriptions mean for the channels table."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from lambdas.common.observability import logger
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.plan import CONSENT_ENDED, apply_consent
from lambdas.subscriptions.subscription_status import StatusUpdater
from lambdas.subscriptions.subscription_types import SubscriptionState, find_target

# Why a subscription becomes enabled: its challenge was answered.
VERIFIED = "verified"


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """Twitch verifies a subscription's callback, or revokes a subscription.

    ``subscription`` is Twitch's object; its status says which of the two. ``sent_at`` is in epoch seconds.
    https://dev.twitch.tv/docs/eventsub/handling-webhook-events/#revoking-your-subscription
    """

    subscription: Mapping[str, Any]
    sent_at: int


def apply_notice(
    statuses: StatusUpdater, grants: GrantsTable, notice: Notice
) -> tuple[str, Mapping[str, SubscriptionState], int] | None:
    """Store what a notice says. Returns the channel's id, states and revision if viewers are to get them.

    When many challenges are answered at once, viewers get only the last states: the table has them all then.
    A notice is late if the table has another subscription of that type by now: it changes nothing. It is
    early if the call that creates the subscription has not returned yet: it counts.
    """
    subscription = notice.subscription
    target = find_target(subscription["type"], subscription["version"], subscription["condition"])
    if target is None:
        logger.warning("A notice of an unknown subscription type", extra={"subscription": subscription})
        return None
    subscription_type, streamer_id, grantor_id = target
    key = subscription_type.key
    record = statuses.table.get(streamer_id)
    before = record.states.get(key) if record else None
    change = _change(
        subscription["id"], SubscriptionState.from_twitch(subscription["id"], subscription["status"]), before
    )
    if record is None or change is None:
        extra = {"channel": streamer_id, "subscription_type": key}
        logger.info("A notice that changes nothing", extra=extra)
        return None
    after, why = change
    if subscription_type.scope is not None and after.reason in CONSENT_ENDED:
        grants.remove_scopes(streamer_id, grantor_id, notice.sent_at)
    if not statuses.update(streamer_id, key, before, after, why):
        return None
    record = statuses.table.get(streamer_id) or record
    if why == VERIFIED and any(state.status == "pending" for state in record.states.values()):
        return None
    states = apply_consent(record.states, streamer_id, grants.for_channel(streamer_id))
    return streamer_id, states, record.revision


def _change(
    subscription_id: str, noticed: SubscriptionState, before: SubscriptionState | None
) -> tuple[SubscriptionState, str] | None:
    """The new state after a notice about a subscription, and why; None if nothing changes."""
    is_known = before is not None and before.subscription_id == subscription_id
    if noticed.status != "pending":
        return (noticed, "revoked") if is_known else None
    if before is not None and before.live and not is_known:
        # A replacement: the reconciler switches to it.
        return None
    after = SubscriptionState("enabled", subscription_id)
    return (after, VERIFIED) if after != before else None
