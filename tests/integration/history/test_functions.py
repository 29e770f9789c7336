"""The functions recorder, archiver and migrator, invoked as AWS invokes them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import psycopg
import pytest

from lambdas.common.event import Event
from lambdas.common.settings import SettingsError
from lambdas.history.database import Connection, DatabaseSettings
from lambdas.history.migrations import migration_files
from tests.infrastructure.functions import DATABASE_FUNCTIONS

LoadHandler = Callable[[str], ModuleType]
MakeEvents = Callable[..., list[Event]]
Output = pytest.CaptureFixture[str]


def batch(*bodies: str) -> dict[str, Any]:
    records = [{"messageId": f"message-{number}", "body": body} for number, body in enumerate(bodies)]
    return {"Records": records}


def metrics(capsys: Output) -> dict[str, list[float]]:
    """The metrics in the embedded format that a function wrote."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (blob,) = [line for line in lines if "_aws" in line]
    return {name: value for name, value in blob.items() if isinstance(value, list)}


class TestRecorder:
    def test_new_and_repeated_events_are_counted_apart(
        self,
        load_handler: LoadHandler,
        lambda_context: SimpleNamespace,
        make_events: MakeEvents,
        capsys: Output,
    ) -> None:
        recorder = load_handler("recorder")
        first, second = (event.to_json() for event in make_events(2))
        assert recorder.handler(batch(first, first, second), lambda_context) == {"batchItemFailures": []}
        assert metrics(capsys) == {"EventsRecorded": [2.0], "EventsDuplicate": [1.0]}

    def test_what_was_recorded_is_archived_now_and_then(
        self,
        load_handler: LoadHandler,
        lambda_context: SimpleNamespace,
        make_events: MakeEvents,
        connection: Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        recorder = load_handler("recorder")
        monkeypatch.setattr(recorder, "ARCHIVE_EVERY_SECONDS", 3600)

        def archived_until() -> datetime:
            """The watermark after one more event was recorded."""
            message = make_events()[0].to_json()
            assert recorder.handler(batch(message), lambda_context) == {"batchItemFailures": []}
            row = connection.execute("select archived_until from watermark").fetchone()
            assert row is not None
            watermark: datetime = row["archived_until"]
            return watermark

        began = datetime.now(UTC)
        first = archived_until()
        assert first >= began - timedelta(seconds=1)
        assert archived_until() == first, "it is not time"
        monkeypatch.setattr(recorder, "_next_archiving", 0.0)
        assert archived_until() > first

    def test_a_batch_is_recorded_though_it_cannot_be_archived(
        self,
        load_handler: LoadHandler,
        lambda_context: SimpleNamespace,
        make_events: MakeEvents,
        connection: Connection,
    ) -> None:
        connection.execute("drop function archive_recent_counts")
        message = make_events()[0].to_json()
        assert load_handler("recorder").handler(batch(message), lambda_context) == {"batchItemFailures": []}
        assert connection.execute("select count(*) from events").fetchone() == {"count": 1}

    def test_only_messages_that_cannot_be_recorded_are_reported(
        self,
        load_handler: LoadHandler,
        lambda_context: SimpleNamespace,
        make_events: MakeEvents,
        connection: Connection,
        capsys: Output,
    ) -> None:
        good = [event.to_json() for event in make_events(3)]
        (poison,) = make_events(id="with \0")
        answer = load_handler("recorder").handler(
            batch("no json", good[0], poison.to_json(), good[1], "{}", good[2]), lambda_context
        )
        failed = sorted(item["itemIdentifier"] for item in answer["batchItemFailures"])
        assert failed == ["message-0", "message-2", "message-4"]
        assert connection.execute("select count(*) from events").fetchone() == {"count": 3}
        assert metrics(capsys) == {"EventsRecorded": [3.0], "EventsDuplicate": [0.0]}

    def test_a_batch_of_nothing_but_malformed_messages(
        self, load_handler: LoadHandler, lambda_context: SimpleNamespace
    ) -> None:
        answer = load_handler("recorder").handler(batch("no json"), lambda_context)
        assert answer == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}

    def test_without_a_partition_the_whole_batch_comes_again(
        self,
        load_handler: LoadHandler,
        lambda_context: SimpleNamespace,
        make_events: MakeEvents,
        connection: Connection,
    ) -> None:
        recorder, archiver = load_handler("recorder"), load_handler("archiver")
        partitions = (
            "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'events'::regclass"
        )
        for row in connection.execute(partitions).fetchall():
            connection.execute(f"drop table {row['name']}")
        messages = batch(make_events()[0].to_json())
        with pytest.raises(psycopg.errors.CheckViolation, match="no partition"):
            recorder.handler(messages, lambda_context)

        archiver.handler({}, lambda_context)
        assert recorder.handler(messages, lambda_context) == {"batchItemFailures": []}
        assert connection.execute("select count(*) from events").fetchone() == {"count": 1}

    def test_recording_survives_a_failover_between_two_batches(
        self,
        load_handler: LoadHandler,
        lambda_context: SimpleNamespace,
        make_events: MakeEvents,
        connection: Connection,
    ) -> None:
        recorder = load_handler("recorder")
        first, second = (event.to_json() for event in make_events(2))
        recorder.handler(batch(first), lambda_context)
        connection.execute(
            "select pg_terminate_backend(pid, 60000) from pg_stat_activity "
            "where application_name = 'fanfare-recorder' and datname = current_database()"
        )
        assert recorder.handler(batch(first, second), lambda_context) == {"batchItemFailures": []}
        assert connection.execute("select count(*) from events").fetchone() == {"count": 2}


class TestArchiver:
    def test_it_tells_how_many_partitions_are_ahead(
        self, load_handler: LoadHandler, lambda_context: SimpleNamespace, capsys: Output
    ) -> None:
        load_handler("archiver").handler({"source": "aws.scheduler"}, lambda_context)
        assert metrics(capsys) == {
            "PartitionsAhead": [2.0],
            "PartitionsSealed": [0.0],
            "EventsArchived": [0.0],
            "ArchivesRolledUp": [0.0],
            "PartitionsExported": [0.0],
            "PartitionsDropped": [0.0],
            "EventsExported": [0.0],
        }


class TestMigrator:
    def test_it_makes_an_empty_database_ready_to_record(
        self,
        empty_settings: DatabaseSettings,
        load_handler: LoadHandler,
        lambda_context: SimpleNamespace,
        make_events: MakeEvents,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("DATABASE_NAME", empty_settings.database_name)
        migrator = load_handler("migrator")
        assert migrator.handler({}, lambda_context) == {
            "applied": [file.name for file in migration_files()],
            "partitions_ahead": 2,
        }
        assert migrator.handler({}, lambda_context)["applied"] == []
        assert load_handler("postmigrator").handler({}, lambda_context) == {"applied": []}
        answer = load_handler("recorder").handler(batch(make_events()[0].to_json()), lambda_context)
        assert answer == {"batchItemFailures": []}


@pytest.mark.parametrize("name", DATABASE_FUNCTIONS)
class TestSettings:
    def test_a_function_without_its_settings_does_not_start(
        self, load_handler: LoadHandler, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.delenv("DATABASE_HOST")
        with pytest.raises(SettingsError, match="DATABASE_HOST"):
            load_handler(name)

    def test_a_token_of_the_role_is_only_sent_to_a_verified_server(
        self, load_handler: LoadHandler, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.delenv("DATABASE_SECRET_ARN")
        with pytest.raises(SettingsError, match="DATABASE_CA_FILE"):
            load_handler(name)


def test_without_a_secret_the_password_is_a_token_of_the_role(
    load_handler: LoadHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_SECRET_ARN")
    monkeypatch.setenv("DATABASE_CA_FILE", "global-bundle.pem")
    token: str = load_handler("recorder").DATABASE._password()
    assert token.startswith("127.0.0.1:")
    assert "Action=connect&DBUser=fanfare" in token
    assert "X-Amz-Signature=" in token
