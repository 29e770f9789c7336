"""The clock, as far as the live path asks it: the module ``time``, or what stands for it."""

from typing import Protocol


class Clock(Protocol):
    """What the module ``time`` has of this."""

    def time(self) -> float:
        """Unix time in seconds."""

    def monotonic(self) -> float:
        """Seconds since some moment, for measuring."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
