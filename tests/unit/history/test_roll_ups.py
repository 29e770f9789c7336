"""Rolling counts up: few tables however old the store is, and days for as long as they can be asked for."""

from datetime import UTC, datetime, timedelta

import pytest

from lambdas.history.partitions import RollUp, due_roll_ups

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def simulate(start: datetime, partition: timedelta, count: int) -> list[set[datetime]]:
    """The tables of archived counts after each of ``count`` partitions was sealed."""
    tables: set[datetime] = set()
    found = []
    for number in range(1, count + 1):
        archived_until = start + number * partition
        tables.add(archived_until)
        for roll_up in due_roll_ups(tables, archived_until):
            tables -= set(roll_up.max_timestamps[:-1])
        assert archived_until in tables
        found.append(set(tables))
    return found


def test_five_years_of_days_leave_no_more_than_sixty_tables() -> None:
    found = simulate(datetime(2024, 2, 28, tzinfo=UTC), DAY, 5 * 366)
    assert max(map(len, found)) <= 60
    # One more for each year, and no other growth.
    assert len(found[5 * 365 - 1]) - len(found[4 * 365 - 1]) <= 1


def test_a_week_of_minutes_leaves_no_more_than_its_days_hours_and_minutes() -> None:
    found = simulate(MIDNIGHT, timedelta(minutes=1), 7 * 24 * 60)
    assert max(map(len, found)) <= 7 + 24 + 60


def test_days_are_kept_for_as_long_as_they_can_be_asked_for() -> None:
    tables = {datetime(2025, 1, 1, tzinfo=UTC) + days * DAY for days in range(1, 366)}
    by_month = due_roll_ups(tables, datetime(2026, 12, 31, tzinfo=UTC))
    assert [roll_up.keep_days for roll_up in by_month] == [True] * 12
    # From here on the 365 days that can be asked for begin after 2025.
    assert due_roll_ups(tables, datetime(2027, 1, 1, tzinfo=UTC)) == [RollUp(sorted(tables), keep_days=False)]


@pytest.mark.parametrize(
    ("archived_until", "merged"),
    [
        (MIDNIGHT - timedelta(minutes=1), []),
        (MIDNIGHT, [MIDNIGHT - timedelta(minutes=30), MIDNIGHT]),
    ],
    ids=["not over", "over"],
)
def test_a_period_is_merged_once_it_is_over(archived_until: datetime, merged: list[datetime]) -> None:
    tables = [
        max_timestamp
        for max_timestamp in [MIDNIGHT - timedelta(minutes=30), MIDNIGHT]
        if max_timestamp <= archived_until
    ]
    roll_ups = due_roll_ups(tables, archived_until)
    assert [roll_up.max_timestamps for roll_up in roll_ups] == ([merged] if merged else [])


def test_a_table_that_is_alone_in_its_period_stays_as_it_is() -> None:
    assert due_roll_ups([datetime(2020, 5, 1, tzinfo=UTC), MIDNIGHT], MIDNIGHT) == []
