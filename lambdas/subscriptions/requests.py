"""Requests to subscribe what a channel lacks: messages of the queue ``subscribe``.

A channel has one request at a time, moderators' aside: its ``asked_until`` in the channels table is a claim.
It ends when nothing is due within 15 minutes, and some time after a request that got lost. Until then
``subscriber`` sends the request again, delayed until it is due. What is due later the reconciler requests.
"""

import dataclasses
import json
from typing import Any, Self

from lambdas.common.aws import Client
from lambdas.subscriptions.channels import ChannelRecord, ChannelsTable
from lambdas.subscriptions.model import Grant
from lambdas.subscriptions.subscription_types import MODERATOR_SCOPES

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
LONGEST_DELAY_SECONDS = 15 * 60
# A request that was not answered so long after it was due is lost.
LOST_SECONDS = 5 * 60


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A request for a channel.

    ``compare`` asks to compare the table with Twitch's list first; ``urgent`` is one that must not wait,
    since subscriptions deliver twice until then. ``moderator`` is a grant that a sign-in does not prove:
    whoever signed in may moderate the channel or not. Only what it may allow is tried then.
    """

    streamer_id: str
    compare: bool = False
    urgent: bool = False
    moderator: Grant | None = None

    def to_json(self) -> str:
        """The message."""
        fields: dict[str, Any] = {
            "streamer_id": self.streamer_id,
            "compare": self.compare,
            "urgent": self.urgent,
        }
        if self.moderator is not None:
            fields["moderator"] = [self.moderator.grantor_id, self.moderator.granted_at]
        return json.dumps(fields)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        fields = json.loads(text)
        moderator = None
        if "moderator" in fields:
            grantor_id, granted_at = fields["moderator"]
            moderator = Grant(grantor_id, granted_at, MODERATOR_SCOPES)
        return cls(fields["streamer_id"], fields["compare"], fields["urgent"], moderator)


class Requests:
    """Sends requests to the queue; ``table`` has the claims."""

    def __init__(self, sqs: Client, queue_url: str, table: ChannelsTable) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._table = table

    def ask(self, record: ChannelRecord, request: Request, now: int) -> None:
        """Send the request, unless the channel has one already. Raises AwsError."""
        if record.asked_until <= now and self._table.claim(request.streamer_id, now, now + LOST_SECONDS):
            self.send(request)

    def send(self, request: Request, delay_seconds: int = 0) -> None:
        """Send the request, to be received after so many seconds. Raises AwsError."""
        message = {
            "QueueUrl": self._queue_url,
            "MessageBody": request.to_json(),
            "DelaySeconds": delay_seconds,
        }
        self._sqs.call("SendMessage", message)
