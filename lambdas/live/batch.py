"""The messages of a batch by kind: updates for channels, and requests to serve a part of an audience."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from lambdas.common.event import Event, MalformedEventError, format_json
from lambdas.common.topics_frame import TopicsFrame
from lambdas.live.frames import EncodedEvent
from lambdas.live.parts import MOST_PARTS, Part
from lambdas.live.update import Update


@dataclasses.dataclass(frozen=True, slots=True)
class ServePart:
    """A request to serve a part of an audience, sent through the queue ``fan-out``.

    ``token`` is that of the part's lease, if it was taken for this request already. An invocation whose time
    is up hands over two more things: ``rotation``, how far it came, and ``per_second``, the rate of posts
    that it found (0: none).
    """

    part: Part
    token: str = ""
    rotation: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    per_second: float = 0.0

    def to_json(self) -> str:
        """The queue message."""
        fields = {"type": "part", "part": dataclasses.asdict(self.part), "token": self.token}
        return format_json({**fields, "rotation": self.rotation, "per_second": self.per_second})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ServePart":
        """Read what ``to_json`` wrote. Raises KeyError, TypeError or ValueError if it is something else."""
        part, rotation = Part(**content["part"]), content["rotation"]
        request = cls(part, content["token"], rotation, content["per_second"])
        if not (
            isinstance(part.streamer_id, str)
            and part.streamer_id
            and type(part.index) is type(part.of) is int
            and 0 <= part.index < part.of <= MOST_PARTS
            and isinstance(request.token, str)
            and rotation.keys() <= {"place", "added"}
            and isinstance(rotation.get("place", ""), str)
            and all(_is_place(*added) for added in rotation.get("added", {}).values())
            and type(request.per_second) in {int, float}
            and 0 <= request.per_second < math.inf
        ):
            raise ValueError("a field of the request has another type or an impossible value")
        return request


def _is_place(round_: Any, place: Any) -> bool:
    """Whether they say where an update was added (``Rotation.handed_over``)."""
    return type(round_) is int and isinstance(place, str)


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """What is in a batch's messages.

    ``updates`` and the ids of their messages are by streamer id, in the order received. ``requests``, and
    ``refused`` with what is wrong with each message, are by message id.
    """

    updates: dict[str, list[Update]] = dataclasses.field(default_factory=dict)
    message_ids: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    requests: dict[str, ServePart] = dataclasses.field(default_factory=dict)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)


def parse_batch(records: Iterable[dict[str, Any]]) -> Batch:
    """Parse an SQS event's records. A message that cannot be parsed is refused, the others are not."""
    batch = Batch()
    for record in records:
        message_id = record["messageId"]
        try:
            _add(batch, message_id, json.loads(record["body"]))
        except MalformedEventError as error:
            batch.refused[message_id] = str(error)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            batch.refused[message_id] = f"not a message: {error!r}"
    return batch


def _add(batch: Batch, message_id: str, content: Any) -> None:
    match content.get("type"):
        case "part":
            batch.requests[message_id] = ServePart.from_dict(content)
            return
        case "topics":
            topics = TopicsFrame.from_dict(content)
            streamer_id, update = topics.streamer_id, Update(topics=topics.frame())
        case _:
            event = Event.from_dict(content)
            streamer_id, update = event.streamer_id, Update([EncodedEvent.of(event)])
    batch.updates.setdefault(streamer_id, []).append(update)
    batch.message_ids.setdefault(streamer_id, []).append(message_id)
