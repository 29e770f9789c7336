"""What a verified delivery contains, and the message that is published for it.

https://dev.twitch.tv/docs/eventsub/handling-webhook-events/
"""

import dataclasses
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lambdas.common.event import MAX_DEPTH, MAX_LENGTHS, Event, format_json, format_time, is_deep
from lambdas.common.login import parse_login
from lambdas.ingest.eventsub_signature import MESSAGE_ID
from lambdas.ingest.refusal import RefusedError

MESSAGE_TYPE = "twitch-eventsub-message-type"

# The fields of a condition that name the channel: the first of these that has a value. Twitch sends both
# fields of a raid's condition, the unused one empty. A moderator's id is never the channel.
# https://dev.twitch.tv/docs/eventsub/eventsub-subscription-types/
CHANNELS = ("broadcaster_user", "to_broadcaster_user", "from_broadcaster_user", "user")


@dataclasses.dataclass(frozen=True, slots=True)
class Challenge:
    """Twitch verifies the callback: the answer is ``text``, nothing else.

    ``notice`` is the message to publish, None if Twitch does not say which subscription it is about.
    """

    text: str
    notice: "Message | None"


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """What is published on the SNS topic.

    ``body`` of a ``notification`` is the event; of a ``revocation`` and of a
    ``webhook_callback_verification`` it is ``{"id", "sent_at", "subscription"}``, the subscription being
    Twitch's own object, whose ``status`` is the reason.
    """

    message_type: str
    event_type: str
    body: str


def read(headers: Mapping[str, str], body: bytes, sent_at: datetime, now: datetime) -> Challenge | Message:
    """Read a delivery whose signature was verified; header names are in lower case.

    Raises RefusedError (400). The headers with the message's and the subscription's type are not signed, so
    the body must have the shape of the message type it comes with, and the event type is taken from the body.
    """
    message_type = headers.get(MESSAGE_TYPE, "")
    content = _parse(body)
    match message_type:
        case "webhook_callback_verification":
            text = _text(content, "challenge")
            try:
                return Challenge(text, _notice(message_type, headers, content, sent_at))
            except RefusedError:
                # Twitch gets its challenge whatever the rest of the body is.
                return Challenge(text, None)
        case "notification":
            event = _event(_text(headers, MESSAGE_ID), content, sent_at, now)
            return Message(message_type, event.event_type, _publishable(event.to_dict()))
        case "revocation":
            return _notice(message_type, headers, content, sent_at)
        case _:
            raise RefusedError(400, "unknown_type", f"The message type {message_type!r} is not known.")


def _notice(
    message_type: str, headers: Mapping[str, str], content: dict[str, Any], sent_at: datetime
) -> Message:
    subscription = _object(content, "subscription")
    fields = {"id": _text(headers, MESSAGE_ID), "sent_at": format_time(sent_at), "subscription": subscription}
    return Message(message_type, _text(subscription, "type"), _publishable(fields))


def _event(message_id: str, content: dict[str, Any], sent_at: datetime, now: datetime) -> Event:
    subscription = _object(content, "subscription")
    payload = _object(content, "event")
    streamer_id, streamer_name = _channel(_object(subscription, "condition"), payload)
    texts = {
        "id": message_id,
        "streamer_id": streamer_id,
        "streamer_name": streamer_name,
        "event_type": _text(subscription, "type"),
    }
    for name, text in texts.items():
        if len(text) > MAX_LENGTHS[name]:
            raise RefusedError(
                400, "unparsable", f"The {name} has {len(text)} characters of at most {MAX_LENGTHS[name]}."
            )
    return Event(
        **texts,
        occurred_at=sent_at,
        created_at=now,
        payload=payload,
    )


def _channel(condition: dict[str, Any], payload: dict[str, Any]) -> tuple[str, str]:
    """The id of the channel that the event belongs to, and its login: "" if the event tells none.

    The condition is ours, the event may lack anything.
    """
    for channel in CHANNELS:
        if condition.get(f"{channel}_id"):
            try:
                streamer_id = _text(condition, f"{channel}_id")
            except RefusedError as error:
                raise RefusedError(400, "no_channel", str(error)) from None
            login = payload.get(f"{channel}_login")
            return streamer_id, (parse_login(login) or "") if isinstance(login, str) else ""
    raise RefusedError(400, "no_channel", "The subscription's condition names no channel.")


def _parse(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "unparsable", f"The body is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise RefusedError(400, "unparsable", "The body is not a JSON object.")
    if is_deep(content):
        raise RefusedError(400, "unparsable", f"The body is nested more than {MAX_DEPTH} times.")
    return content


def _publishable(fields: dict[str, Any]) -> str:
    try:
        return format_json(fields)
    except ValueError as error:
        raise RefusedError(400, "unparsable", f"The body is not JSON: {error}.") from None


def _object(content: dict[str, Any], name: str) -> dict[str, Any]:
    value = content.get(name)
    if not isinstance(value, dict):
        raise RefusedError(400, "unparsable", f"{name!r} is not an object.")
    return value


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value:
        raise RefusedError(400, "unparsable", f"{name!r} is not a non-empty string.")
    if not value.isprintable():
        # Lone surrogates, for example, and NUL, which PostgreSQL does not store.
        raise RefusedError(400, "unparsable", f"{name!r} has unprintable characters.")
    return value
