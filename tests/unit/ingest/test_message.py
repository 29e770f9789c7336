"""A verified delivery is read: whom it is about, what is published, and what is refused."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from lambdas.common.event import Event
from lambdas.ingest.eventsub_signature import MESSAGE_ID
from lambdas.ingest.message import MESSAGE_TYPE, Challenge, Message, read
from lambdas.ingest.refusal import RefusedError

SENT_AT = datetime(2026, 1, 31, 11, 59, 58, 123456, tzinfo=UTC)
NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)

BROADCASTER = {
    "broadcaster_user_id": "1337",
    "broadcaster_user_login": "cool_user",
    "broadcaster_user_name": "Cool_User",
}
RAID = {
    "from_broadcaster_user_id": "1234",
    "from_broadcaster_user_login": "raider",
    "from_broadcaster_user_name": "Raider",
    "to_broadcaster_user_id": "1337",
    "to_broadcaster_user_login": "cool_user",
    "to_broadcaster_user_name": "Cool_User",
    "viewers": 120,
}
USER = {"user_id": "1337", "user_login": "cool_user", "user_name": "Cool_User", "description": "hello"}


def deliver(content: Any, message_type: str = "notification") -> Challenge | Message:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read({MESSAGE_ID: "an-id", MESSAGE_TYPE: message_type}, body, SENT_AT, NOW)


def notification(event_type: str, condition: dict[str, str], event: dict[str, Any]) -> dict[str, Any]:
    return {"subscription": {"type": event_type, "condition": condition}, "event": event}


def published(content: Any) -> Event:
    message = deliver(content)
    assert isinstance(message, Message)
    return Event.from_json(message.body)


def refusal(content: Any, message_type: str = "notification") -> str:
    with pytest.raises(RefusedError) as refused:
        deliver(content, message_type)
    assert refused.value.status == 400
    return refused.value.reason


@pytest.mark.parametrize(
    ("event_type", "condition", "event", "channel"),
    [
        ("stream.online", {"broadcaster_user_id": "1337"}, BROADCASTER, ("1337", "cool_user")),
        ("stream.offline", {"broadcaster_user_id": "1337"}, BROADCASTER, ("1337", "cool_user")),
        ("channel.update", {"broadcaster_user_id": "1337"}, BROADCASTER, ("1337", "cool_user")),
        ("channel.raid", {"to_broadcaster_user_id": "1337"}, RAID, ("1337", "cool_user")),
        (
            "channel.raid",
            {"to_broadcaster_user_id": "1337", "from_broadcaster_user_id": ""},
            RAID,
            ("1337", "cool_user"),
        ),
        (
            "channel.raid",
            {"to_broadcaster_user_id": "", "from_broadcaster_user_id": "1234"},
            RAID,
            ("1234", "raider"),
        ),
        ("user.update", {"user_id": "1337"}, USER, ("1337", "cool_user")),
        (
            "channel.follow",
            {"moderator_user_id": "99", "broadcaster_user_id": "1337"},
            {**BROADCASTER, "user_id": "5", "user_login": "a_fan"},
            ("1337", "cool_user"),
        ),
    ],
)
def test_an_event_belongs_to_the_channel_that_its_subscription_names(
    event_type: str, condition: dict[str, str], event: dict[str, Any], channel: tuple[str, str]
) -> None:
    found = published(notification(event_type, condition, event))
    assert (found.streamer_id, found.streamer_name) == channel


@pytest.mark.parametrize("login", [None, "", " ", 7, [], {}, "two words", "größe", "x" * 26, "a\x00b", "_"])
def test_an_event_without_a_login_is_the_channels_all_the_same(login: Any) -> None:
    event = {**BROADCASTER, "broadcaster_user_login": login}
    found = published(notification("channel.update", {"broadcaster_user_id": "1337"}, event))
    assert (found.streamer_id, found.streamer_name, found.payload) == ("1337", "", event)


def test_a_login_is_taken_in_lower_case() -> None:
    event = {**BROADCASTER, "broadcaster_user_login": "Cool_User"}
    assert published(notification("t", {"broadcaster_user_id": "1337"}, event)).streamer_name == "cool_user"


def test_an_event_without_any_field_is_the_channels_all_the_same() -> None:
    found = published(notification("channel.raid", {"from_broadcaster_user_id": "1337"}, {}))
    assert (found.streamer_id, found.streamer_name) == ("1337", "")


def test_a_notification_is_published_as_its_event() -> None:
    content = notification("channel.update", {"broadcaster_user_id": "1337"}, {**BROADCASTER, "title": "Gö"})
    message = deliver(content)
    assert isinstance(message, Message)
    assert (message.message_type, message.event_type) == ("notification", "channel.update")
    assert Event.from_json(message.body) == Event(
        id="an-id",
        streamer_id="1337",
        streamer_name="cool_user",
        event_type="channel.update",
        occurred_at=SENT_AT,
        created_at=NOW,
        payload={**BROADCASTER, "title": "Gö"},
    )


@pytest.mark.parametrize("text", ["\uffff", "\x00", "😀", '"', "\ud800"])
def test_any_character_of_a_payload_survives(text: str) -> None:
    content = notification("channel.update", {"broadcaster_user_id": "1337"}, {**BROADCASTER, "title": text})
    message = deliver(content)
    assert isinstance(message, Message)
    message.body.encode()
    assert Event.from_json(message.body).payload["title"] == text


def test_a_challenge_is_read_before_the_subscription_is_known() -> None:
    assert deliver({"challenge": "kappa"}, "webhook_callback_verification") == Challenge("kappa", None)


def test_a_challenge_is_published_with_its_subscription() -> None:
    subscription = {"id": "s", "type": "user.update", "status": "webhook_callback_verification_pending"}
    content = {"challenge": "kappa", "subscription": subscription}
    challenge = deliver(content, "webhook_callback_verification")
    assert isinstance(challenge, Challenge)
    assert challenge.notice is not None
    assert challenge.notice.message_type == "webhook_callback_verification"
    assert json.loads(challenge.notice.body)["subscription"] == subscription
    assert "kappa" not in challenge.notice.body


def test_a_revocation_is_published_with_its_subscription() -> None:
    subscription = {"id": "s", "type": "user.update", "status": "user_removed", "condition": {"user_id": "1"}}
    message = deliver({"subscription": subscription}, "revocation")
    assert isinstance(message, Message)
    assert (message.message_type, message.event_type) == ("revocation", "user.update")
    assert json.loads(message.body) == {
        "id": "an-id",
        "sent_at": "2026-01-31T11:59:58.123456Z",
        "subscription": subscription,
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"subscription": [], "event": {}}',
        b'{"subscription": {"type": "channel.update", "condition": {}}}',
        b'{"subscription": {"type": "channel.update", "condition": null}, "event": {}}',
    ],
    ids=range(10),
)
def test_a_body_of_another_shape_is_refused(body: bytes) -> None:
    assert refusal(body) == "unparsable"


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_numbers_that_json_cannot_carry_are_refused(number: str) -> None:
    content = json.dumps(notification("x", {"user_id": "1337"}, {**USER, "amount": 0}))
    assert refusal(content.replace('"amount": 0', f'"amount": {number}').encode()) == "unparsable"


@pytest.mark.parametrize("event_type", [None, "", 7])
def test_a_notification_without_an_event_type_is_refused(event_type: Any) -> None:
    assert refusal(notification(event_type, {"user_id": "1337"}, USER)) == "unparsable"


@pytest.mark.parametrize("challenge", [None, "", 7, {}])
def test_a_challenge_without_text_is_refused(challenge: Any) -> None:
    assert refusal({"challenge": challenge}, "webhook_callback_verification") == "unparsable"


@pytest.mark.parametrize("message_type", ["", "surprise", "Notification"])
def test_an_unknown_message_type_is_refused(message_type: str) -> None:
    assert refusal(notification("user.update", {"user_id": "1337"}, USER), message_type) == "unknown_type"


@pytest.mark.parametrize(
    ("condition", "event"),
    [
        ({}, BROADCASTER),
        ({"moderator_user_id": "99"}, BROADCASTER),
        ({"broadcaster_user_id": ""}, BROADCASTER),
        ({"broadcaster_user_id": 1337}, BROADCASTER),
    ],
)
def test_a_notification_about_no_channel_is_refused(condition: dict[str, Any], event: dict[str, Any]) -> None:
    assert refusal(notification("channel.update", condition, event)) == "no_channel"


def test_a_message_type_header_cannot_turn_a_notification_into_something_else() -> None:
    content = notification("user.update", {"user_id": "1337"}, USER)
    assert refusal(content, "webhook_callback_verification") == "unparsable"


@pytest.mark.parametrize("length", [1500, 200_000])
def test_texts_that_the_store_cannot_index_are_refused(length: int) -> None:
    long = "é" * length
    condition = {"broadcaster_user_id": "1337"}
    for content in (
        notification("stream.online", {"broadcaster_user_id": long}, BROADCASTER),
        notification(long, condition, BROADCASTER),
    ):
        assert refusal(content) == "unparsable"
    # What is no login is left out.
    named = {**BROADCASTER, "broadcaster_user_login": long}
    assert published(notification("stream.online", condition, named)).streamer_name == ""
