"""Which channels have so few events now that each event can be posted at once.

A busy channel's events go into the inboxes instead, where they gather in one frame: a frame for each event
would cost a post for each event and viewer (docs/adr/0024-one-frame-in-flight.md).

This does not limit how many frames a second a viewer gets. That is limited by ``ROUND_SECONDS`` in
``serving.py``, and by the lease in ``inboxes.py``: only its holder serves a part of an audience.
"""

# A channel that has events more often than this, apart from a few in a row, is busy.
INTERVAL_SECONDS = 0.5
IN_A_ROW = 3
# When so many channels are remembered, those that are quiet again are forgotten.
REMEMBERED = 10_000


class QuietChannels:
    """How often this process has received events of each channel. Times are seconds of one clock."""

    def __init__(self) -> None:
        # For each channel, the time at which it has no more events than one in each interval again.
        self._allowed_at: dict[str, float] = {}

    def __len__(self) -> int:
        """How many channels are remembered."""
        return len(self._allowed_at)

    def is_quiet(self, streamer_id: str, now: float) -> bool:
        """Count what was received for the channel now, and return whether it may be posted at once."""
        if len(self._allowed_at) >= REMEMBERED:
            self._allowed_at = {id_: at for id_, at in self._allowed_at.items() if at > now}
        latest = now + IN_A_ROW * INTERVAL_SECONDS
        allowed_at = max(self._allowed_at.get(streamer_id, now), now) + INTERVAL_SECONDS
        self._allowed_at[streamer_id] = min(allowed_at, latest)
        return allowed_at <= latest
