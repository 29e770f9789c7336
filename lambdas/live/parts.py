"""A part of a channel's audience: the connections in a range of places in the registry.

Each part is served by one invocation at a time, independently of the other parts.
"""

import dataclasses
import math

from lambdas.common.connections import FIRST_PLACE, HASH_DIGITS, LAST_PLACE

# Up to so many viewers the invocation that received an event posts it to all of them at once.
SMALL_AUDIENCE = 100
# What one invocation serves in half a second with the default budget of posts.
VIEWERS = 5_000
MOST_PARTS = 32

_HASHES: int = 16**HASH_DIGITS


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Part number ``index`` (from 0) of a channel's audience, which is divided into ``of`` parts."""

    streamer_id: str
    index: int
    of: int

    def __str__(self) -> str:
        """The name of its inbox."""
        return f"{self.streamer_id}/{self.index}/{self.of}"

    @property
    def begin(self) -> str:
        """Its connections come after this place."""
        return _place(self.index, self.of)

    @property
    def end(self) -> str:
        """Its connections come before this place."""
        return _place(self.index + 1, self.of)


def parts(streamer_id: str, of: int) -> list[Part]:
    """The whole audience in so many parts."""
    return [Part(streamer_id, index, of) for index in range(of)]


def number_of_parts(connections: int, last_place: str) -> int:
    """In how many parts to serve an audience whose first ``connections`` end at ``last_place``.

    Hashes are spread evenly, so these two tell about how many viewers there are.
    """
    viewers = connections * _HASHES / (int(last_place[:HASH_DIGITS], 16) + 1)
    return int(2 ** min(max(round(math.log2(viewers / VIEWERS)), 0), math.log2(MOST_PARTS)))


def _place(index: int, of: int) -> str:
    if index == 0:
        return FIRST_PLACE
    return LAST_PLACE if index == of else f"{index * _HASHES // of:0{HASH_DIGITS}x}"
