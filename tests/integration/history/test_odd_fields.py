"""Whatever Twitch sends in place of a field: the event is accepted, and stored once, as it is."""

import json
from datetime import UTC, datetime
from typing import Any

from lambdas.history.database import Connection
from lambdas.ingest.eventsub_signature import MESSAGE_ID
from lambdas.ingest.message import MESSAGE_TYPE, Message, read
from lambdas.ingest.publisher import MAX_BYTES
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES, SubscriptionType
from local.twitch.events import Scene
from local.twitch.subscription_types import SUBSCRIPTION_TYPE_BY_NAME
from local.twitch.users import User
from tests.integration.history.conftest import LoadHandler

ABSENT = object()
ODD: tuple[Any, ...] = (
    ABSENT,
    None,
    "",
    " ",
    7,
    -1.5,
    True,
    [],
    {},
    [None, {"x": [1]}],
    "x" * 10_000,
    "é🎉",
    "a\0\ud800b",
)
NOW = datetime.now(UTC)


def odd_events(row: SubscriptionType) -> list[dict[str, Any]]:
    """The type's example with each of its fields odd in turn, and with all of them odd."""
    example = SUBSCRIPTION_TYPE_BY_NAME[row.event_type].make_event(
        Scene(User("1", "marlowe"), User("2", "wren"), NOW)
    )
    changes = [{field: odd} for field in example for odd in ODD]
    changes += [dict.fromkeys(example, odd) for odd in ODD]
    return [
        {field: value for field, value in {**example, **change}.items() if value is not ABSENT}
        for change in changes
    ]


def deliver(row: SubscriptionType, message_id: str, event: dict[str, Any]) -> str:
    """What is published for a notification with this event."""
    subscription = {"type": row.event_type, "condition": row.condition("1")}
    body = json.dumps({"subscription": subscription, "event": event}).encode()
    message = read({MESSAGE_ID: message_id, MESSAGE_TYPE: "notification"}, body, NOW, NOW)
    assert isinstance(message, Message)
    assert len(message.body.encode()) < MAX_BYTES
    return message.body


def test_events_with_odd_fields_are_stored_once(
    connection: Connection, load_handler: LoadHandler, lambda_context: Any
) -> None:
    recorder = load_handler("recorder")
    events: dict[str, dict[str, Any]] = {}
    for row in SUBSCRIPTION_TYPES:
        batch = {f"{row.key} {number}": event for number, event in enumerate(odd_events(row))}
        events |= batch
        messages = [{"messageId": name, "body": deliver(row, name, event)} for name, event in batch.items()]
        for _ in range(2):
            assert recorder.handler({"Records": messages}, lambda_context) == {"batchItemFailures": []}
    stored = connection.execute("select id, streamer_id, payload from events").fetchall()
    assert len(stored) == len(events)
    assert {event["streamer_id"] for event in stored} == {"1"}
    for event in stored:
        # PostgreSQL stores neither NUL nor half a surrogate pair.
        sent = json.dumps(events[event["id"]]).replace(r"\u0000", r"\ufffd").replace(r"\ud800", r"\ufffd")
        assert event["payload"] == json.loads(sent)
