"""Which channels have few events, so that one goes out at once, and which have many, so that they gather.

A frame for each event would cost a post for each event and viewer: docs/adr/0024-one-frame-in-flight.md.
"""

# A channel that has events more often than this is busy, but for a few in a row.
INTERVAL_SECONDS = 0.5
IN_A_ROW = 3
# Channels remembered before those that are quiet again are forgotten.
REMEMBERED = 10_000


class Pacing:
    """How often this process hears of each channel. Times are seconds of one clock."""

    def __init__(self) -> None:
        # When as many intervals have passed as there were events, none of them before its event.
        self._paid: dict[str, float] = {}

    def __len__(self) -> int:
        """How many channels are remembered."""
        return len(self._paid)

    def is_quiet(self, streamer_id: str, now: float) -> bool:
        """Whether what has come for the channel now may go out at once."""
        if len(self._paid) >= REMEMBERED:
            self._paid = {id_: paid for id_, paid in self._paid.items() if paid > now}
        most = now + IN_A_ROW * INTERVAL_SECONDS
        paid = max(self._paid.get(streamer_id, now), now) + INTERVAL_SECONDS
        self._paid[streamer_id] = min(paid, most)
        return paid <= most
