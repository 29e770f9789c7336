"""The benchmarks' recorders are processes of their own: what they are given must reach them."""

import pytest
from psycopg.errors import OperationalError

from benchmarks import writers
from benchmarks.recorder import record_and_archive
from lambdas.history.database import Connection, DatabaseSettings
from local import postgres


def test_all_writers_record(
    server: postgres.Postgres, settings: DatabaseSettings, connection: Connection
) -> None:
    batches = writers.run(server.url(settings.database_name), record_and_archive, batches=1, size=3)

    row = connection.execute("select count(*) as recorded from events").fetchone()
    assert len(batches) >= writers.WRITERS
    assert row == {"recorded": (len(batches) + writers.WRITERS * writers.WARM_UP_BATCHES) * 3}


def test_a_writer_that_cannot_begin_ends_the_run_with_its_error(server: postgres.Postgres) -> None:
    with pytest.raises(ExceptionGroup) as ended:
        writers.run(server.url("nowhere"), record_and_archive, batches=1, size=1)

    assert ended.group_contains(OperationalError, match='"nowhere" does not exist')
