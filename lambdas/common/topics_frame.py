"""The news that a channel's topics stand otherwise than before, on its way to whoever watches the channel.

It goes straight to the broadcast queue: it is no event, so it has no place on the topic ``events``, from
which events are recorded.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from lambdas.common.event import format_json

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


@dataclasses.dataclass(frozen=True, slots=True)
class TopicsFrame:
    """How all topics of a channel stand now: ``topics`` as in a watch's answer."""

    streamer_id: str
    topics: Sequence[Mapping[str, Any]]

    def to_json(self) -> str:
        """The message as one compact JSON object."""
        return format_json({"type": "topics", "streamer_id": self.streamer_id, "topics": self.topics})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read the message that ``to_json`` wrote. Raises KeyError if it is none."""
        return cls(content["streamer_id"], content["topics"])

    def frame(self) -> bytes:
        """The WebSocket frame for the channel's viewers."""
        return format_json({"type": "topics", "topics": self.topics}).encode()


def send(client: "SQSClient", queue_url: str, change: TopicsFrame, delay_seconds: int = 0) -> None:
    """Put the change into the broadcast queue, to be told after so many seconds."""
    client.send_message(QueueUrl=queue_url, MessageBody=change.to_json(), DelaySeconds=delay_seconds)
