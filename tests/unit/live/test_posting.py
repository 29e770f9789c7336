"""Whom the poster tries again and whom it leaves, on a clock and a network of the test's own."""

import random

import pytest

from lambdas.common.connections import Connection
from lambdas.live.frames import Frame
from lambdas.live.posting import (
    ANSWER_GRACE_SECONDS,
    ANSWER_SECONDS,
    CLOSE,
    GRACE_SECONDS,
    HANDSHAKE_SECONDS,
    POSTING_SECONDS,
    REMEMBERED_SECONDS,
    SILENT,
    ForbiddenError,
    Poster,
    Posting,
)
from tests.unit.live.world import LATENCY, World

OLD = 0


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def poster(world: World) -> Poster:
    return Poster(world, world)


def postings(count: int, *frames: str, renewed_at: int = OLD) -> list[Posting]:
    encoded = [Frame(frame.encode()) for frame in frames or ("frame",)]
    return [Posting("1337", Connection(f"{number}", renewed_at), encoded) for number in range(count)]


def run(poster: Poster, world: World, given: list[Posting], seconds: float = 60.0) -> float:
    """Deliver everything; returns how long it took."""
    began = world.now
    poster.deliver(given, began + seconds)
    poster.finish(began + seconds)
    return world.now - began


def test_everybody_is_posted_to_side_by_side(poster: Poster, world: World) -> None:
    assert run(poster, world, postings(100)) < 5 * LATENCY
    assert (poster.outcome.posted, len(world.got)) == (100, 100)
    assert poster.take_unserved() == ([], [])


def test_the_next_frame_comes_after_the_one_before(poster: Poster, world: World) -> None:
    run(poster, world, postings(3, "1", "2", "3"))
    assert world.got == {str(number): [b"1", b"2", b"3"] for number in range(3)}


@pytest.mark.parametrize(
    ("status", "seconds"), [(429, GRACE_SECONDS), (500, GRACE_SECONDS), (SILENT, ANSWER_GRACE_SECONDS)]
)
def test_one_that_cannot_be_served_costs_the_others_no_more_than_the_grace(
    poster: Poster, world: World, status: int, seconds: float
) -> None:
    world.answer = lambda id_: status if id_ == "7" else 200
    assert run(poster, world, postings(51)) <= 5 * LATENCY + seconds
    assert poster.outcome.posted == 50
    (given_up,) = poster.take_unserved()[1]
    assert given_up.connection.id == "7"


def test_a_full_client_among_others_is_known_after_a_few_tries(poster: Poster, world: World) -> None:
    world.answer = lambda id_: 429 if id_ == "7" else 200
    for page in range(20):
        others = [Posting("1337", Connection(f"{page}-{number}", OLD), [Frame(b"")]) for number in range(50)]
        poster.deliver([*others, *(postings(8)[7:] if page == 0 else [])], world.now + 60)
        poster.wait(world.now + LATENCY)
    assert world.tried["7"] <= 6
    assert [posting.connection.id for posting in poster.take_unserved()[1]] == ["7"]


def test_a_full_client_is_soon_tried_only_once_a_frame(poster: Poster, world: World) -> None:
    world.answer = lambda id_: 429 if id_ == "7" else 200
    for _ in range(3):
        run(poster, world, postings(51))
    tried = world.tried["7"]
    assert run(poster, world, postings(51)) <= 5 * LATENCY
    assert world.tried["7"] == tried + 1
    assert len(poster.take_unserved()[1]) == 4


@pytest.mark.parametrize("forgotten", ["it took a frame", "it was long ago"])
def test_what_is_known_of_a_full_client_is_forgotten(poster: Poster, world: World, forgotten: str) -> None:
    world.answer = lambda id_: 429 if id_ == "7" else 200
    for _ in range(3):
        run(poster, world, postings(51))
    if forgotten == "it took a frame":
        world.answer = lambda _id: 200
        run(poster, world, postings(51))
        world.answer = lambda id_: 429 if id_ == "7" else 200
    else:
        world.sleep(REMEMBERED_SECONDS)
    tried = world.tried["7"]
    run(poster, world, postings(51))
    assert world.tried["7"] > tried + 2


def test_what_is_known_of_full_clients_has_a_limit(
    poster: Poster, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest is forgotten: the first of three is tried as often as if nothing were known."""
    monkeypatch.setattr("lambdas.live.posting.REMEMBERED", 2)
    world.answer = lambda id_: 429 if int(id_) < 3 else 200
    for id_ in range(3):
        run(poster, world, [*postings(3)[id_ : id_ + 1], *postings(53)[3:]])
        run(poster, world, [*postings(3)[id_ : id_ + 1], *postings(53)[3:]])
    tried = dict(world.tried)
    run(poster, world, postings(53))
    again = [world.tried[id_] - tried[id_] for id_ in "012"]
    assert again[0] > 2
    assert again[1:] == [1, 1]


def test_a_full_client_slows_nobody_down(poster: Poster, world: World) -> None:
    world.answer = lambda id_: 429 if int(id_) % 100 == 7 else 200
    rate = poster.rate.per_second
    run(poster, world, postings(1_000))
    assert poster.rate.per_second == rate


def test_the_accounts_limit_is_taken_for_no_full_client(poster: Poster, world: World) -> None:
    """An account that takes 2,000 posts a second, and an audience that takes it a second."""
    tokens, filled = 100.0, world.now

    def answer(_id: str) -> int:
        nonlocal tokens, filled
        tokens, filled = min(tokens + 2_000 * (world.now - filled), 100.0), world.now
        tokens -= tokens >= 1
        return 200 if tokens >= 1 else 429

    world.answer = answer
    # One in 10,000 connections is taken for full by chance (BY_CHANCE): the same ones in every run.
    random.seed(1)
    run(poster, world, postings(2_000))
    assert poster.outcome.throttled > 100
    assert poster.outcome.posted >= 1_998
    gone, given_up = poster.take_unserved()
    assert gone == []
    assert len(given_up) == 2_000 - poster.outcome.posted
    assert poster.rate.per_second < 4_000


def test_who_keeps_silence_for_long_is_given_up_while_others_go_on(poster: Poster, world: World) -> None:
    world.answer = lambda id_: SILENT if id_ == "7" else 200
    poster.deliver(postings(51), world.now + 60)
    began = world.now
    poster.wait(world.now + 60)
    assert world.tried["7"] > 1, "a dead socket is one chance"
    assert world.now - began <= POSTING_SECONDS + 2 * ANSWER_SECONDS
    assert [posting.connection.id for posting in poster.take_unserved()[1]] == ["7"]


def test_an_only_viewer_who_keeps_silence_costs_a_second(poster: Poster, world: World) -> None:
    world.answer = lambda _id: SILENT
    assert run(poster, world, postings(1)) <= ANSWER_GRACE_SECONDS + GRACE_SECONDS
    assert len(poster.take_unserved()[1]) == 1


def test_a_gone_connection_is_reported_at_once(poster: Poster, world: World) -> None:
    world.answer = lambda id_: 410 if id_ == "1" else 200
    run(poster, world, postings(3))
    gone, given_up = poster.take_unserved()
    assert ([posting.connection.id for posting in gone], given_up) == (["1"], [])
    assert world.tried["1"] == 1


def test_a_connection_whose_handshake_may_still_run_is_not_gone(poster: Poster, world: World) -> None:
    world.answer = lambda _id: 410
    run(poster, world, postings(1, renewed_at=int(world.now) - HANDSHAKE_SECONDS + 1))
    gone, given_up = poster.take_unserved()
    assert (gone, len(given_up)) == ([], 1)


def test_a_connection_that_api_gateway_does_not_know_how_to_serve_is_given_up(
    poster: Poster, world: World
) -> None:
    world.answer = lambda _id: 400
    run(poster, world, postings(1))
    (given_up,) = poster.take_unserved()[1]
    assert given_up.is_refused()
    assert world.tried["0"] == 1


def test_a_refusal_of_the_function_stops_everything(poster: Poster, world: World) -> None:
    world.answer = lambda _id: 403
    with pytest.raises(ForbiddenError, match="HTTP 403"):
        run(poster, world, postings(1_000))
    assert len(world.tried) < 1_000


def test_time_that_is_up_leaves_the_rest_unstarted(poster: Poster, world: World) -> None:
    poster.rate.per_second = 100.0
    poster.rate._tokens = 0.0
    started = poster.deliver(postings(1_000), world.now + 1.0)
    assert 50 < started < 1_000
    assert len(world.tried) == started


def test_answers_that_have_come_count_although_the_time_is_up(poster: Poster, world: World) -> None:
    """The process may have been frozen, or busy for long, since it looked."""
    poster.deliver(postings(5), world.now + 60)
    world.now += 1.0
    poster.finish(world.now)
    assert poster.outcome.posted == 5
    assert poster.take_unserved() == ([], [])


def test_who_has_answered_while_the_caller_was_busy_is_not_under_way(poster: Poster, world: World) -> None:
    poster.deliver(postings(5), world.now + 60)
    world.now += 1.0
    poster.take_answers()
    assert (poster.under_way(), poster.outcome.posted) == ([], 5)


def test_a_connection_that_is_closed_counts_as_gone(poster: Poster, world: World) -> None:
    run(poster, world, [Posting("1337", Connection("1", OLD), [CLOSE])])
    gone, _ = poster.take_unserved()
    assert [posting.connection.id for posting in gone] == ["1"]
    assert poster.outcome.posted == 0


def test_a_connection_that_was_overtaken_is_given_up_although_served(poster: Poster, world: World) -> None:
    (posting,) = postings(1)
    poster.deliver([posting], world.now + 60)
    posting.overtaken = True
    poster.finish(world.now + 60)
    assert poster.take_unserved() == ([], [posting])


def test_a_slow_api_is_waited_for_and_a_connection_that_does_not_answer_is_not(
    poster: Poster, world: World
) -> None:
    world.per_second = 450
    poster.deliver(postings(480), world.now + 60)
    under_way = {posting.connection.id for posting in poster.under_way()}
    assert under_way
    began = world.now
    poster.catch_up({"somebody else"}, world.now + 60)
    assert world.now == began
    poster.catch_up(under_way, world.now + 60)
    assert poster.under_way() == []

    world.answer = lambda id_: SILENT if id_ == "0" else 200
    began = world.now
    poster.deliver(postings(480), world.now + 60)
    poster.catch_up({str(number) for number in range(480)}, world.now + 60)
    assert [posting.connection.id for posting in poster.under_way()] == ["0"]
    assert world.now - began < 480 / 450 + 2 * GRACE_SECONDS


def test_an_invocation_begins_with_nothing_under_way(poster: Poster, world: World) -> None:
    world.answer = lambda _id: SILENT
    poster.deliver(postings(5), world.now + 60)
    poster.begin()
    assert poster.under_way() == []
    assert poster.take_unserved() == ([], [])
    assert poster.outcome.given_up == 0
