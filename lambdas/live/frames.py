"""Frames: how events are packed for the viewers of a channel.

One frame carries as many events as fit, since every post to a connection counts against one account-wide
request budget: https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
"""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Self

from lambdas.common.event import Event, format_json, parse_time

# API Gateway's limit for one frame.
MAX_FRAME_BYTES = 32 * 1024

_HEAD = b'{"type":"events","events":['
_TAIL = b"]}"


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """What is posted to every viewer, encoded once.

    ``event_ids`` are those of the events it carries and ``oldest`` (UTC) is when the first of them happened;
    a frame of another type has none.
    """

    data: bytes
    event_ids: tuple[str, ...] = ()
    oldest: datetime | None = None

    @functools.cached_property
    def sha256(self) -> str:
        """The digest of the data in hexadecimal digits, which every post of the frame is signed with."""
        return hashlib.sha256(self.data).hexdigest()

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """A frame of this content. Raises KeyError or ValueError for events that are none."""
        events = content["events"] if content["type"] == "events" else ()
        return cls(
            format_json(content).encode(),
            tuple(event["id"] for event in events),
            min((parse_time(event["occurred_at"]) for event in events), default=None),
        )


def fits(event: Event) -> bool:
    """Whether a frame can carry the event at all."""
    return len(_HEAD) + len(event.to_json()) + len(_TAIL) <= MAX_FRAME_BYTES


def pack(events: Iterable[Event]) -> Iterator[Frame]:
    """Yield as few frames ``{"type": "events", "events": […]}`` as carry the events in this order.

    Every event must fit into a frame.
    """
    packed: list[Event] = []
    items: list[bytes] = []
    size = len(_HEAD) + len(_TAIL)
    for event in events:
        item = event.to_json().encode()
        if items and size + len(items) + len(item) > MAX_FRAME_BYTES:
            yield _frame(packed, items)
            packed, items, size = [], [], len(_HEAD) + len(_TAIL)
        packed.append(event)
        items.append(item)
        size += len(item)
    if items:
        yield _frame(packed, items)


def _frame(events: list[Event], items: list[bytes]) -> Frame:
    return Frame(
        _HEAD + b",".join(items) + _TAIL,
        tuple(event.id for event in events),
        min(event.occurred_at for event in events),
    )
