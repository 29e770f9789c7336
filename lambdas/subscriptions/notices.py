"""What a notice of Twitch's about one subscription means for its topic."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from lambdas.common.observability import logger
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.plan import WITHDRAWN, settle
from lambdas.subscriptions.subscription_status import StatusUpdater
from lambdas.subscriptions.subscription_types import SubscriptionState, attribute

VERIFIED = "verified"


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """A challenge that was answered, or a revocation.

    ``subscription`` is Twitch's object; its status tells which of the two. ``sent_at`` is in epoch seconds.
    https://dev.twitch.tv/docs/eventsub/handling-webhook-events/#revoking-your-subscription
    """

    subscription: Mapping[str, Any]
    sent_at: int


def notice(
    statuses: StatusUpdater, grants: GrantsTable, news: Notice
) -> tuple[str, Mapping[str, SubscriptionState]] | None:
    """Note what a notice says, and return the channel's id and states, if they are to be told to viewers.

    Of many challenges that are answered at once, only the last ones are told: the table has them all then.
    A notice is late if the topic has another subscription by now, and early if the call that creates its
    subscription has not returned yet: the first changes nothing, the second counts.
    """
    subscription = news.subscription
    match = attribute(subscription["type"], subscription["version"], subscription["condition"])
    if match is None:
        logger.warning("A notice of an unknown topic", extra={"subscription": subscription})
        return None
    topic, streamer_id, grantor_id = match
    record = statuses.table.get(streamer_id)
    before = record.topics.get(topic.key) if record else None
    change = _change(
        subscription["id"], SubscriptionState.of(subscription["id"], subscription["status"]), before
    )
    if record is None or change is None:
        logger.info("A notice that changes nothing", extra={"channel": streamer_id, "topic": topic.key})
        return None
    after, why = change
    if topic.scope is not None and after.reason in WITHDRAWN:
        grants.withdraw(streamer_id, grantor_id, news.sent_at)
    if not statuses.move(streamer_id, topic.key, before, after, why):
        return None
    record = statuses.table.get(streamer_id) or record
    if why == VERIFIED and any(state.status == "pending" for state in record.topics.values()):
        return None
    return streamer_id, settle(record.topics, streamer_id, grants.of(streamer_id))


def _change(
    subscription_id: str, told: SubscriptionState, before: SubscriptionState | None
) -> tuple[SubscriptionState, str] | None:
    """What a topic becomes by what is told of a subscription, and why; None if that changes nothing."""
    about_it = before is not None and before.subscription_id == subscription_id
    if told.status != "pending":
        return (told, "revoked") if about_it else None
    if before is not None and before.live and not about_it:
        # It is to replace another one: the reconciler sees to that.
        return None
    after = SubscriptionState("enabled", subscription_id)
    return (after, VERIFIED) if after != before else None
