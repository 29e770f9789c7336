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
from lambdas.history.recording import record
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


def midnight() -> int:
    return int(datetime.now(UTC).timestamp()) // 86400 * 86400


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
        found = metrics(capsys)
        assert (found["EventsRecorded"], found["EventsDuplicate"], found["EventsUnrecordable"]) == (
            [2.0],
            [1.0],
            [0.0],
        )
        assert 0 < found["WatermarkLag"][0] < 60
        assert found["OldestTransaction"][0] >= 0

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
        capsys: Output,
    ) -> None:
        connection.execute("drop function announce_archiving")
        message = make_events()[0].to_json()
        assert load_handler("recorder").handler(batch(message), lambda_context) == {"batchItemFailures": []}
        assert connection.execute("select count(*) from events").fetchone() == {"count": 1}
        assert metrics(capsys)["WatermarkLag"][0] > 0, "the alarm hears of it"

    def test_messages_that_can_never_be_recorded_are_kept_with_the_reason_and_the_others_recorded(
        self,
        load_handler: LoadHandler,
        lambda_context: SimpleNamespace,
        make_events: MakeEvents,
        connection: Connection,
        capsys: Output,
    ) -> None:
        recorder = load_handler("recorder")
        good = [event.to_json() for event in make_events(3)]
        (poison,) = make_events(id="with \0")
        bodies = ["no json \ud800\0", good[0], poison.to_json(), good[1], "{}", good[2]]
        assert recorder.handler(batch(*bodies), lambda_context) == {"batchItemFailures": []}
        assert recorder.handler(batch(*bodies), lambda_context) == {"batchItemFailures": []}
        assert connection.execute("select count(*) from events").fetchone() == {"count": 3}
        letters = connection.execute("select * from dead_letters order by message_id").fetchall()
        kept = {row["message_id"]: row["body"].decode(errors="surrogatepass") for row in letters}
        assert kept == {f"message-{number}": bodies[number] for number in (0, 2, 4)}
        assert "not an event" in letters[0]["reason"]
        assert "0x00" in letters[1]["reason"]
        assert "EventsUnrecordable" in capsys.readouterr().out

    def test_dead_letters_that_can_be_recorded_after_all_are_recorded_when_an_operator_asks(
        self,
        load_handler: LoadHandler,
        lambda_context: SimpleNamespace,
        make_events: MakeEvents,
        connection: Connection,
    ) -> None:
        (event,) = make_events()
        connection.execute(
            "insert into dead_letters values ('1', %s, 'a mistake of ours'), ('2', '{}', 'not an event')",
            [event.to_json().encode()],
        )
        load_handler("archiver").handler({"record_dead_letters": True}, lambda_context)
        assert connection.execute("select id from events").fetchall() == [{"id": event.id}]
        assert connection.execute("select message_id from dead_letters").fetchall() == [{"message_id": "2"}]

    def test_a_batch_of_nothing_but_malformed_messages(
        self, load_handler: LoadHandler, lambda_context: SimpleNamespace
    ) -> None:
        answer = load_handler("recorder").handler(batch("no json"), lambda_context)
        assert answer == {"batchItemFailures": []}

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
        found = {name: values[0] for name, values in metrics(capsys).items()}
        assert found.pop("PartitionsAhead") == 2
        assert found.pop("WatermarkLag") > 0
        assert found.keys() == {
            *("PartitionsSealed", "EventsArchived", "WindowDaysMoved", "ArchivesRolledUp", "IdsForgotten"),
            *("ErasuresFinished", "PartsExported", "EventsExported", "PartitionsDropped", "ExportsBehind"),
            *("TotalsWrong", "OldestTransaction", "DeadTotals"),
        }

    def test_each_step_is_done_whatever_the_others_do_and_the_run_fails(
        self,
        load_handler: LoadHandler,
        lambda_context: SimpleNamespace,
        make_events: MakeEvents,
        connection: Connection,
        capsys: Output,
    ) -> None:
        record(connection, make_events(3))
        connection.execute("update events set created_at = created_at - interval '2 seconds'")
        connection.execute("drop function create_events_partition, roll_up_archived_counts")
        connection.execute("drop table events_" + str(midnight() + 3 * 86400))
        connection.execute("drop function forget_seen_events")
        with pytest.raises(ExceptionGroup) as failed:
            load_handler("archiver").handler({}, lambda_context)
        assert len(failed.value.exceptions) == 2
        found = metrics(capsys)
        assert found["EventsArchived"] == [3.0]
        assert found["TotalsWrong"] == [0.0]
        assert "PartitionsAhead" not in found

    def test_totals_that_are_wrong_are_told(
        self,
        load_handler: LoadHandler,
        lambda_context: SimpleNamespace,
        make_events: MakeEvents,
        connection: Connection,
        capsys: Output,
    ) -> None:
        record(connection, make_events(3))
        connection.execute("update events set created_at = created_at - interval '2 seconds'")
        archiver = load_handler("archiver")
        archiver.handler({}, lambda_context)
        assert metrics(capsys)["TotalsWrong"] == [0.0]
        connection.execute("update archived_totals set event_count = 4 where event_type = ''")
        connection.execute("insert into archived_windows values (7, '', '1001', 1)")
        archiver.handler({}, lambda_context)
        assert metrics(capsys)["TotalsWrong"] == [2.0]


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
