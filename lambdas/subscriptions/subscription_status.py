"""How a topic gets from one state to another: one conditional write, one log line, one count."""

import dataclasses
from collections.abc import Callable

from lambdas.common.observability import logger
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.subscription_types import Status, SubscriptionState


@dataclasses.dataclass(frozen=True, slots=True)
class StatusUpdater:
    """Moves topics in ``table``; ``count`` is told each new status."""

    table: ChannelsTable
    count: Callable[[Status], None]

    def move(
        self, streamer_id: str, key: str, before: SubscriptionState | None, after: SubscriptionState, why: str
    ) -> bool:
        """Set a topic's state, and return whether it was set: not if somebody else has moved it meanwhile."""
        if after == before:
            return True
        if not self.table.replace(streamer_id, key, before.subscription_id if before else None, after):
            return False
        self.count(after.status)
        logger.info(
            "A topic changed",
            extra={
                "channel": streamer_id,
                "topic": key,
                "from": before.status if before else "absent",
                "to": after.status,
                "why": why,
                "reason": after.reason,
                "subscription_id": after.subscription_id,
            },
        )
        return True


def metric_name(status: Status) -> str:
    """The metric that counts statuses to a status, e.g. ``TopicsEnabled``."""
    return f"Topics{status.capitalize()}"
