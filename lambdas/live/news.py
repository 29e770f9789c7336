"""What a channel's viewers are to be told: events, that there were more, and how its topics stand."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from lambdas.common.event import Event
from lambdas.live.frames import EncodedEvent, Frame, encode, pack

# An event that could not be told earlier is not told any more: the page reads it from the record.
MAX_AGE_SECONDS = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class News:
    """Events in the order received, whether some were ``missed``, and the content of a topics frame."""

    events: Sequence[EncodedEvent] = ()
    missed: bool = False
    topics: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The news as an entry of an inbox."""
        return {
            "events": [event.data.decode() for event in self.events],
            "missed": self.missed,
            "topics": self.topics,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` made."""
        events = [EncodedEvent.of(Event.from_json(text)) for text in content["events"]]
        return cls(events, content["missed"], content["topics"])


def combine(news: Iterable[News], now: float) -> News:
    """All news in one, without events older than 30 s at ``now`` (Unix time) or too large for a frame."""
    news = list(news)
    events = [event for each in news for event in each.events]
    fresh = [
        event for event in events if now - event.created_at.timestamp() <= MAX_AGE_SECONDS and event.fits()
    ]
    topics = [each.topics for each in news if each.topics is not None]
    return News(
        fresh,
        missed=any(each.missed for each in news) or len(fresh) < len(events),
        topics=max(topics, key=lambda content: int(content.get("version", 0)), default=None),
    )


def frames(news: News, most: int) -> list[Frame]:
    """The frames that tell the news, at most ``most`` of them with events."""
    packed = pack(news.events, missed=news.missed, most=most)
    return packed if news.topics is None else [Frame(encode(news.topics)), *packed]
