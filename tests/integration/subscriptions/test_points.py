"""The share of Twitch's rate limit: how much of it there is, and who comes first."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from lambdas.common.aws import AwsError
from lambdas.subscriptions.points import COMMON, POINTS_A_SECOND, RETRY, ROOM, URGENT, Points
from tests.integration.subscriptions.tables import InProcessClient, empty_tables
from tests.integration.subscriptions.world import BEGIN

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# What Twitch allows in a minute.
LIMIT = 800


@pytest.fixture
def clock() -> list[float]:
    """The time, to be changed in place."""
    return [BEGIN]


@pytest.fixture
def points(tables: "DynamoDBClient", clock: list[float]) -> Points:
    empty_tables(tables)
    return Points(InProcessClient(tables, lambda: None), "twitch", lambda: clock[0])


def take_all(points: Points, rank: int) -> int:
    """How many points there are at once."""
    taken = 0
    while points.take(rank):
        taken += 1
    return taken


def test_no_minute_has_more_than_twitch_allows() -> None:
    assert max(ROOM) + 60 * POINTS_A_SECOND <= LIMIT


def test_the_bucket_fills_and_empties(points: Points, clock: list[float]) -> None:
    assert take_all(points, URGENT) == ROOM[URGENT]
    clock[0] += 1
    assert take_all(points, URGENT) == int(POINTS_A_SECOND)
    clock[0] += 60
    assert take_all(points, URGENT) == ROOM[URGENT]


def test_what_matters_less_leaves_room_for_what_matters_more(points: Points, clock: list[float]) -> None:
    assert [take_all(points, rank) for rank in (RETRY, COMMON, URGENT)] == [
        ROOM[RETRY],
        ROOM[COMMON] - ROOM[RETRY],
        ROOM[URGENT] - ROOM[COMMON],
    ]
    clock[0] += 1
    assert not points.take(RETRY)
    assert points.take(URGENT)


def test_functions_share_them(tables: "DynamoDBClient", points: Points, clock: list[float]) -> None:
    other = Points(InProcessClient(tables, lambda: None), "twitch", lambda: clock[0])
    assert take_all(other, COMMON) == ROOM[COMMON]
    assert not points.take(COMMON)


def test_when_all_are_used_up_nothing_is_written(
    tables: "DynamoDBClient", points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One item takes a thousand writes a second, also those whose condition fails; many may be refused."""
    take_all(points, URGENT)
    call, written = InProcessClient.call, list[str]()

    def counted(self: InProcessClient, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if action != "GetItem":
            written.append(action)
        return call(self, action, parameters)

    monkeypatch.setattr(InProcessClient, "call", counted)
    assert not points.take(URGENT)
    assert written == []


def test_what_cannot_be_counted_is_not_requested(tables: "DynamoDBClient") -> None:
    def fail() -> None:
        raise AwsError("dynamodb:UpdateItem", "ThrottlingException", "too much")

    assert not Points(InProcessClient(tables, fail), "twitch").take(URGENT)


def test_of_functions_that_begin_at_the_same_time_each_gets_one(
    tables: "DynamoDBClient", points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket was empty when the one looked, and is not any more when it writes."""
    other = Points(InProcessClient(tables, lambda: None), "twitch", lambda: BEGIN)
    write_if = Points._write_if

    def interrupted(self: Points, condition: str, change: str, values: dict[str, int]) -> bool:
        done = write_if(self, condition, change, values)
        if self is points and other_takes:
            other_takes.pop()
            assert other.take(URGENT)
        return done

    other_takes = [True]
    monkeypatch.setattr(Points, "_write_if", interrupted)
    assert points.take(URGENT)
