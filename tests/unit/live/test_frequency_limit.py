"""A key is allowed once in each interval, and a few times more in a row."""

import pytest

from lambdas.live import frequency_limit
from lambdas.live.frequency_limit import FrequencyLimit

INTERVAL, IN_A_ROW = 0.5, 3


@pytest.fixture
def limit() -> FrequencyLimit:
    return FrequencyLimit(INTERVAL, IN_A_ROW)


def test_a_few_in_a_row_are_allowed_and_the_next_is_not(limit: FrequencyLimit) -> None:
    assert [limit.allows("1", 100.0) for _ in range(IN_A_ROW + 2)] == [True] * IN_A_ROW + [False] * 2


def test_one_in_each_interval_is_allowed_for_ever(limit: FrequencyLimit) -> None:
    assert all(limit.allows("1", number * INTERVAL) for number in range(100))


def test_of_what_comes_faster_the_most_is_not_allowed(limit: FrequencyLimit) -> None:
    allowed = [limit.allows("1", number * INTERVAL * 0.9) for number in range(100)]
    assert allowed.count(False) > 60
    assert not limit.allows("1", 99 * INTERVAL * 0.9)


def test_after_an_interval_without_any_one_is_allowed_again(limit: FrequencyLimit) -> None:
    for _ in range(1_000):
        limit.allows("1", 100.0)
    assert not limit.allows("1", 100.0)
    assert limit.allows("1", 100.0 + INTERVAL)


def test_each_key_is_counted_for_itself(limit: FrequencyLimit) -> None:
    for _ in range(10):
        limit.allows("1", 0.0)
    assert limit.allows("2", 0.0)


def test_keys_are_forgotten_before_they_fill_the_memory(limit: FrequencyLimit) -> None:
    for number in range(3 * frequency_limit.REMEMBERED):
        assert limit.allows(str(number), number * 0.001)
    assert len(limit) <= frequency_limit.REMEMBERED
