"""A large audience is divided into parts that are about equally large and together are all of it."""

import zlib

import pytest

from lambdas.common.connections import LAST_PLACE
from lambdas.live.parts import MOST_PARTS, SMALL_AUDIENCE, VIEWERS, number_of_parts, parts


def places(count: int) -> list[str]:
    """Where connections with ids like API Gateway's stand in the registry."""
    ids = [f"L0SM{number:07}cOFvHcCIhw=" for number in range(count)]
    return sorted(f"{zlib.crc32(id_.encode()):08x}#{id_}" for id_ in ids)


@pytest.mark.parametrize("of", [1, 2, 4, 32])
def test_every_connection_is_in_one_part(of: int) -> None:
    divided = parts("1337", of)
    for place in [*places(200)]:
        assert sum(part.begin < place < part.end for part in divided) == 1
    assert [part.end for part in divided[:-1]] == [part.begin for part in divided[1:]]
    assert (divided[0].begin, divided[-1].end) == ("", LAST_PLACE)


def test_parts_are_about_equally_large() -> None:
    everybody = places(8_000)
    for part in parts("1337", 8):
        assert 850 < sum(part.begin < place < part.end for place in everybody) < 1_150


@pytest.mark.parametrize(
    ("viewers", "least", "most"), [(101, 1, 1), (3_000, 1, 1), (10_000, 1, 4), (100_000, 16, 32)]
)
def test_the_first_connections_show_how_many_parts_are_needed(viewers: int, least: int, most: int) -> None:
    first = places(viewers)[: SMALL_AUDIENCE + 1]
    assert least <= number_of_parts(len(first), first[-1]) <= most


def test_there_is_a_most() -> None:
    assert number_of_parts(101, "00000001#a") == MOST_PARTS
    assert MOST_PARTS * VIEWERS > 100_000
