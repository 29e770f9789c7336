"""What was sent, and what must be stored and counted: plain Python, which shares no code with the store."""

import dataclasses
import json
import random
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

EVENT_TYPES = ("channel.follow", "channel.raid", "stream.online")


@dataclasses.dataclass
class Sent:
    """An event that was sent: whose it is, when it occurred, and under which name."""

    streamer_id: str
    streamer_name: str
    event_type: str
    occurred_at: datetime


class Oracle:
    """The ledger of all events. Counts by streamer, before and after each was acknowledged."""

    def __init__(self, streamers: dict[str, list[str]], seed: int) -> None:
        """``streamers`` are IDs with the names that each has in turn."""
        self.sent: dict[str, Sent] = {}
        self.acknowledged: set[str] = set()
        self._tried: Counter[tuple[str, str]] = Counter()
        self._done: Counter[tuple[str, str]] = Counter()
        self._streamers = streamers
        self._chance = random.Random(seed)
        self._lock = threading.Lock()

    def batch(self, size: int) -> dict[str, str]:
        """New messages by event ID."""
        with self._lock:
            messages: dict[str, str] = {}
            for _ in range(size):
                streamer_id = self._chance.choice(list(self._streamers))
                names = self._streamers[streamer_id]
                # A streamer with several names has the next after some events, each a minute after the last.
                events = len(self.sent) if len(names) > 1 else 0
                name = names[min(events // 200, len(names) - 1)]
                messages |= self._message(streamer_id, name, timedelta(minutes=events))
            return messages

    def last_names(self, hours: int) -> dict[str, str]:
        """New messages that tell the last names, so many hours after all events before."""
        with self._lock:
            messages: dict[str, str] = {}
            for streamer_id, names in self._streamers.items():
                if len(names) > 1:
                    later = timedelta(minutes=len(self.sent), hours=hours)
                    messages |= self._message(streamer_id, names[-1], later)
            return messages

    def _message(self, streamer_id: str, name: str, later: timedelta) -> dict[str, str]:
        event_id = f"{self._chance.getrandbits(96):024x}"
        now = datetime.now(UTC)
        sent = Sent(streamer_id, name, self._chance.choice(EVENT_TYPES), now + later)
        self.sent[event_id] = sent
        self._tried[streamer_id, sent.event_type] += 1
        fields = dataclasses.asdict(sent) | {
            "id": event_id,
            "occurred_at": sent.occurred_at.isoformat(),
            "created_at": now.isoformat(),
            "payload": {"text": "é\\\n" * self._chance.randrange(30)},
        }
        return {event_id: json.dumps(fields)}

    def acknowledge(self, messages: dict[str, str]) -> None:
        """The batch is recorded."""
        with self._lock:
            for event_id in messages:
                if event_id not in self.acknowledged:
                    self.acknowledged.add(event_id)
                    sent = self.sent[event_id]
                    self._done[sent.streamer_id, sent.event_type] += 1

    def bounds(self) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
        """How many are recorded at least and at most, by streamer and type."""
        with self._lock:
            return self._done.copy(), self._tried.copy()

    def names(self) -> dict[str, str]:
        """The name by which each streamer is found in the end: the last, which was told for an hour."""
        return {streamer_id: names[-1] for streamer_id, names in self._streamers.items()}
