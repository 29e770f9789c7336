"""Whatever Twitch sends in place of a field: the event is taken, stored once as it is, and told."""

import copy
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from lambdas.common import aws
from lambdas.common.event import Event as StoredEvent
from lambdas.history.database import Connection
from lambdas.ingest.eventsub_signature import sign
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES, SubscriptionType
from local.twitch.example_events import Event, Scene
from local.twitch.subscription_types import SUBSCRIPTION_TYPE_BY_NAME
from local.twitch.users import User
from tests.integration.functions import Function, aws_variables, load
from tests.integration.history.conftest import LoadHandler
from tests.integration.subscriptions.servers import Answer, Request, serve

FRONTEND = Path(__file__).parents[3] / "frontend"
SECRET = "a webhook secret for tests"
ABSENT = object()
ODD: tuple[Any, ...] = (
    ABSENT,
    None,
    "",
    " ",
    7,
    True,
    {},
    [None, {"x": [1]}],
    "x" * 10_000,
    "a\0\ud800b",
)
BATCH = 200
STORED = """
    select id, streamer_id, streamer_name, event_type, occurred_at, created_at, payload
    from events
    order by id collate "C"
"""

FieldPath = tuple[str | int, ...]


def paths(value: Any, place: FieldPath = ()) -> Iterator[FieldPath]:
    """Where the fields of an event are, those inside others included."""
    if not isinstance(value, dict | list):
        return
    for name, content in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*place, name)
        yield from paths(content, (*place, name))


def replaced(event: Event, path: FieldPath, odd: Any) -> Event:
    """The event with something else in this place."""
    event = copy.deepcopy(event)
    holder: Any = event
    for name in path[:-1]:
        holder = holder[name]
    if odd is ABSENT:
        del holder[path[-1]]
    else:
        holder[path[-1]] = odd
    return event


def odd_events(row: SubscriptionType) -> Iterator[Event]:
    """The type's example with each of its fields odd in turn, and with all of them odd."""
    scene = Scene(User("1", "marlowe"), User("2", "wren"), datetime.now(UTC))
    example = SUBSCRIPTION_TYPE_BY_NAME[row.event_type].make_event(scene)
    for odd in ODD:
        yield {} if odd is ABSENT else dict.fromkeys(example, odd)
        for path in paths(example):
            yield replaced(example, path, odd)


class Webhook:
    """The webhook's function, with an SNS that keeps what is published, in this order."""

    def __init__(self) -> None:
        self.function: Function
        self.published: list[str] = []

    def answer_aws(self, request: Request) -> Answer:
        """Be SNS, and the secret that Twitch signs with."""
        if "secretsmanager" in request.headers.get("x-amz-target", ""):
            return Answer(200, {"SecretString": SECRET, "VersionId": "1"})
        self.published += parse_qs(request.body, keep_blank_values=True)["Message"]
        return Answer(200, "<PublishResponse/>", content_type="text/xml")


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Webhook]:
    webhook = Webhook()
    # The machine may be busy: no call ends because the server is slow.
    for limit in ("CONNECT_SECONDS", "ATTEMPT_SECONDS"):
        monkeypatch.setattr(aws, limit, 60)
    with serve(webhook.answer_aws) as server:
        with monkeypatch.context() as environment:
            for variable, value in aws_variables(server.url).items():
                environment.setenv(variable, value)
            settings = {"EVENTS_TOPIC_ARN": "topic", "WEBHOOK_SECRET_ARN": "secret"}
            webhook.function = load(monkeypatch, capsys, "lambdas.handlers.webhook", **settings)
        yield webhook


def delivery(row: SubscriptionType, message_id: str, event: Event) -> dict[str, Any]:
    """A notification as API Gateway hands it over."""
    subscription = {"type": row.event_type, "condition": row.condition("1")}
    body = json.dumps({"subscription": subscription, "event": event})
    timestamp = datetime.now(UTC).isoformat()
    headers = {
        "twitch-eventsub-message-id": message_id,
        "twitch-eventsub-message-type": "notification",
        "twitch-eventsub-message-timestamp": timestamp,
        "twitch-eventsub-message-signature": sign(message_id, timestamp, body.encode(), SECRET.encode()),
    }
    return {"headers": headers, "body": body, "isBase64Encoded": False}


def expect_told(events: list[StoredEvent]) -> None:
    """The site's own test: each is one readable sentence."""
    # Vite loads files of the site's folder only.
    with tempfile.NamedTemporaryFile("w", dir=FRONTEND / "node_modules", suffix=".json") as file:
        json.dump([event.to_dict() for event in events], file)
        file.flush()
        told = subprocess.run(
            ["node_modules/.bin/vitest", "run", "tests/oddFields.test.ts", "-t", "stored events"],
            cwd=FRONTEND,
            env={**os.environ, "VITE_STORED_EVENTS": f"/node_modules/{Path(file.name).name}"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "1 passed" in told.stdout


def test_events_with_odd_fields_are_taken_stored_once_and_told(
    load_handler: LoadHandler, webhook: Webhook, connection: Connection, lambda_context: Any
) -> None:
    recorder = load_handler("recorder")
    sent: dict[str, Event] = {}
    for row in SUBSCRIPTION_TYPES:
        for number, event in enumerate(odd_events(row)):
            message_id = f"{row.key} {number}"
            assert webhook.function(delivery(row, message_id, event)) == {"statusCode": 204}, event
            sent[message_id] = event
    for start in range(0, len(webhook.published), BATCH):
        batch = [{"messageId": "m", "body": body} for body in webhook.published[start : start + BATCH]]
        for _ in range(2):
            assert recorder.handler({"Records": batch}, lambda_context) == {"batchItemFailures": []}

    stored = [StoredEvent(**row) for row in connection.execute(STORED)]
    assert [one.id for one in stored] == sorted(sent)
    assert {one.streamer_id for one in stored} == {"1"}
    for one in stored:
        # PostgreSQL stores neither NUL nor half a surrogate pair.
        text = json.dumps(sent[one.id]).replace(r"\u0000", r"\ufffd").replace(r"\ud800", r"\ufffd")
        assert one.payload == json.loads(text)
    expect_told(stored)
