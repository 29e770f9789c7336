"""Which partitions of ``events`` to create, and which archived counts to roll up."""

import dataclasses
import math
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final

#: How many partitions are kept ahead of the present one.
AHEAD: Final = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Partition:
    """The events with ``lower_bound <= created_at < upper_bound``; bounds are whole seconds, in UTC."""

    lower_bound: datetime
    upper_bound: datetime


def missing_partitions(now: datetime, upper_bounds: Collection[datetime], seconds: int) -> list[Partition]:
    """What to create so that ``now`` has a partition and ``AHEAD`` more follow it, without a gap.

    ``upper_bounds`` are those of the partitions that exist. New ones begin where the last of them ends, or
    with the span ``now`` is in, and end at multiples of ``seconds`` since 1970, so that the length can be
    changed at any time: the first partition of the new length is then shorter.
    """
    end = max([aligned(now, seconds), *upper_bounds])
    existing = sum(bound > now for bound in upper_bounds)
    partitions = []
    for _ in range(1 + AHEAD - existing):
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


@dataclasses.dataclass(frozen=True, slots=True)
class RollUp:
    """Tables of archived counts, by ``max_timestamp``, to merge into one; whether it keeps the days."""

    max_timestamps: list[datetime]
    keep_days: bool


def due_roll_ups(max_timestamps: Collection[datetime], archived_until: datetime) -> list[RollUp]:
    """Which tables of archived counts to merge, so that their number stays small, the oldest first.

    They are merged by the hour, day or month in UTC, whichever is the longest that is over at the watermark
    ``archived_until``. One year after the end of a year they are merged into one table, without days: the API
    counts the days of the last 365 only.
    """
    periods: dict[tuple[int, ...], list[datetime]] = {}
    for max_timestamp in sorted(max_timestamps):
        periods.setdefault(_period(max_timestamp, archived_until), []).append(max_timestamp)
    return [
        RollUp(members, keep_days=len(period) > 1) for period, members in periods.items() if len(members) > 1
    ]


def _period(max_timestamp: datetime, archived_until: datetime) -> tuple[int, ...]:
    """The year, month, day and hour of the counts, as far as counts of the same period are merged."""
    last = (max_timestamp - timedelta(microseconds=1)).astimezone(UTC)
    if archived_until >= datetime(last.year + 2, 1, 1, tzinfo=UTC):
        return (last.year,)
    ends_in = (last.year, last.month, last.day, last.hour)
    present = archived_until.astimezone(UTC).timetuple()[: len(ends_in)]
    for length in range(2, len(ends_in) + 1):
        if ends_in[:length] != present[:length]:
            return ends_in[:length]
    return (*ends_in, int(max_timestamp.timestamp()))
