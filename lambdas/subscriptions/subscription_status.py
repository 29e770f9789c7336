"""Changes of a subscription's state: each is one conditional write, one log line and one count."""

import dataclasses
from collections.abc import Callable

from lambdas.common.aws import Client
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.topics_frame import TopicsFrame, send
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.plan import apply_consent
from lambdas.subscriptions.subscription_types import Status, SubscriptionState, summarize

# Changed states are sent twice: when a WebSocket that follows a watch has had time to open, and when every
# ticket that was issued with older states has expired (lambdas/common/tickets.py).
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
        after = after.following(before)
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


@dataclasses.dataclass(frozen=True, slots=True)
class Announcer:
    """Tells viewers the states of a channel's subscriptions; ``queue_url`` is the broadcast queue's."""

    table: ChannelsTable
    grants: GrantsTable
    sqs: Client
    queue_url: str

    def tell(self, streamer_id: str, *, settled: bool = False) -> None:
        """Send a channel's viewers the states if they have changed since viewers were last told.

        That is stored after they were sent: whoever comes next makes up for a call that failed. With
        ``settled``, nothing is sent while a challenge is awaited: its answer comes within a second, and
        viewers get one frame, not one for each type. Raises AwsError.
        """
        record = self.table.get(streamer_id)
        if record is None or record.told >= record.revision:
            return
        if settled and any(state.status == "pending" for state in record.states.values()):
            return
        states = apply_consent(record.states, streamer_id, self.grants.for_channel(streamer_id))
        frame = TopicsFrame(streamer_id, summarize(states), record.revision)
        for delay in DELAYS_SECONDS:
            send(self.sqs, self.queue_url, frame, delay)
        self.table.record_told(streamer_id, record.revision)
