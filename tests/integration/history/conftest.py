"""A real PostgreSQL for the event store's tests: one server for a run, a new database for each test."""

import contextlib
import dataclasses
import functools
import importlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import psycopg
import pytest
from moto import mock_aws
from psycopg import sql

from lambdas.common.event import Event
from lambdas.history.database import Connection, Database, DatabaseSettings
from lambdas.history.migrations import migrate
from lambdas.history.upkeep import ensure_partitions
from local import postgres
from local.ports import HOST

DAY = 86400
EXPORTS = "exports"

NewDatabase = Callable[[str], DatabaseSettings]
OpenDatabase = Callable[..., Database]
MakeEvents = Callable[..., list[Event]]
LoadHandler = Callable[[str], ModuleType]


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Postgres]:
    # Archiving waits for every transaction that writes: there are none but the tests' own.
    with (
        tempfile.TemporaryDirectory(prefix="fanfare-postgres-") as directory,
        postgres.run_blocking(Path(directory), durable=False, settings={"autovacuum": "off"}) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def new_database(server: postgres.Postgres) -> Iterator[NewDatabase]:
    """Create a database like the named one; all of them are gone with the server."""
    numbers = itertools.count()
    with psycopg.connect(server.url("postgres", postgres.SUPERUSER), autocommit=True) as admin:

        def create(template: str) -> DatabaseSettings:
            name = f"test_{next(numbers)}"
            admin.execute(
                sql.SQL("create database {} template {} owner fanfare").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
            return DatabaseSettings(
                database_host=HOST,
                database_port=server.port,
                database_name=name,
                database_user=postgres.USER,
            )

        yield create


def make_database(server: postgres.Postgres, settings: DatabaseSettings, **options: Any) -> Database:
    defaults = {
        "application_name": "fanfare-test",
        # Long enough for a busy machine.
        "connect_timeout_seconds": 120,
        "statement_timeout_seconds": 120,
    }
    return Database(settings, lambda: server.password, **{**defaults, **options})


@pytest.fixture(autouse=True)
def one_day() -> None:
    """A test begins and ends on the same day in UTC, and "two seconds ago" is on it, too."""
    now = time.time() % DAY
    if now < 3 or now > DAY - 90:
        time.sleep((3 - now) % DAY)


@pytest.fixture(scope="session")
def migrated(server: postgres.Postgres, new_database: NewDatabase) -> Callable[[int], str]:
    """The name of a database with the schema and the partitions of a day (today), to be copied."""

    @functools.cache
    def migrated(_day: int) -> str:
        settings = new_database("template1")
        database = make_database(server, settings)
        database.run(migrate)
        database.run(lambda connection: ensure_partitions(connection, DAY))
        database.close()  # a database in use cannot be copied
        return settings.database_name

    return migrated


@pytest.fixture
def empty_settings(new_database: NewDatabase) -> DatabaseSettings:
    """Where a database without a schema is."""
    return new_database("template1")


@pytest.fixture
def settings(migrated: Callable[[int], str], new_database: NewDatabase) -> DatabaseSettings:
    """Where this test's event store is."""
    return new_database(migrated(int(time.time()) // DAY))


@pytest.fixture
def open_database(server: postgres.Postgres) -> Iterator[OpenDatabase]:
    """Make a Database that is closed after the test."""
    with contextlib.ExitStack() as opened:

        def open_database(settings: DatabaseSettings, **options: Any) -> Database:
            database = make_database(server, settings, **options)
            opened.callback(database.close)
            return database

        yield open_database


@pytest.fixture
def connect(open_database: OpenDatabase) -> Callable[[DatabaseSettings], Connection]:
    """Open a connection as the functions have it; closed after the test."""
    return lambda settings: open_database(settings).run(lambda connection: connection)


@pytest.fixture
def connection(settings: DatabaseSettings, connect: Callable[[DatabaseSettings], Connection]) -> Connection:
    """A connection to this test's event store."""
    return connect(settings)


@pytest.fixture
def make_events() -> MakeEvents:
    """Make events with ids that are numbered through the test."""
    numbers = itertools.count(1)

    def make(count: int = 1, **fields: Any) -> list[Event]:
        now = datetime.now(UTC)
        template = Event(
            id="",
            streamer_id="1001",
            streamer_name="ana",
            event_type="channel.raid",
            occurred_at=now,
            created_at=now,
            payload={"viewers": 120},
        )
        return [
            dataclasses.replace(template, **{"id": f"event-{next(numbers):04}", **fields})
            for _ in range(count)
        ]

    return make


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An AWS with the bucket for exports."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket=EXPORTS)
        yield


@pytest.fixture
def s3(aws: None) -> Any:
    return boto3.client("s3")


@pytest.fixture
def lambda_context() -> SimpleNamespace:
    return SimpleNamespace(
        function_name="test",
        memory_limit_in_mb=512,
        invoked_function_arn="arn:aws:lambda:eu-west-1:123456789012:function:test",
        aws_request_id="request",
        get_remaining_time_in_millis=lambda: 900_000,
    )


@pytest.fixture
def load_handler(
    server: postgres.Postgres, settings: DatabaseSettings, aws: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LoadHandler]:
    """Import a function's handler module anew, with an environment as in AWS and the password in a secret."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "test")
    with contextlib.ExitStack() as opened:
        secret = boto3.client("secretsmanager").create_secret(
            Name="database", SecretString=json.dumps({"password": server.password})
        )
        environment = {**dataclasses.asdict(settings), "database_secret_arn": secret["ARN"]}
        for name, value in environment.items():
            monkeypatch.setenv(name.upper(), str(value))
        monkeypatch.setenv("PARTITION_SECONDS", str(DAY))
        monkeypatch.setenv("RETENTION_SECONDS", str(90 * DAY))
        monkeypatch.setenv("EXPORTS_BUCKET", EXPORTS)

        def load(name: str) -> ModuleType:
            monkeypatch.delitem(sys.modules, f"lambdas.handlers.{name}", raising=False)
            module = importlib.import_module(f"lambdas.handlers.{name}")
            opened.callback(module.DATABASE.close)
            if name == "archiver":
                opened.callback(module.SECOND_DATABASE.close)
            return module

        yield load
