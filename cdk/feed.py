"""What hangs off the topic of events: a queue for one consumer, or a function, by type of message."""

from aws_cdk import Duration
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from cdk.output import output
from cdk.queue import Queue
from cdk.settings import Settings


class Feed(Queue):
    """A queue of the topic's notifications for one consumer."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        topic: sns.ITopic,
        name: str,
        max_receive_count: int,
        visibility_timeout: Duration,
    ) -> None:
        """As for ``Queue``."""
        super().__init__(
            scope,
            id_,
            settings,
            name=name,
            max_receive_count=max_receive_count,
            visibility_timeout=visibility_timeout,
        )
        output(self, f"{name.capitalize()}QueueUrl", self.queue.queue_url)
        output(self, f"{name.capitalize()}DeadLetterQueueUrl", self.dead_letters.queue_url)
        topic.add_subscription(
            subscriptions.SqsSubscription(
                self.queue,
                raw_message_delivery=True,
                filter_policy=message_types("notification"),
                # For what SNS cannot deliver to the queue, too.
                dead_letter_queue=self.dead_letters,
            )
        )


def message_types(*allowed: str) -> dict[str, sns.SubscriptionFilter]:
    """The filter policy that lets messages of these types pass."""
    return {"message_type": sns.SubscriptionFilter.string_filter(allowlist=[*allowed])}
