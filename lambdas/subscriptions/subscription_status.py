"""Changes of a subscription's state: each is one conditional write, one log line and one count."""

import dataclasses
from collections.abc import Callable, Mapping

from lambdas.common.aws import Client
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.topics_frame import TopicsFrame, send
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.subscription_types import Status, SubscriptionState, summarize

# When viewers are sent changed states: once the WebSocket has opened that follows a watch, and once no ticket
# is left (lambdas/common/tickets.py) with whose answer a viewer got older states.
DELAYS_SECONDS = (2, 70)


@dataclasses.dataclass(frozen=True, slots=True)
class StatusUpdater:
    """Changes states in ``table``; ``count`` is called with each new status."""

    table: ChannelsTable
    count: Callable[[Status], None]

    def update(
        self, streamer_id: str, key: str, before: SubscriptionState | None, after: SubscriptionState, why: str
    ) -> bool:
        """Set the state of the subscription type ``key``, and return whether it was set.

        It is not set if another function has changed it meanwhile.
        """
        if after == before:
            return True
        if not self.table.set_state(streamer_id, key, before.subscription_id if before else None, after):
            return False
        self.count(after.status)
        logger.info(
            "A subscription's state changed",
            extra={
                "channel": streamer_id,
                "subscription_type": key,
                "from": before.status if before else "absent",
                "to": after.status,
                "why": why,
                "reason": after.reason,
                "subscription_id": after.subscription_id,
            },
        )
        return True


def count_status(status: Status) -> None:
    """Count a new status in a metric, e.g. ``TopicsEnabled``."""
    metrics.add_metric(f"Topics{status.capitalize()}", MetricUnit.Count, 1)


def send_to_viewers(sqs: Client, queue_url: str, frame: TopicsFrame) -> None:
    """Send a channel's viewers the states, also those who are about to connect. Raises AwsError."""
    for delay in DELAYS_SECONDS:
        send(sqs, queue_url, frame, delay)


def send_if_changed(
    streamer_id: str,
    before: Mapping[str, SubscriptionState],
    after: Mapping[str, SubscriptionState],
    *,
    table: ChannelsTable,
    sqs: Client,
    queue_url: str,
) -> None:
    """Send a channel's viewers the states, by type key, if they see a difference. Raises AwsError.

    What the table has by now comes first: another function may have changed it meanwhile.
    """
    if summarize(after) != summarize(before) and (record := table.get(streamer_id)):
        frame = TopicsFrame(streamer_id, summarize({**after, **record.states}), record.revision)
        send_to_viewers(sqs, queue_url, frame)
