"""A batch of queue messages, sorted out: what each channel is to be told, and which parts to serve."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from lambdas.common.event import Event, MalformedEventError, format_json
from lambdas.common.topics_frame import TopicsFrame
from lambdas.live.frames import EncodedEvent
from lambdas.live.news import News
from lambdas.live.parts import Part


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """The call to serve a part, as whoever holds its lease by the token; without one it is to be taken first.

    ``carousel`` is where the part's turn is, and ``per_second`` the rate of posts that was found, or 0.
    """

    part: Part
    token: str = ""
    carousel: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    per_second: float = 0.0

    def to_json(self) -> str:
        """The queue message."""
        fields = {"type": "part", "part": dataclasses.asdict(self.part), "token": self.token}
        return format_json({**fields, "carousel": self.carousel, "per_second": self.per_second})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Call":
        """Read what ``to_json`` wrote. Raises KeyError or TypeError if it is something else."""
        return cls(Part(**content["part"]), content["token"], content["carousel"], content["per_second"])


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """What is in a batch's messages.

    ``news`` and the ids of its messages are by streamer id, in the order received; ``calls`` and ``refused``,
    which says what is wrong, are by message id.
    """

    news: dict[str, list[News]] = dataclasses.field(default_factory=dict)
    message_ids: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    calls: dict[str, Call] = dataclasses.field(default_factory=dict)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)


def sort_out(records: Iterable[dict[str, Any]]) -> Batch:
    """Sort an SQS event's records, so that a bad one fails alone."""
    batch = Batch()
    for record in records:
        message_id = record["messageId"]
        try:
            _sort(batch, message_id, json.loads(record["body"]))
        except MalformedEventError as error:
            batch.refused[message_id] = str(error)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            batch.refused[message_id] = f"not a message: {error!r}"
    return batch


def _sort(batch: Batch, message_id: str, content: Any) -> None:
    match content.get("type"):
        case "part":
            batch.calls[message_id] = Call.from_dict(content)
            return
        case "topics":
            topics = TopicsFrame.from_dict(content)
            streamer_id, news = topics.streamer_id, News(topics=json.loads(topics.frame()))
        case _:
            event = Event.from_dict(content)
            streamer_id, news = event.streamer_id, News([EncodedEvent.of(event)])
    batch.news.setdefault(streamer_id, []).append(news)
    batch.message_ids.setdefault(streamer_id, []).append(message_id)
