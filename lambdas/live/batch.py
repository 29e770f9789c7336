"""A batch of queue messages, sorted out: what goes to which channel, and which messages make no sense."""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from lambdas.common.event import Event, MalformedEventError, format_json
from lambdas.common.topics_frame import TopicsFrame
from lambdas.live import frames
from lambdas.live.fanout import Chunk, Remainder
from lambdas.live.frames import Frame


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """A queue message that holds an event."""

    id: str
    event: Event


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """What is in a batch's messages, in the order received.

    ``channels`` are new events and ``gathered`` those that have waited for company, by streamer id. The rest
    is by message id: ``chunks`` and ``remainders`` are to be sent as they are (what another invocation handed
    over, news of topics), ``refused`` is what is wrong.
    """

    channels: dict[str, list[Message]] = dataclasses.field(default_factory=dict)
    gathered: dict[str, list[Message]] = dataclasses.field(default_factory=dict)
    chunks: dict[str, Chunk] = dataclasses.field(default_factory=dict)
    remainders: dict[str, Remainder] = dataclasses.field(default_factory=dict)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)

    def event_ids(self) -> list[str]:
        """The ids of all events in the batch."""
        messages = [*self.channels.values(), *self.gathered.values()]
        handed_over: list[Chunk | Remainder] = [*self.chunks.values(), *self.remainders.values()]
        return [message.event.id for each in messages for message in each] + [
            event_id for each in handed_over for frame in each.frames for event_id in frame.event_ids
        ]


def sort_out(records: Iterable[dict[str, Any]]) -> Batch:
    """Sort an SQS event's records, so that a bad one fails alone."""
    batch = Batch()
    for record in records:
        message_id = record["messageId"]
        try:
            _sort(batch, message_id, json.loads(record["body"]))
        except MalformedEventError as error:
            batch.refused[message_id] = str(error)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            batch.refused[message_id] = f"not a message: {error!r}"
    return batch


def _sort(batch: Batch, message_id: str, content: Any) -> None:
    match content.get("type") if isinstance(content, dict) else None:
        case "chunk":
            batch.chunks[message_id] = Chunk.from_dict(content)
        case "remainder":
            batch.remainders[message_id] = Remainder.from_dict(content)
        case "topics":
            change = TopicsFrame.from_dict(content)
            batch.remainders[message_id] = Remainder(change.streamer_id, [Frame(change.frame())], after="")
        case "gathered":
            for event in [Event.from_dict(fields) for fields in content["events"]]:
                batch.gathered.setdefault(event.streamer_id, []).append(Message(message_id, event))
        case _:
            event = Event.from_dict(content)
            if not frames.fits(event):
                raise MalformedEventError("the event is too large for a frame")
            batch.channels.setdefault(event.streamer_id, []).append(Message(message_id, event))


def gathered(events: Iterable[Event]) -> str:
    """The queue message by which events of busy channels wait for company."""
    return format_json({"type": "gathered", "events": [event.to_dict() for event in events]})
