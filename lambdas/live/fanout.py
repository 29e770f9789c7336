"""What one invocation of the broadcaster hands to another: frames, and who is to get them.

A ``Chunk`` names its connections. A ``Remainder`` means all connections of a channel from some place in the
registry on: what an invocation hands over that could not finish reading.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Self

from lambdas.common.connections import Connection
from lambdas.common.event import format_json
from lambdas.live.frames import Frame

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_MESSAGE_BYTES = 1024 * 1024
# The connections that one invocation serves: a fifth of a second's budget of posts, and small beside the
# frames in a message.
CHUNK_CONNECTIONS = 2_000


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """These connections of a channel are to get these frames, in this order."""

    streamer_id: str
    frames: Sequence[Frame]
    connections: Sequence[Connection]

    def messages(self) -> Iterator[str]:
        """The chunk as queue messages: one, unless its frames need several."""
        connections = [[each.id, each.renewed_at] for each in self.connections]
        return _messages("chunk", self.streamer_id, self.frames, connections=connections)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read a message. Raises KeyError, TypeError or ValueError if it is none."""
        return cls(
            content["streamer_id"],
            [Frame.from_dict(frame) for frame in content["frames"]],
            [Connection(id_, int(renewed_at)) for id_, renewed_at in content["connections"]],
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Remainder:
    """The connections of a channel that the registry lists after ``after`` are to get these frames."""

    streamer_id: str
    frames: Sequence[Frame]
    after: str

    def messages(self) -> Iterator[str]:
        """The remainder as queue messages: one, unless its frames need several."""
        return _messages("remainder", self.streamer_id, self.frames, after=self.after)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read a message. Raises KeyError, TypeError or ValueError if it is none."""
        return cls(
            content["streamer_id"],
            [Frame.from_dict(frame) for frame in content["frames"]],
            content["after"],
        )


def _messages(type_: str, streamer_id: str, frames: Sequence[Frame], **to_whom: Any) -> Iterator[str]:
    fields = format_json({"type": type_, "streamer_id": streamer_id, **to_whom})
    # The frames are JSON already.
    head, tail = fields.removesuffix("}") + ',"frames":[', "]}"
    packed: list[str] = []
    size = len(head) + len(tail)
    for frame in frames:
        if packed and size + len(packed) + len(frame.data) > MAX_MESSAGE_BYTES:
            yield head + ",".join(packed) + tail
            packed, size = [], len(head) + len(tail)
        packed.append(frame.data.decode())
        size += len(frame.data)
    yield head + ",".join(packed) + tail
