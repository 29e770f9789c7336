"""What Twitch's notices about subscriptions mean for the channels table."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from lambdas.common.observability import logger
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.plan import CONSENT_ENDED
from lambdas.subscriptions.subscription_status import StatusUpdater
from lambdas.subscriptions.subscription_types import SubscriptionState, find_target

# The call that creates a subscription stores it at the same time as Twitch verifies it: what was read is then
# read again.
ATTEMPTS = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """Twitch verifies a subscription's callback, or revokes a subscription.

    ``subscription`` is Twitch's object; its status says which of the two. ``sent_at`` is in ms since 1970.
    https://dev.twitch.tv/docs/eventsub/handling-webhook-events/#revoking-your-subscription
    """

    subscription: Mapping[str, Any]
    sent_at: int

    @property
    def verifies(self) -> bool:
        """Whether it is about a challenge, not about a revocation."""
        return bool(self.subscription["status"] == "webhook_callback_verification_pending")


def apply_notice(statuses: StatusUpdater, grants: GrantsTable, notice: Notice) -> str | None:
    """Store what a notice says; return the channel's id, None if there is none.

    A notice is late if the table has another subscription of that type by now, or knows that it ended after
    the notice was sent: it changes nothing. It is early if the call that creates the subscription has not
    returned yet: it counts. Raises RuntimeError if others change the state each time: SNS sends it again.
    """
    subscription = notice.subscription
    target = find_target(subscription["type"], subscription["version"], subscription["condition"])
    if target is None:
        logger.warning("A notice of an unknown subscription type", extra={"subscription": subscription})
        return None
    subscription_type, streamer_id, grantor_id = target
    key = subscription_type.key
    for _ in range(ATTEMPTS):
        record = statuses.table.get(streamer_id)
        before = record.states.get(key) if record else None
        change = _change(notice, before)
        if record is None or change is None:
            extra = {"channel": streamer_id, "subscription_type": key}
            logger.info("A notice that changes nothing", extra=extra)
            return streamer_id
        after, why = change
        if subscription_type.scope is not None and after.reason in CONSENT_ENDED:
            grants.remove_scopes(streamer_id, grantor_id, notice.sent_at // 1000)
        if statuses.update(streamer_id, key, before, after, why):
            return streamer_id
    raise RuntimeError(f"the state of {key} changes all the time")


def _change(notice: Notice, before: SubscriptionState | None) -> tuple[SubscriptionState, str] | None:
    """The new state after a notice, and why; None if nothing changes."""
    subscription_id = notice.subscription["id"]
    is_known = before is not None and before.subscription_id == subscription_id
    if not notice.verifies:
        after = SubscriptionState.from_twitch(subscription_id, notice.subscription["status"], notice.sent_at)
        return (after, "revoked") if is_known else None
    after = SubscriptionState("enabled", subscription_id, as_of=notice.sent_at)
    if before is None or is_known:
        return (after, "verified") if after != before else None
    # If another is live, this replaces it: the next comparison stores it.
    is_late = before.live or before.as_of >= notice.sent_at
    return None if is_late else (after, "verified")
