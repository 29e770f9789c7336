"""The arithmetic of the partitions of ``events``: spans of time, end to end, aligned to their length."""

import dataclasses
import math
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

#: How many partitions are kept ahead of the present one.
AHEAD: Final = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Partition:
    """The events with ``lower_bound <= created_at < upper_bound``; bounds are whole seconds, in UTC."""

    lower_bound: datetime
    upper_bound: datetime


def missing_partitions(
    now: datetime, upper_bounds: Collection[datetime], seconds: int, ahead: int = AHEAD
) -> list[Partition]:
    """What to create so that ``now`` has a partition and ``ahead`` more follow it, without a gap.

    ``upper_bounds`` are those of the partitions that exist. New ones begin where the last of them ends, or
    with the span ``now`` is in, and end at multiples of ``seconds`` since 1970, so that the length can be
    changed at any time: the first partition of the new length is then shorter.
    """
    end = max([aligned(now, seconds), *upper_bounds])
    existing = sum(bound > now for bound in upper_bounds)
    partitions = []
    for _ in range(1 + ahead - existing):
        next_end = datetime.fromtimestamp(aligned(end, seconds).timestamp() + seconds, UTC)
        partitions.append(Partition(end, next_end))
        end = next_end
    return partitions


def partitions_ahead(now: datetime, upper_bounds: Collection[datetime]) -> int:
    """How many partitions follow the present one; -1 if even that is missing."""
    return sum(bound > now for bound in upper_bounds) - 1


def aligned(time: datetime, seconds: int) -> datetime:
    """The latest multiple of ``seconds`` since 1970 that is not after ``time``."""
    return datetime.fromtimestamp(math.floor(time.timestamp() / seconds) * seconds, UTC)
