"""What a viewer has at once: channels that they follow, and connections (DynamoDB by moto)."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from lambdas.common.aws import Client
from lambdas.common.viewers import LONGEST_CONNECTION, OpenConnection, ViewersTable
from tests.integration.live.conftest import VIEWERS

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEEP = timedelta(minutes=10)


@pytest.fixture
def viewers(registry: Client) -> ViewersTable:
    return ViewersTable(registry, VIEWERS)


def follow(viewers: ViewersTable, login: str, *, viewer: str = "v", after: timedelta = timedelta()) -> bool:
    return viewers.follow(viewer, login, most=3, now=NOW + after, keep=KEEP)


def connect(
    viewers: ViewersTable, number: int, login: str = "a", *, viewer: str = "v", after: timedelta = timedelta()
) -> list[str]:
    """Open the connection; returns the ids of those that give way."""
    now = NOW + after + timedelta(seconds=number)
    opened = OpenConnection(f"c{number}", f"id-{login}", login, int(now.timestamp() * 1000))
    return [one.id for one in viewers.connect(viewer, opened, most=4, most_per_channel=2, now=now)]


def test_no_more_channels_are_followed_than_the_most(viewers: ViewersTable) -> None:
    assert [follow(viewers, login) for login in "abcd"] == [True, True, True, False]
    assert follow(viewers, "d", viewer="another")


def test_a_channel_that_is_followed_may_be_followed_again(viewers: ViewersTable) -> None:
    assert all(follow(viewers, login) for login in "abcabc")


def test_a_channel_that_was_refused_does_not_count(viewers: ViewersTable) -> None:
    assert [follow(viewers, login) for login in "abcd"][-1] is False
    viewers.unfollow("v", "a")
    assert follow(viewers, "d")


def test_a_channel_counts_for_a_while_after_each_watch(viewers: ViewersTable) -> None:
    """Also where TTL has not removed it."""
    for login in "abc":
        assert follow(viewers, login)
    assert follow(viewers, "a", after=KEEP / 2)
    assert not follow(viewers, "d", after=KEEP - timedelta(seconds=1))
    assert [follow(viewers, login, after=KEEP) for login in "def"] == [True, True, False]


def test_one_that_was_followed_long_ago_does_not_come_before_others(viewers: ViewersTable) -> None:
    assert follow(viewers, "old")
    for login in "abc":
        assert follow(viewers, login, after=KEEP)
    assert not follow(viewers, "old", after=KEEP)


def test_a_connected_channel_counts_for_as_long_as_it_is_connected(viewers: ViewersTable) -> None:
    for number, login in enumerate("abc"):
        assert follow(viewers, login)
        assert connect(viewers, number, login) == []
    assert not follow(viewers, "d", after=2 * KEEP)
    assert follow(viewers, "a", after=2 * KEEP)
    viewers.disconnect("v", "c1")
    assert follow(viewers, "d", after=2 * KEEP)


def test_of_many_at_once_no_more_than_the_most_are_followed(viewers: ViewersTable) -> None:
    """The later ones sort before the earlier ones, which must not let them in."""
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda number: follow(viewers, f"channel-{number:02}"), reversed(range(24))))
    followed = sum(answers)
    assert followed <= 3
    # Who was refused is forgotten, so that there is room for as many as were not let in.
    assert [follow(viewers, f"later-{number}") for number in range(4)].count(True) == 3 - followed


def test_the_oldest_connections_to_a_channel_give_way(viewers: ViewersTable) -> None:
    assert [connect(viewers, number) for number in range(4)] == [[], [], ["c0"], ["c1"]]
    assert connect(viewers, 4, viewer="another") == []


def test_the_oldest_of_all_connections_give_way(viewers: ViewersTable) -> None:
    assert [connect(viewers, number, login) for number, login in enumerate("aabbcd")] == [
        *[[]] * 4,
        ["c0"],
        ["c1"],
    ]


def test_a_closed_connection_does_not_count(viewers: ViewersTable) -> None:
    for number in range(2):
        connect(viewers, number)
    viewers.disconnect("v", "c0")
    viewers.disconnect("v", "unknown")
    assert connect(viewers, 2) == []


def test_a_connection_whose_end_nobody_told_does_not_count_for_ever(viewers: ViewersTable) -> None:
    for number in range(2):
        connect(viewers, number)
    assert connect(viewers, 2, after=LONGEST_CONNECTION) == []
