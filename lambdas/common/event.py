"""The event: the content of one delivery from Twitch, from the webhook to the store and the viewers."""

import dataclasses
import json
import re
from datetime import UTC, datetime
from typing import Any, Final, Self

Payload = dict[str, Any]

# What SNS and SQS refuse of the characters that JSON may contain; lone surrogates have no encoding at all.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_REFUSED = re.compile("[\ud800-\udfff\ufffe\uffff]")

#: The most characters of an event's texts, so that an index of the store can hold several of them. Twitch's
#: are far shorter.
MAX_LENGTHS: Final = {"id": 255, "streamer_id": 100, "streamer_name": 100, "event_type": 100}

# Objects and arrays within each other. Twitch sends fewer than ten. Several hundred overflow the stack of a
# function that reads or writes them as JSON.
MAX_DEPTH = 100


class MalformedEventError(ValueError):
    """A published message is not an event; the error says which part is wrong."""


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One delivery of Twitch's; times are timezone-aware UTC.

    ``id`` is the ``Twitch-Eventsub-Message-Id``, the same for every redelivery. ``streamer_name`` is "" if
    Twitch did not tell it; the store replaces that by the name it knows. ``created_at`` is when
    Fanfare received the event; the store replaces it by the database's clock at insertion.
    ``payload`` is Twitch's ``event`` object, unchanged.
    """

    id: str
    streamer_id: str
    streamer_name: str
    event_type: str
    occurred_at: datetime
    created_at: datetime
    payload: Payload

    def to_dict(self) -> dict[str, Any]:
        """The public form of an event (``Event`` in the HTTP and WebSocket contracts)."""
        return {
            "id": self.id,
            "streamer_id": self.streamer_id,
            "streamer_name": self.streamer_name,
            "event_type": self.event_type,
            "occurred_at": format_time(self.occurred_at),
            "created_at": format_time(self.created_at),
            "payload": self.payload,
        }

    def to_json(self) -> str:
        """The event as one compact JSON object. Raises ValueError, see ``format_json``."""
        return format_json(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote. Raises MalformedEventError."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MalformedEventError(f"not an event: {error!r}") from error
        return cls.from_dict(fields)

    @classmethod
    def from_dict(cls, fields: Any) -> Self:
        """Read what ``to_dict`` made. Raises MalformedEventError."""
        try:
            strings = {name: fields[name] for name in MAX_LENGTHS}
            occurred_at, created_at = parse_time(fields["occurred_at"]), parse_time(fields["created_at"])
            payload = fields["payload"]
        except (ValueError, KeyError, TypeError) as error:
            raise MalformedEventError(f"not an event: {error!r}") from error
        for name, value in strings.items():
            least = 0 if name == "streamer_name" else 1
            if not isinstance(value, str) or not least <= len(value) <= MAX_LENGTHS[name]:
                raise MalformedEventError(
                    f"not an event: {name} must be a string of {least} to {MAX_LENGTHS[name]} characters"
                )
        if not isinstance(payload, dict):
            raise MalformedEventError("not an event: payload must be an object")
        if is_deep(payload):
            raise MalformedEventError(f"not an event: payload is nested more than {MAX_DEPTH} times")
        return cls(**strings, occurred_at=occurred_at, created_at=created_at, payload=payload)


def is_deep(content: Any) -> bool:
    """Whether what was read from JSON is nested more than ``MAX_DEPTH`` times."""
    level: list[Any] = [content]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True


def format_json(fields: dict[str, Any]) -> str:
    """Compact JSON that SNS and SQS take: characters that they refuse are escaped, no others.

    Raises ValueError for NaN and infinity, which JSON does not have, and RecursionError for deep nesting.
    """
    text = json.dumps(fields, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text if text.isascii() else _REFUSED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def format_time(time: datetime) -> str:
    """RFC 3339 in UTC with microseconds, e.g. ``2026-01-31T12:00:00.000000Z``."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_time(text: str) -> datetime:
    """Parse RFC 3339; digits finer than a microsecond (Twitch sends nanoseconds) are cut off.

    Raises ValueError for anything else, a time without an offset included.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is not between the years 1 and 9999 in UTC") from error
