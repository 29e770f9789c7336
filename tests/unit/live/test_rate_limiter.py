"""The rate of posts finds what API Gateway takes, and several that share it share fairly."""

import random

from hypothesis import given
from hypothesis import strategies as st

from lambdas.live.rate_limiter import BURST_SECONDS, LEAST, MANY, MOST, TOLERATED, RateLimiter

TICK = 0.01


class Budget:
    """An account's token bucket, as API Gateway keeps it."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self.tokens = per_second * BURST_SECONDS

    def tick(self) -> None:
        self.tokens = min(self.tokens + self.per_second * TICK, self.per_second * BURST_SECONDS)

    def takes_one(self) -> bool:
        self.tokens -= 1 if self.tokens >= 1 else 0
        return self.tokens >= 1


def run(
    budget: Budget, rates: list[RateLimiter], seconds: float, start: float = 0.0
) -> list[tuple[int, int]]:
    """Post as fast as the rates allow; for each, how many posts were accepted and how many throttled."""
    counts = [[0, 0] for _ in rates]
    for tick in range(round(seconds / TICK)):
        budget.tick()
        waiting = []
        for index, rate in enumerate(rates):
            posts = rate.available(start + tick * TICK)
            rate.spend(posts)
            waiting += [index] * posts
        random.Random(tick).shuffle(waiting)
        for index in waiting:
            accepted = budget.takes_one()
            rates[index].answered(throttled=not accepted)
            counts[index][0 if accepted else 1] += 1
    return [(accepted, throttled) for accepted, throttled in counts]


def test_the_whole_default_budget_is_used_from_the_first_second_on() -> None:
    ((accepted, throttled),) = run(Budget(MOST), [RateLimiter(0.0)], 1.0)
    assert accepted > 1.4 * MOST
    assert throttled < 0.02 * accepted


def test_a_smaller_budget_is_found_and_used() -> None:
    rate = RateLimiter(0.0)
    run(Budget(2_000), [rate], 3.0)
    ((accepted, throttled),) = run(Budget(2_000), [rate], 5.0, start=3.0)
    assert accepted > 0.8 * 2_000 * 5
    assert throttled < 0.15 * accepted


def test_those_who_share_a_budget_come_to_share_it_fairly() -> None:
    budget, rates = Budget(MOST), [RateLimiter(0.0) for _ in range(5)]
    run(budget, rates, 5.0)
    counts = run(budget, rates, 5.0, start=5.0)
    accepted = [each for each, _ in counts]
    assert sum(accepted) > 0.8 * MOST * 5
    assert max(accepted) < 2 * min(accepted)


def test_the_invocations_of_one_audience_share_the_limit_and_leave_the_rest_of_the_budget() -> None:
    """Nobody is refused, so neither are those who make other requests."""
    rates = [RateLimiter(0.0) for _ in range(16)]
    for rate in rates:
        rate.share(16)
    counts = run(Budget(MOST / 0.95), rates, 5.0)
    assert sum(throttled for _, throttled in counts) == 0
    accepted = [each for each, _ in counts]
    assert 0.9 * MOST * 5 < sum(accepted) <= MOST * (5 + BURST_SECONDS)
    assert max(accepted) < 1.1 * min(accepted)


def test_who_served_a_small_share_has_the_whole_limit_again() -> None:
    rate = RateLimiter(0.0)
    for among in (32, 1, 4, 1):
        rate.share(among)
    assert rate.per_second == MOST


def test_what_was_found_of_the_limit_is_kept_in_proportion() -> None:
    rate = RateLimiter(0.0)
    rate.per_second = MOST / 2
    rate.share(4)
    assert rate.per_second == MOST / 8


def test_who_goes_on_for_another_stays_below_its_share() -> None:
    rate = RateLimiter(0.0)
    rate.share(4)
    rate.go_on(MOST)
    assert rate.per_second == MOST / 4


def test_a_refusal_now_and_then_slows_nothing_down() -> None:
    rate = RateLimiter(0.0)
    for tick in range(100):
        rate.available(tick * TICK)
        for number in range(100):
            rate.answered(throttled=number == 0)
    assert rate.per_second == MOST


@given(
    answers=st.lists(st.tuples(st.floats(0, 0.3), st.booleans()), max_size=200),
    most=st.sampled_from([MOST, 2_250.0, 10 * MOST]),
)
def test_it_never_stops_nor_exceeds_the_budget(answers: list[tuple[float, bool]], most: float) -> None:
    rate, now, spent = RateLimiter(0.0, most), 0.0, 0
    for passed, throttled in answers:
        now += passed
        posts = rate.available(now)
        rate.spend(posts)
        rate.answered(throttled=throttled)
        spent += posts
        assert LEAST <= rate.per_second <= most
        assert 0 <= rate.wait() <= 1 / LEAST
    assert spent <= most * (BURST_SECONDS + now)


def test_a_few_that_are_throttled_are_clients_not_the_limit() -> None:
    rate = RateLimiter(0.0)
    for number in range(20):
        rate.answered(throttled=number < 4)
    rate.available(1.0)
    assert rate.per_second == MOST


def test_answers_before_a_pause_say_nothing_of_the_rate_after_it() -> None:
    """An instance that served nobody for a minute had a few answers in its last window."""
    rate = RateLimiter(0.0)
    for number in range(100):
        rate.answered(throttled=number < 50)
    rate.available(60.0)
    assert rate.per_second == MOST


def test_who_is_throttled_again_neither_lowers_the_rate_nor_lets_it_rise() -> None:
    rate = RateLimiter(0.0)
    rate.per_second = 1_000.0
    for number in range(100):
        rate.answered(throttled=number < 20, again=True)
    rate.available(0.5)
    assert rate.per_second == 1_000.0


def test_the_part_that_is_throttled_is_that_of_the_present() -> None:
    rate = RateLimiter(0.0)
    assert rate.throttled_part() == TOLERATED
    for number in range(10):
        rate.answered(throttled=number < 5)
    assert rate.throttled_part() == 0.5
    rate.available(0.5)
    assert rate.throttled_part() == 0.5, "the window before counts, too"
    rate.available(1.0)
    assert rate.throttled_part() == TOLERATED


def test_a_few_429_may_all_be_one_clients() -> None:
    rate = RateLimiter(0.0)
    for _ in range(MANY - 1):
        rate.answered(throttled=True, again=True)
    assert rate.throttled_part() == TOLERATED
    rate.answered(throttled=True, again=True)
    assert rate.throttled_part() == 1.0
