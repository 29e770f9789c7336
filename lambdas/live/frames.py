"""Frames: how events are packed for the viewers of a channel.

One frame carries as many events as fit, since every post to a connection counts against one account-wide
request budget: https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

from lambdas.common.event import Event

# API Gateway's limit for one frame, in bytes of UTF-8.
MAX_FRAME_BYTES = 32 * 1024
# More than the site shows; the browser of a viewer who missed some reads them from the record.
MAX_EVENTS = 100

_HEAD = b'{"type":"events","events":['
_TAIL = b"]}"
# The mark ``missed`` says that events were left out: the browser reads the record.
_MISSED_TAIL = b'],"missed":true}'


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """What is posted to viewers, encoded once.

    ``oldest`` (UTC) is when the first of its events happened; a frame without events has none.
    """

    data: bytes
    oldest: datetime | None = None

    @functools.cached_property
    def sha256(self) -> str:
        """The digest of the data in hexadecimal digits, which every post of the frame is signed with."""
        return hashlib.sha256(self.data).hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class EncodedEvent:
    """An event as it is in a frame, with its id and times."""

    id: str
    occurred_at: datetime
    created_at: datetime
    data: bytes

    @classmethod
    def of(cls, event: Event) -> Self:
        """Encode an event."""
        return cls(event.id, event.occurred_at, event.created_at, encode(event.to_dict()))

    def fits(self) -> bool:
        """Whether a frame can carry the event at all."""
        return len(_HEAD) + len(self.data) + len(_MISSED_TAIL) <= MAX_FRAME_BYTES


def encode(content: Mapping[str, Any]) -> bytes:
    """Compact JSON in UTF-8. A lone surrogate has no encoding and stays the escape that it was."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.encode(errors="backslashreplace")


def pack(events: Sequence[EncodedEvent], *, missed: bool, most: int) -> list[Frame]:
    """The newest of the events, in this order, in at most ``most`` frames.

    If some are left out, or were ``missed`` before, the last frame has the mark ``missed``. Every event must
    fit into a frame.
    """
    missed = missed or len(events) > MAX_EVENTS
    groups: list[list[EncodedEvent]] = []
    room = 0
    # From the newest to the oldest, so that the oldest are left out.
    for event in reversed(events[-MAX_EVENTS:]):
        if len(event.data) >= room:
            if len(groups) == most:
                missed = True
                break
            groups.append([])
            room = MAX_FRAME_BYTES - len(_HEAD) - len(_MISSED_TAIL) + 1
        groups[-1].append(event)
        room -= len(event.data) + 1
    frames = [_frame(group[::-1], _TAIL) for group in groups[:0:-1]]
    if groups or missed:
        newest = groups[0][::-1] if groups else []
        frames.append(_frame(newest, _MISSED_TAIL if missed else _TAIL))
    return frames


def _frame(events: Iterable[EncodedEvent], tail: bytes) -> Frame:
    events = list(events)
    return Frame(
        _HEAD + b",".join(event.data for event in events) + tail,
        min((event.occurred_at for event in events), default=None),
    )
