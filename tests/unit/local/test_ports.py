"""The ports that a local cloud chooses."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.errors import LocalCloudError
from local.ports import HOST, PortReservations, any_free_port, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    return any_free_port()


def test_a_port_is_free_until_a_program_listens(taken: int, free: int) -> None:
    assert is_free(free)
    assert not is_free(taken)


def test_ports_that_are_set_are_used(tmp_path: Path, free: int) -> None:
    with PortReservations(tmp_path) as reservations:
        assert reservations.choose({"FANFARE_PORT": str(free)}).emulator == free


def test_all_ports_differ_and_can_be_listened_on(tmp_path: Path) -> None:
    with PortReservations(tmp_path) as reservations:
        ports = reservations.choose({})
        assert len({ports.emulator, ports.twitch, ports.database}) == 3
        assert all(is_free(port) for port in (ports.emulator, ports.twitch, ports.database))


def test_two_that_start_at_the_same_moment_share_no_port(tmp_path: Path) -> None:
    with PortReservations(tmp_path) as one, PortReservations(tmp_path) as other:
        first, second = one.choose({}), other.choose({})
    assert {first.emulator, first.twitch, first.database}.isdisjoint(
        {second.emulator, second.twitch, second.database}
    )


def test_a_port_can_be_taken_again_after_its_reservation_ended(tmp_path: Path, free: int) -> None:
    for _ in range(2):
        with PortReservations(tmp_path) as reservations:
            assert reservations.choose({"FANFARE_TWITCH_PORT": str(free)}).twitch == free


@pytest.mark.parametrize("variable", ["FANFARE_PORT", "FANFARE_TWITCH_PORT", "FANFARE_DATABASE_PORT"])
def test_a_set_port_that_is_in_use_is_refused_with_advice(tmp_path: Path, taken: int, variable: str) -> None:
    with (
        PortReservations(tmp_path) as reservations,
        pytest.raises(LocalCloudError, match=f"Port {taken} .*in use.*another port with {variable}"),
    ):
        reservations.choose({variable: str(taken)})


@pytest.mark.parametrize("value", ["0", "65536", "-1", "http", "80 ", "٣"])
def test_a_value_that_is_no_port_is_refused(tmp_path: Path, value: str) -> None:
    with (
        PortReservations(tmp_path) as reservations,
        pytest.raises(LocalCloudError, match="FANFARE_PORT must be a port number"),
    ):
        reservations.choose({"FANFARE_PORT": value})
