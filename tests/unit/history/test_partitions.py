"""The arithmetic of partitions: end to end, aligned, and always enough of them."""

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from lambdas.history.partitions import Partition, aligned, missing_partitions, partitions_ahead

DAY = 86400
times = st.integers(946684800 * 10**6, 4102444800 * 10**6).map(
    lambda microseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)
lengths = st.sampled_from([60, 3600, DAY, 7 * DAY])


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


def test_an_empty_table_gets_today_and_two_days_more() -> None:
    assert missing_partitions(datetime(2026, 1, 5, 13, 30, tzinfo=UTC), [], DAY) == [
        Partition(day(5), day(6)),
        Partition(day(6), day(7)),
        Partition(day(7), day(8)),
    ]


def test_only_what_is_missing_is_made() -> None:
    assert missing_partitions(day(5), [day(4), day(5), day(6)], DAY) == [
        Partition(day(6), day(7)),
        Partition(day(7), day(8)),
    ]
    assert missing_partitions(day(5), [day(6), day(7), day(8)], DAY) == []


def test_days_that_were_missed_get_no_partitions() -> None:
    assert missing_partitions(day(9), [day(2)], DAY)[0] == Partition(day(9), day(10))


def test_a_new_length_begins_where_the_old_one_ends() -> None:
    noon = day(5) + timedelta(hours=12)
    assert missing_partitions(day(5), [noon], DAY) == [
        Partition(noon, day(6)),
        Partition(day(6), day(7)),
    ]


def test_at_its_upper_bound_a_partition_is_over() -> None:
    assert partitions_ahead(day(5), [day(5), day(6), day(7)]) == 1
    assert partitions_ahead(day(5), [day(5)]) == -1


@given(now=times, seconds=lengths)
def test_the_present_is_covered_and_the_partitions_follow_each_other(now: datetime, seconds: int) -> None:
    made = missing_partitions(now, [], seconds)
    assert made[0].lower_bound <= now < made[0].upper_bound
    assert len(made) == 3
    for one, following in itertools.pairwise(made):
        assert one.upper_bound == following.lower_bound
    for partition in made:
        assert partition.upper_bound - partition.lower_bound == timedelta(seconds=seconds)
        assert partition.lower_bound.timestamp() % seconds == 0


@given(
    steps=st.lists(st.tuples(st.timedeltas(timedelta(), timedelta(days=9)), lengths), max_size=20),
    start=times,
)
def test_whatever_happens_there_are_enough_that_do_not_overlap(
    start: datetime, steps: list[tuple[timedelta, int]]
) -> None:
    """As the clock goes on by leaps and the length is changed at each of them."""
    now = start
    partitions: list[Partition] = []
    for elapsed, seconds in steps:
        now += elapsed
        bounds = [partition.upper_bound for partition in partitions]
        partitions += missing_partitions(now, bounds, seconds)
        assert partitions_ahead(now, [partition.upper_bound for partition in partitions]) >= 2
        assert sum(partition.lower_bound <= now < partition.upper_bound for partition in partitions) == 1
    for one, following in itertools.pairwise(partitions):
        assert one.lower_bound < one.upper_bound <= following.lower_bound


@given(time=times, seconds=lengths)
def test_alignment_is_at_most_one_length_back(time: datetime, seconds: int) -> None:
    assert timedelta() <= time - aligned(time, seconds) < timedelta(seconds=seconds)
    assert aligned(aligned(time, seconds), seconds) == aligned(time, seconds)
