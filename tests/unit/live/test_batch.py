"""A batch of queue messages is parsed; a bad one fails alone."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.common.event import Event
from lambdas.common.topics_frame import TopicsFrame
from lambdas.live.batch import Batch, ServePart, parse_batch
from lambdas.live.frames import MAX_FRAME_BYTES
from lambdas.live.parts import Part
from lambdas.live.rotation import Rotation
from lambdas.live.update import MAX_AGE_SECONDS, Update, combine, frames

TIME = datetime(2026, 1, 31, 12, tzinfo=UTC)


# How deep JSON may be that Python can read depends on how deep its stack is: near 1,000.
DEEP = (101, 975, 980, 985, 990, 995)
PART = {"streamer_id": "1", "index": 0, "of": 4}
REQUEST = {"type": "part", "part": PART, "token": "", "rotation": {}, "per_second": 0}
ODD_PARTS: dict[str, list[Any]] = {
    "streamer_id": [1, "", None, []],
    "index": [-1, 4, "0", 0.5, True, None],
    "of": [0, 1_000_000, "4", None],
    "frames": [[]],
}
ODD_FIELDS: dict[str, list[Any]] = {
    "part": [{**PART, name: value} for name, values in ODD_PARTS.items() for value in values],
    "token": [1, None],
    "per_second": [-1, "1", None, float("nan"), float("inf")],
    "rotation": [
        *([], None, {"frames": []}, {"place": 1}, {"added": []}),
        *({"added": {"id": added}} for added in ([], [0], ["0", "a"], [0, 1], [0, "a", 2])),
    ],
}
ODD_REQUESTS = [{**REQUEST, name: value} for name, values in ODD_FIELDS.items() for value in values]


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def event(number: int, streamer_id: str, text: str = "", age: float = 0.0) -> Event:
    received = TIME - timedelta(seconds=age)
    return Event(f"id-{number}", streamer_id, "cool_user", "x", received, received, {"t": text})


def record(number: int, body: str) -> dict[str, Any]:
    return {"messageId": f"message-{number}", "body": body}


def received(*bodies: str) -> Batch:
    return parse_batch(record(number, body) for number, body in enumerate(bodies))


def combined(batch: Batch, streamer_id: str) -> Update:
    return combine(batch.updates[streamer_id], TIME.timestamp())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    content=st.fixed_dictionaries(
        {"type": st.sampled_from(["part", "topics", "x"])},
        optional=dict.fromkeys(
            ("part", "token", "rotation", "per_second", "streamer_id", "topics", "version"), JSON
        ),
    )
)
def test_whatever_a_message_says_it_is_refused_or_can_be_sent(content: dict[str, Any]) -> None:
    batch = received(json.dumps({**REQUEST, **content}), event(1, "1").to_json())
    assert set(batch.refused) <= {"message-0"}
    for request in batch.requests.values():
        Rotation(request.part, **request.rotation).updates()
        assert ServePart.from_dict(json.loads(request.to_json())) == request
    for streamer_id in batch.updates:
        for frame in frames(combined(batch, streamer_id), 1):
            json.loads(frame.data)


@given(streamers=st.lists(st.sampled_from(["1", "2", "3", None]), max_size=20))
def test_each_channel_has_its_events_in_order_and_what_is_none_is_refused(
    streamers: list[str | None],
) -> None:
    """None stands for a message that is no event."""
    batch = received(
        *(
            event(number, streamer).to_json() if streamer else "poison"
            for number, streamer in enumerate(streamers)
        )
    )
    for streamer in {streamer for streamer in streamers if streamer}:
        numbers = [number for number, other in enumerate(streamers) if other == streamer]
        assert [each.id for each in combined(batch, streamer).events] == [
            f"id-{number}" for number in numbers
        ]
        assert batch.message_ids[streamer] == [f"message-{number}" for number in numbers]
    assert list(batch.refused) == [f"message-{n}" for n, streamer in enumerate(streamers) if not streamer]


def test_an_event_too_large_for_a_frame_is_left_out_and_marked_as_missed() -> None:
    huge = event(0, "1", "x" * MAX_FRAME_BYTES)
    update = combined(received(huge.to_json(), event(1, "1").to_json()), "1")
    assert ([each.id for each in update.events], update.missed) == (["id-1"], True)


def test_an_event_that_comes_too_late_is_left_out_and_marked_as_missed() -> None:
    late, in_time = (event(number, "1", age=MAX_AGE_SECONDS + 1 - number) for number in range(2))
    update = combined(received(late.to_json(), in_time.to_json()), "1")
    assert ([each.id for each in update.events], update.missed) == (["id-1"], True)


def test_a_redelivered_event_in_one_batch_keeps_both_messages() -> None:
    """Both must be acknowledged; browsers merge by event id."""
    body = event(7, "1").to_json()
    assert received(body, body).message_ids["1"] == ["message-0", "message-1"]


def test_topics_are_a_frame_of_their_own() -> None:
    topics = [{"event_type": "channel.raid", "status": "enabled", "reason": None}]
    batch = received(TopicsFrame("1", topics, 1).to_json(), event(1, "1").to_json())
    topics_frame, events_frame = frames(combined(batch, "1"), 1)
    assert json.loads(topics_frame.data) == TopicsFrame("1", topics, 1).frame()
    assert b"id-1" in events_frame.data


def test_of_several_topics_the_newest_version_is_sent() -> None:
    update = [Update(topics={"type": "topics", "topics": [], "version": version}) for version in (1, 3, 2)]
    (frame,) = frames(combine(update, 0.0), 1)
    assert frame.data == b'{"type":"topics","topics":[],"version":3}'


def test_update_arrives_in_an_inbox_as_it_was() -> None:
    update = Update(
        [*combined(received(event(1, "1", "ё\ud800").to_json()), "1").events], missed=True, topics={"a": 1}
    )
    assert Update.from_dict(update.to_dict()) == update


def test_a_request_to_serve_a_part_arrives_as_it_was() -> None:
    request = ServePart(
        Part("1", 2, 4), "token", {"place": "80000000#a", "added": {"entry": [-1, "9"]}}, 5_000.0
    )
    assert received(request.to_json()).requests == {"message-0": request}


@pytest.mark.parametrize(
    "body",
    [
        "poison",
        "[]",
        "1",
        '{"type":"part"}',
        '{"type":"part","part":{"streamer_id":"1"},"token":"","rotation":{},"per_second":0}',
        '{"type":"topics"}',
        '{"type":"topics","streamer_id":7,"topics":[],"version":1}',
        '{"type":"topics","streamer_id":"","topics":[],"version":1}',
        '{"type":"topics","streamer_id":"1","topics":{},"version":1}',
        '{"type":"topics","streamer_id":"1","topics":[],"version":"new"}',
        f'{{"type":"topics","streamer_id":"1","topics":{nested(985)},"version":1}}',
        '{"type":"topics","streamer_id":"1","topics":[1e999],"version":1}',
        '{"type":"what"}',
        "[" * 100_000,
        *(json.dumps(request) for request in ODD_REQUESTS),
        *(event(0, "1").to_json().replace('{"t":""}', f'{{"t":{nested(depth)}}}') for depth in DEEP),
        event(0, "1").to_json().replace('"streamer_id":"1"', '"streamer_id":1'),
        event(0, "1").to_json().replace('"id":"id-0"', '"id":0'),
    ],
)
def test_what_makes_no_sense_fails_alone(body: str) -> None:
    batch = received(body, event(1, "1").to_json())
    assert list(batch.refused) == ["message-0"]
    assert batch.message_ids == {"1": ["message-1"]}
