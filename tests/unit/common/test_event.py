"""An event survives its way as JSON, and what is none is refused."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.common.event import Event, MalformedEventError, format_json, format_time, parse_time

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
events = st.builds(
    Event,
    id=st.text(min_size=1),
    streamer_id=st.text(min_size=1),
    streamer_name=st.text(),
    event_type=st.text(min_size=1),
    occurred_at=st.datetimes(timezones=st.just(UTC)),
    created_at=st.datetimes(timezones=st.just(UTC)),
    payload=st.dictionaries(st.text(), json_values, max_size=3),
)
GOOD: dict[str, Any] = {
    "id": "an-id",
    "streamer_id": "1337",
    "streamer_name": "cool_user",
    "event_type": "stream.online",
    "occurred_at": "2026-01-31T12:00:00Z",
    "created_at": "2026-01-31T12:00:01Z",
    "payload": {},
}


@given(event=events)
def test_an_event_survives_json(event: Event) -> None:
    assert Event.from_json(event.to_json()) == event


@given(text=st.text(st.characters(exclude_categories=[])) | st.text('\ud800\udfff\ufffe\uffff\0\x7f\\u"é😀'))
def test_json_has_only_characters_that_sns_and_sqs_take(text: str) -> None:
    written = format_json({text: text})
    assert not re.search("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", written)
    # Two halves of a character that stand side by side are one once they are JSON.
    joined = json.loads(json.dumps(text))
    assert json.loads(written) == {joined: joined}


@pytest.mark.parametrize(("text", "size"), [("я", 2), ("😀", 4), ("a", 1), ("\uffff", 6), ("\ud800", 6)])
def test_json_is_as_small_as_it_can_be(text: str, size: int) -> None:
    assert len(format_json({"": text * 1000}).encode()) == len('{"":""}') + 1000 * size


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"event"', "{}", "[" * 100_000], ids=range(8))
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(MalformedEventError):
        Event.from_json(text)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", [None, 7, []])
def test_a_field_of_another_kind_is_refused(name: str, value: object) -> None:
    with pytest.raises(MalformedEventError):
        Event.from_json(json.dumps({**GOOD, name: value}))


@pytest.mark.parametrize("name", ["id", "streamer_id", "event_type", "payload", "occurred_at", "created_at"])
def test_a_field_is_not_empty(name: str) -> None:
    with pytest.raises(MalformedEventError):
        Event.from_json(json.dumps({**GOOD, name: ""}))


def test_the_name_of_a_streamer_may_not_be_known() -> None:
    assert Event.from_json(json.dumps({**GOOD, "streamer_name": ""})).streamer_name == ""


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.5Z", datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-31T12:00:00.123456789Z", datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-01-31T14:00:00+02:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_utc_to_the_microsecond(text: str, time: datetime) -> None:
    assert parse_time(text) == time
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize("text", ["", "now", "2026-01-31T12:00:00", "0001-01-01T00:00:00+14:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_time(text)


def test_times_are_written_in_utc() -> None:
    time = datetime(2026, 1, 31, 14, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(time) == "2026-01-31T12:00:00.000000Z"
