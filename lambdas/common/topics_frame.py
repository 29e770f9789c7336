"""The message that sends the changed states of a channel's subscriptions to its viewers.

It goes straight to the broadcast queue, not through the SNS topic ``events``: it must not be recorded.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Self

from lambdas.common.aws import Client
from lambdas.common.event import format_json, is_deep


@dataclasses.dataclass(frozen=True, slots=True)
class TopicsFrame:
    """The states of all event types of a channel: ``topics`` as in a watch's answer.

    Frames may overtake each other: one with a lower ``version`` is older.
    """

    streamer_id: str
    topics: Sequence[Mapping[str, Any]]
    version: int

    def to_json(self) -> str:
        """The message as one compact JSON object."""
        return format_json({"streamer_id": self.streamer_id, **self.frame()})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read the message that ``to_json`` wrote. Raises KeyError or ValueError if it is something else."""
        message = cls(content["streamer_id"], content["topics"], content["version"])
        if not (
            isinstance(message.streamer_id, str)
            and message.streamer_id
            and isinstance(message.topics, list)
            and not is_deep(message.topics)
            and type(message.version) is int
        ):
            raise ValueError("a field of the topics has another type")
        # Raises ValueError for a number that JSON does not have.
        message.to_json()
        return message

    def frame(self) -> dict[str, Any]:
        """The content of the WebSocket frame for the channel's viewers."""
        return {"type": "topics", "topics": self.topics, "version": self.version}


def send(sqs: Client, queue_url: str, message: TopicsFrame, delay_seconds: int = 0) -> None:
    """Put the message into the broadcast queue, to be delivered after so many seconds. Raises AwsError."""
    request = {"QueueUrl": queue_url, "MessageBody": message.to_json(), "DelaySeconds": delay_seconds}
    sqs.call("SendMessage", request)
