"""A quiet channel's event goes out at once, a busy channel's events wait for each other."""

from lambdas.live import coalescing
from lambdas.live.coalescing import INTERVAL_SECONDS, Coalescer


def test_the_first_event_is_at_once_and_the_next_is_not_before_the_interval_has_passed() -> None:
    pace = Coalescer()
    assert pace.is_quiet("1", 100.0)
    assert not pace.is_quiet("1", 100.0 + 0.9 * INTERVAL_SECONDS)
    assert pace.is_quiet("1", 100.0 + INTERVAL_SECONDS)


def test_the_interval_begins_when_the_frames_have_arrived() -> None:
    pace = Coalescer()
    assert pace.is_quiet("1", 100.0)
    pace.served("1", 103.0)
    assert not pace.is_quiet("1", 103.0 + 0.9 * INTERVAL_SECONDS)
    assert pace.is_quiet("1", 103.0 + INTERVAL_SECONDS)


def test_events_that_wait_do_not_make_others_wait_longer() -> None:
    pace = Coalescer()
    sent = [pace.is_quiet("1", tick * INTERVAL_SECONDS / 4) for tick in range(9)]
    assert sent == [True, False, False, False] * 2 + [True]


def test_a_busy_channel_keeps_no_other_from_being_quiet() -> None:
    pace = Coalescer()
    assert pace.is_quiet("1", 0.0)
    assert pace.is_quiet("2", 0.0)


def test_quiet_channels_are_forgotten_before_they_fill_the_memory() -> None:
    pace = Coalescer()
    for number in range(3 * coalescing.REMEMBERED):
        assert pace.is_quiet(str(number), number * 0.001)
    assert len(pace) <= coalescing.REMEMBERED
    assert not pace.is_quiet(str(3 * coalescing.REMEMBERED - 1), 3 * coalescing.REMEMBERED * 0.001)
