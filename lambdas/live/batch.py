"""A batch of queue messages, sorted out: what goes to which channel, and which messages make no sense."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from lambdas.common.event import Event, MalformedEventError
from lambdas.common.topics_change import TopicsChange
from lambdas.live import frames


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """A queue message that holds an event."""

    id: str
    event: Event


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """``channels`` by streamer id, in the order received; ``topics`` and ``refused`` by message id.

    What is refused comes with what is wrong.
    """

    channels: dict[str, list[Message]]
    topics: dict[str, TopicsChange]
    refused: dict[str, str]


def sort_out(records: Iterable[dict[str, Any]]) -> Batch:
    """Sort an SQS event's records, so that a bad one fails alone."""
    batch = Batch(channels={}, topics={}, refused={})
    for record in records:
        message_id = record["messageId"]
        if change := TopicsChange.from_json(record["body"]):
            batch.topics[message_id] = change
            continue
        try:
            event = Event.from_json(record["body"])
        except MalformedEventError as error:
            batch.refused[message_id] = str(error)
            continue
        if frames.fits(event):
            batch.channels.setdefault(event.streamer_id, []).append(Message(message_id, event))
        else:
            batch.refused[message_id] = "the event is too large for a frame"
    return batch
