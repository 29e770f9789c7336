"""How often something may happen: for each key once in each interval, and a few times more in a row.

This process counts by itself: another execution environment of the function counts anew.
"""

# When so many keys are remembered, those that may have as many in a row again are forgotten.
REMEMBERED = 10_000


class FrequencyLimit:
    """How often this process has seen each key lately. Times are seconds of one clock."""

    def __init__(self, interval: float, in_a_row: int) -> None:
        """``interval`` in seconds."""
        self._interval = interval
        self._row = in_a_row * interval
        # For each key, the time at which its count is 0 again; each use moves it on by one interval.
        self._allowed_at: dict[str, float] = {}

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._allowed_at)

    def allows(self, key: str, now: float) -> bool:
        """Count the key now, and return whether it is within the limit."""
        if len(self._allowed_at) >= REMEMBERED:
            self._allowed_at = {key: at for key, at in self._allowed_at.items() if at > now}
        latest = now + self._row
        allowed_at = max(self._allowed_at.get(key, now), now) + self._interval
        self._allowed_at[key] = min(allowed_at, latest)
        return allowed_at <= latest
