"""An update: what a channel's viewers are to be sent."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from lambdas.common.event import Event
from lambdas.live.frames import EncodedEvent, Frame, encode, pack

# An event that could not be sent earlier is not sent any more: the browser reads it from the record.
MAX_AGE_SECONDS = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Update:
    """Events in the order received, whether some were ``missed``, and the content of a topics frame."""

    events: Sequence[EncodedEvent] = ()
    missed: bool = False
    topics: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The update as an entry of an inbox."""
        return {
            "events": [json.loads(event.data) for event in self.events],
            "missed": self.missed,
            "topics": self.topics,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` made. If it cannot be read, for another version made it, it was missed."""
        try:
            events = [EncodedEvent.of(Event.from_dict(fields)) for fields in content["events"]]
            return cls(events, content["missed"], content["topics"])
        except (KeyError, TypeError, ValueError):
            return cls(missed=True)


def combine(updates: Iterable[Update], now: float) -> Update:
    """All updates in one, without events older than 30 s at ``now`` (Unix time) or too large for a frame.

    If it leaves out events, the result is ``missed``.
    """
    updates = list(updates)
    events = [event for update in updates for event in update.events]
    fresh = [
        event for event in events if now - event.created_at.timestamp() <= MAX_AGE_SECONDS and event.fits()
    ]
    topics = [update.topics for update in updates if update.topics is not None]
    return Update(
        fresh,
        missed=any(update.missed for update in updates) or len(fresh) < len(events),
        topics=max(topics, key=lambda content: int(content["version"]), default=None),
    )


def frames(update: Update, most: int) -> list[Frame]:
    """The frames of the update, at most ``most`` of them with events."""
    packed = pack(update.events, missed=update.missed, most=most)
    return packed if update.topics is None else [Frame(encode(update.topics)), *packed]
