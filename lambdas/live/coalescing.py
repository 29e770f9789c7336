"""Which channels are quiet, so that an event goes out at once, and which are busy, so that events gather.

A frame for each event would cost a post for each event and viewer: docs/adr/0015-busy-channels.md.
"""

# A viewer is to see the first event at once and the others in a few frames a second.
INTERVAL_SECONDS = 0.5
# Channels remembered before the quiet ones are forgotten.
REMEMBERED = 10_000


class Coalescer:
    """When this process last sent frames to a channel. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._sent: dict[str, float] = {}

    def __len__(self) -> int:
        """How many channels are remembered."""
        return len(self._sent)

    def is_quiet(self, streamer_id: str, now: float) -> bool:
        """Whether the channel had no frame within the interval; if so it counts as having one now."""
        if now - self._sent.get(streamer_id, float("-inf")) < INTERVAL_SECONDS:
            return False
        if len(self._sent) >= REMEMBERED:
            self._sent = {id_: sent for id_, sent in self._sent.items() if now - sent < INTERVAL_SECONDS}
        self._sent[streamer_id] = now
        return True

    def served(self, streamer_id: str, now: float) -> None:
        """The channel's frames have reached its viewers by now: when that takes long, more events gather."""
        self._sent[streamer_id] = now
