"""The viewers' pages, and what each has got when, by which the rows are judged.

It shares no code with the product.
"""

import bisect
import json
import math
from collections import defaultdict
from typing import Any

from benchmarks.scale import constants


class Channel:
    """A channel's events in the order in which they happen, and how late the last viewer had each.

    Sets of events are whole numbers, an event a bit: a hundred thousand viewers times a thousand events are
    too many for anything else.
    """

    def __init__(self, streamer_id: str) -> None:
        self.streamer_id = streamer_id
        self.times: list[float] = []
        self.pages: list[Page] = []
        self._numbers: dict[str, int] = {}
        # The last arrival of each set of events that a page got at once and for the first time.
        self.last: dict[int, float] = {}
        # Events that pages have of the record although they were connected: once for each page.
        self.read_back = 0

    def happened(self, event_id: str, at: float) -> None:
        """An event more."""
        self._numbers[event_id] = len(self.times)
        self.times.append(at)

    def events_of(self, content: dict[str, Any]) -> int:
        """The events in a frame."""
        events = 0
        for event in content["events"]:
            events |= 1 << self._numbers[event["id"]]
        return events

    def between(self, begin: float, end: float) -> int:
        """The events of a time."""
        return sum(1 << number for number, at in enumerate(self.times) if begin <= at < end)

    def recorded(self, now: float) -> int:
        """What a page reads back that asks for the record now."""
        known = bisect.bisect_right(self.times, now - constants.RECORD_AGE_SECONDS)
        first = max(0, known - constants.CATCH_UP_EVENTS)
        return ((1 << known) - 1) >> first << first

    def lateness(self, since: float = 0.0, until: float = math.inf) -> list[float]:
        """For each event of that time that anybody has got: seconds until its last viewer had it."""
        latest: defaultdict[int, float] = defaultdict(float)
        for events, at in self.last.items():
            left = events
            while left:
                lowest = left & -left
                number = lowest.bit_length() - 1
                latest[number] = max(latest[number], at)
                left ^= lowest
        return [
            at - self.times[number]
            for number, at in sorted(latest.items())
            if since <= self.times[number] < until
        ]


class Page:
    """One viewer's page on a channel: the events that it has ``seen``, and those that came several times."""

    __slots__ = (
        "channel",
        "closed_at",
        "connection_id",
        "frames",
        "full_from",
        "full_until",
        "marks",
        "more",
        "opens_at",
        "seen",
        "since",
        "thrice",
        "topics",
        "twice",
        "viewer_id",
    )

    def __init__(self, channel: Channel, connection_id: str, since: float = 0.0) -> None:
        self.channel = channel
        # Each page has a viewer of its own.
        self.viewer_id = f"viewer-{channel.streamer_id}-{len(channel.pages)}"
        channel.pages.append(self)
        self.connection_id = connection_id
        # From when on it is to have every event; until when it was there.
        self.since = since
        self.closed_at = math.inf
        self.opens_at = 0.0
        # While its buffer is full, nothing more fits.
        self.full_from = self.full_until = math.inf
        self.seen = self.twice = self.thrice = self.more = 0
        self.frames = 0
        self.marks = 0
        self.topics: list[int] = []

    def got(self, events: int, at: float) -> None:
        """A frame with these events arrives."""
        self.frames += 1
        seen = self.seen
        new = events & ~seen
        if new:
            self.seen = seen | new
            last = self.channel.last
            if at > last.get(new, 0.0):
                last[new] = at
        if new != events:
            again = events & seen
            self.more |= self.thrice & again
            self.thrice |= self.twice & again
            self.twice |= again

    def reads(self, at: float) -> None:
        """It reads the record, and merges what it says. What happened while it was connected is counted."""
        channel = self.channel
        new = channel.recorded(at) & ~self.seen
        if new:
            self.seen |= new
            before = bisect.bisect_left(channel.times, self.since)
            channel.read_back += (new >> before).bit_count()

    def missing(self, until: float) -> int:
        """The events that it has not, of those that happened while it was connected, before ``until``."""
        return self.channel.between(self.since, min(until, self.closed_at)) & ~self.seen


class Frame:
    """What a frame says, read once for all its viewers."""

    __slots__ = ("events", "is_marked", "version")

    def __init__(self, channel: Channel, body: bytes) -> None:
        content = json.loads(body)
        self.events = channel.events_of(content) if content["type"] == "events" else 0
        self.is_marked = bool(content.get("missed"))
        self.version = content.get("version")
