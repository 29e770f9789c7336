"""The connection a function keeps: opened when needed, replaced when lost, no more allowed than needed."""

import dataclasses
import os
import select
import signal
import socket
import time
from collections.abc import Callable

import psycopg
import pytest

from lambdas.history.database import Connection, Database, DatabaseSettings, DeadlineError
from local.ports import HOST

OpenDatabase = Callable[..., Database]


def process_id(connection: Connection) -> int:
    return connection.info.backend_pid


def test_the_connection_is_kept(open_database: OpenDatabase, settings: DatabaseSettings) -> None:
    database = open_database(settings)
    assert database.run(process_id) == database.run(process_id)


def test_a_lost_connection_is_replaced_once(
    open_database: OpenDatabase, connection: Connection, settings: DatabaseSettings
) -> None:
    database = open_database(settings)
    lost = database.run(process_id)
    connection.execute("select pg_terminate_backend(%s, 60000)", [lost])
    row = database.run(lambda fresh: fresh.execute("select pg_backend_pid() as id").fetchone())
    assert row is not None
    assert row["id"] != lost


def test_a_connection_that_was_idle_for_too_long_is_replaced(
    open_database: OpenDatabase, settings: DatabaseSettings
) -> None:
    database = open_database(settings)

    def fall_asleep(connection: Connection) -> int:
        connection.execute("set idle_session_timeout = 10")
        select.select([connection.fileno()], [], [], 60)  # readable once the server has ended it
        return process_id(connection)

    slept = database.run(fall_asleep)
    row = database.run(lambda fresh: fresh.execute("select pg_backend_pid() as id").fetchone())
    assert row is not None
    assert row["id"] != slept


@pytest.mark.parametrize(("proxy", "prepared"), [(0, 1), (1, 0)], ids=["direct", "proxy"])
def test_statements_are_prepared_unless_a_proxy_shares_the_connection(
    open_database: OpenDatabase, settings: DatabaseSettings, proxy: int, prepared: int
) -> None:
    database = open_database(dataclasses.replace(settings, database_proxy=proxy))
    for _ in range(10):
        database.run(lambda connection: connection.execute("select from seen_events where id = %s", ["x"]))
    row = database.run(
        lambda connection: connection.execute(
            "select count(*) from pg_prepared_statements where statement like '%%seen_events%%'",
            prepare=False,
        ).fetchone()
    )
    assert row == {"count": prepared}


def test_work_that_loses_every_connection_fails(
    open_database: OpenDatabase, settings: DatabaseSettings
) -> None:
    attempts: list[int] = []

    def work(connection: Connection) -> None:
        attempts.append(process_id(connection))
        connection.execute("select pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(psycopg.OperationalError, match="terminating connection"):
        open_database(settings).run(work)
    assert len(set(attempts)) == 2


def test_a_statement_that_takes_too_long_is_cancelled_and_not_tried_again(
    open_database: OpenDatabase, settings: DatabaseSettings
) -> None:
    attempts: list[Connection] = []

    def work(connection: Connection) -> None:
        attempts.append(connection)
        connection.execute("select pg_sleep(30)")

    with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
        open_database(settings, statement_timeout_seconds=1).run(work)
    assert len(attempts) == 1


class TestFrozenServer:
    """It keeps its connections and does not answer: its own time limits do nothing."""

    def test_work_ends_at_its_deadline_and_the_next_gets_a_new_connection(
        self, open_database: OpenDatabase, settings: DatabaseSettings
    ) -> None:
        database = open_database(settings, deadline_seconds=1)
        frozen = database.run(process_id)
        os.kill(frozen, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(DeadlineError):
                database.run(lambda connection: connection.execute("select"))
            assert time.monotonic() - began >= 1
            # Another process serves the new connection.
            assert database.run(process_id) != frozen
        finally:
            os.kill(frozen, signal.SIGCONT)

    def test_a_connection_that_is_lost_is_not_opened_again_when_no_time_is_left_for_it(
        self, open_database: OpenDatabase, settings: DatabaseSettings
    ) -> None:
        database = open_database(settings, connect_timeout_seconds=60, deadline_seconds=59)
        attempts: list[Connection] = []

        def lose(connection: Connection) -> None:
            attempts.append(connection)
            raise psycopg.OperationalError("the server closed the connection")

        with pytest.raises(psycopg.OperationalError):
            database.run(lose)
        assert len(attempts) == 1

    def test_a_connection_that_is_not_answered_is_not_tried_twice(
        self, open_database: OpenDatabase, settings: DatabaseSettings
    ) -> None:
        with socket.create_server((HOST, 0), backlog=128) as silent:
            port = silent.getsockname()[1]
            database = open_database(
                dataclasses.replace(settings, database_port=port),
                connect_timeout_seconds=2,
                deadline_seconds=30,
            )
            with pytest.raises(psycopg.errors.ConnectionTimeout):
                database.run(process_id)
            silent.setblocking(False)
            silent.accept()[0].close()
            with pytest.raises(BlockingIOError):
                silent.accept()


def test_a_table_that_is_altered_under_an_open_connection_is_prepared_for_again(
    open_database: OpenDatabase, settings: DatabaseSettings, connection: Connection
) -> None:
    database = open_database(settings)
    connection.execute("create table altered (id integer)")
    for _ in range(10):
        database.run(lambda kept: kept.execute("select * from altered").fetchall())
    connection.execute("alter table altered alter column id type bigint")
    assert database.run(lambda kept: kept.execute("select * from altered").fetchall()) == []


def test_a_mistake_in_a_statement_is_not_tried_again(
    open_database: OpenDatabase, settings: DatabaseSettings
) -> None:
    attempts: list[Connection] = []

    def work(connection: Connection) -> None:
        attempts.append(connection)
        connection.execute("select from nowhere")

    with pytest.raises(psycopg.errors.UndefinedTable):
        open_database(settings).run(work)
    assert len(attempts) == 1


def test_the_server_knows_whose_connection_it_is(
    open_database: OpenDatabase, connection: Connection, settings: DatabaseSettings
) -> None:
    database = open_database(settings, application_name="fanfare-query")
    query = "select application_name from pg_stat_activity where pid = %s"
    assert connection.execute(query, [database.run(process_id)]).fetchone() == {
        "application_name": "fanfare-query"
    }


def test_an_unreachable_database_is_an_operational_error(
    open_database: OpenDatabase, settings: DatabaseSettings
) -> None:
    database = open_database(dataclasses.replace(settings, database_port=1))
    with pytest.raises(psycopg.OperationalError, match="refused"):
        database.run(process_id)
