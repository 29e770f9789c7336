"""Moving Twitch's subscriptions towards the wanted ones: those of watched channels."""

import dataclasses
from collections.abc import Callable, Iterable

from lambdas.common.observability import logger
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.helix import Helix, RateLimitedError
from lambdas.subscriptions.model import Subscription
from lambdas.subscriptions.plan import observe, unseen, verified
from lambdas.subscriptions.topics import attribute


@dataclasses.dataclass(slots=True)
class Report:
    """What a run found and did: channels with subscriptions, those that failed, and costs in Twitch's points.

    A run that Twitch's rate limit cut short has ``complete`` False; the next one goes on.
    """

    channels: int = 0
    failed: int = 0
    deleted: int = 0
    total_cost: int = 0
    max_total_cost: int = 0
    complete: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Reconciler:
    """What a run works with.

    ``anyone_watching`` tells whether a viewer's connection to the channel is open. A channel is given up when
    nobody is connected and nobody watched it for ``grace_seconds``. Only subscriptions that lead to
    ``callback`` are touched: other stages may share the Twitch application.
    """

    helix: Helix
    table: ChannelsTable
    anyone_watching: Callable[[str], bool]
    callback: str
    grace_seconds: int

    def run(self, now: int) -> Report:
        """Go through Twitch's list once, channel by channel; ``now`` is in epoch seconds.

        A channel that fails is logged and left to the next run. Raises TransientError if the list itself
        cannot be read.
        """
        report = Report()
        channels, unknown = self._sort(report)
        report.channels = len(channels)
        try:
            self._delete(unknown, "unknown_topic", report)
            for streamer_id, subscriptions in channels.items():
                self._isolated(streamer_id, subscriptions, now, report)
        except RateLimitedError as error:
            report.complete = False
            logger.warning("Twitch wants no more requests for now", extra={"retry_after": error.retry_after})
        return report

    def _sort(self, report: Report) -> tuple[dict[str, list[Subscription]], list[Subscription]]:
        """Our subscriptions by streamer, and those of topics that are not in the table (any more)."""
        channels: dict[str, list[Subscription]] = {}
        unknown: list[Subscription] = []
        for page in self.helix.list_subscriptions():
            report.total_cost, report.max_total_cost = page.total_cost, page.max_total_cost
            for subscription in page.subscriptions:
                if subscription.callback != self.callback:
                    continue
                match = attribute(subscription.type, subscription.version, subscription.condition)
                if match is None:
                    unknown.append(subscription)
                else:
                    channels.setdefault(match[1], []).append(subscription)
        return channels, unknown

    def _isolated(self, streamer_id: str, listed: list[Subscription], now: int, report: Report) -> None:
        try:
            self._reconcile(streamer_id, listed, now, report)
        except RateLimitedError:
            raise
        except Exception:
            # Whatever is wrong with this channel, the others must not wait for it.
            report.failed += 1
            logger.exception("A channel could not be reconciled", extra={"streamer_id": streamer_id})

    def _reconcile(self, streamer_id: str, listed: list[Subscription], now: int, report: Report) -> None:
        watched = self.anyone_watching(streamer_id)
        if not watched and self.table.retire(streamer_id, not_watched_since=now - self.grace_seconds):
            self._delete(listed, "not_watched", report)
            listed = []
        # A watch that came while its subscriptions were being deleted has made a record again, and finds
        # below that they are lost, so that the next watch subscribes anew.
        record = self.table.get(streamer_id)
        if record is None:
            return
        if unseen(record.topics, listed):
            # Some subscriptions may be younger than the list.
            pages = self.helix.list_subscriptions(user_id=streamer_id)
            listed = [subscription for page in pages for subscription in page.subscriptions]
        observation = observe(listed, streamer_id, self.callback, record.topics)
        for key, state in verified(record.topics, observation.states).items():
            before = record.topics.get(key)
            if state != before:
                self.table.replace(streamer_id, key, before.subscription_id if before else None, state)
        self._delete(observation.surplus, "dead_or_duplicate", report)
        self.table.vouch(streamer_id, now, watched=watched)

    def _delete(self, subscriptions: Iterable[Subscription], why: str, report: Report) -> None:
        for subscription in subscriptions:
            self.helix.delete_subscription(subscription.id)
            report.deleted += 1
            logger.info(
                "Subscription deleted",
                extra={
                    "subscription_id": subscription.id,
                    "event_type": subscription.type,
                    "condition": subscription.condition,
                    "status": subscription.status,
                    "why": why,
                },
            )
