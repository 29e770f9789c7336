"""A quiet channel's event goes out at once, a busy channel's events wait for each other."""

from lambdas.live import quiet_channels
from lambdas.live.quiet_channels import IN_A_ROW, INTERVAL_SECONDS, QuietChannels


def test_a_few_in_a_row_go_out_at_once_and_the_next_does_not() -> None:
    channels = QuietChannels()
    assert [channels.is_quiet("1", 100.0) for _ in range(IN_A_ROW + 2)] == [True] * IN_A_ROW + [False] * 2


def test_one_event_in_each_interval_goes_out_at_once_for_ever() -> None:
    channels = QuietChannels()
    assert all(channels.is_quiet("1", number * INTERVAL_SECONDS) for number in range(100))


def test_a_channel_stays_busy_as_long_as_its_events_come_faster() -> None:
    channels = QuietChannels()
    sent = [channels.is_quiet("1", number * INTERVAL_SECONDS * 0.9) for number in range(100)]
    assert sent.count(False) > 60
    assert not channels.is_quiet("1", 99 * INTERVAL_SECONDS * 0.9)


def test_it_is_quiet_again_after_an_interval_without_events() -> None:
    channels = QuietChannels()
    for _ in range(1_000):
        channels.is_quiet("1", 100.0)
    assert not channels.is_quiet("1", 100.0)
    assert channels.is_quiet("1", 100.0 + INTERVAL_SECONDS)


def test_a_busy_channel_keeps_no_other_from_being_quiet() -> None:
    channels = QuietChannels()
    for _ in range(10):
        channels.is_quiet("1", 0.0)
    assert channels.is_quiet("2", 0.0)


def test_quiet_channels_are_forgotten_before_they_fill_the_memory() -> None:
    channels = QuietChannels()
    for number in range(3 * quiet_channels.REMEMBERED):
        assert channels.is_quiet(str(number), number * 0.001)
    assert len(channels) <= quiet_channels.REMEMBERED
