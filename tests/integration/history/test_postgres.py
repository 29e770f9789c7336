"""The local cloud's PostgreSQL: its data outlives it, and what is in its way is named."""

import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from local import postgres


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="fanfare-postgres-"))
    yield path / "database"
    shutil.rmtree(path)


def test_data_and_password_outlive_the_server(directory: Path) -> None:
    with postgres.running(directory, durable=False) as first:
        with psycopg.connect(first.url()) as connection:
            connection.execute("create table kept (id text)")
        assert stat.S_IMODE((directory / "password").stat().st_mode) == 0o600
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(first.url())
    with postgres.running(directory, durable=False) as second:
        assert second.password == first.password
        with psycopg.connect(second.url()) as connection:
            connection.execute("select from kept")


def test_a_run_that_died_while_making_the_data_does_not_matter(directory: Path) -> None:
    (directory / "data.new").mkdir(parents=True)
    (directory / "data.new" / "PG_VERSION").write_text("18")
    with postgres.running(directory, durable=False) as server, psycopg.connect(server.url()):
        pass


def test_a_taken_port_is_named(directory: Path) -> None:
    with socket.create_server((postgres.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(postgres.PostgresError, match=f"{port} .*choose another port"),
            postgres.running(directory, port),
        ):
            pass


def test_data_that_another_server_uses_is_refused(server: postgres.Postgres, directory: Path) -> None:
    with (
        postgres.running(directory, durable=False) as first,
        pytest.raises(postgres.PostgresError, match="Is another postmaster"),
        postgres.running(directory, durable=False),
    ):
        pass
    assert first.port != server.port


def test_it_asks_for_the_password_and_the_functions_user_is_no_superuser(server: postgres.Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server.url().replace(server.password, "wrong"))
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("show is_superuser").fetchone() == ("off",)
