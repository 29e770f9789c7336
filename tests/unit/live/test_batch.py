"""A batch is sorted out by channel; what is no event fails alone."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.common.connections import Connection
from lambdas.common.event import Event
from lambdas.common.topics_frame import TopicsFrame
from lambdas.live.batch import gathered, sort_out
from lambdas.live.fanout import Chunk, Remainder
from lambdas.live.frames import MAX_FRAME_BYTES, pack

TIME = datetime(2026, 1, 31, 12, tzinfo=UTC)


def record(number: int, body: str) -> dict[str, Any]:
    return {"messageId": f"message-{number}", "body": body}


def event(number: int, streamer_id: str, payload: dict[str, Any] | None = None) -> Event:
    return Event(f"id-{number}", streamer_id, "cool_user", "stream.online", TIME, TIME, payload or {})


@given(streamers=st.lists(st.sampled_from(["1", "2", "3", None])))
def test_each_channel_gets_its_events_in_order_and_the_rest_is_refused(streamers: list[str | None]) -> None:
    """None stands for a message that is no event."""
    records = [
        record(number, event(number, streamer).to_json() if streamer else "poison")
        for number, streamer in enumerate(streamers)
    ]
    batch = sort_out(records)
    assert {
        streamer: [(message.id, message.event.id) for message in messages]
        for streamer, messages in batch.channels.items()
    } == {
        streamer: [(f"message-{n}", f"id-{n}") for n, other in enumerate(streamers) if other == streamer]
        for streamer in streamers
        if streamer
    }
    assert list(batch.refused) == [f"message-{n}" for n, streamer in enumerate(streamers) if not streamer]


def test_an_event_too_large_for_a_frame_is_refused_alone() -> None:
    huge = event(0, "1", {"message": "x" * MAX_FRAME_BYTES})
    batch = sort_out([record(0, huge.to_json()), record(1, event(1, "1").to_json())])
    assert list(batch.refused) == ["message-0"]
    assert [message.id for message in batch.channels["1"]] == ["message-1"]


def test_a_redelivered_event_in_one_batch_keeps_both_messages() -> None:
    """Both must be acknowledged; browsers merge by event id."""
    body = event(7, "1").to_json()
    batch = sort_out([record(0, body), record(1, body)])
    assert [message.id for message in batch.channels["1"]] == ["message-0", "message-1"]


def test_a_change_of_topics_is_a_frame_for_everybody_in_the_channel() -> None:
    topics = [{"event_type": "channel.raid", "status": "enabled", "reason": None}]
    batch = sort_out([record(0, TopicsFrame("1", topics).to_json()), record(1, event(1, "1").to_json())])
    (remainder,) = batch.remainders.values()
    assert (remainder.streamer_id, remainder.after) == ("1", "")
    assert [json.loads(frame.data) for frame in remainder.frames] == [{"type": "topics", "topics": topics}]
    assert [message.id for message in batch.channels["1"]] == ["message-1"]
    assert batch.refused == {}


def test_gathered_events_are_told_from_new_ones() -> None:
    events = [event(number, streamer_id) for number, streamer_id in enumerate("121")]
    batch = sort_out([record(0, gathered(events)), record(1, event(7, "1").to_json())])
    found = {id_: [message.event.id for message in messages] for id_, messages in batch.gathered.items()}
    assert found == {"1": ["id-0", "id-2"], "2": ["id-1"]}
    assert {message.id for messages in batch.gathered.values() for message in messages} == {"message-0"}
    assert batch.channels.keys() == {"1"}


def test_what_another_invocation_handed_over_is_kept_by_message() -> None:
    frames = list(pack([event(0, "1")]))
    chunk, remainder = Chunk("1", frames, [Connection("a", 1_800_000_000)]), Remainder("2", frames, "b")
    messages = [*chunk.messages(), *remainder.messages()]
    batch = sort_out(record(number, message) for number, message in enumerate(messages))
    assert batch.chunks["message-0"].connections == chunk.connections
    assert batch.remainders["message-1"].after == "b"
    assert batch.event_ids() == ["id-0", "id-0"]


@pytest.mark.parametrize(
    "body",
    [
        "poison",
        "[]",
        "1",
        '{"type":"chunk"}',
        '{"type":"chunk","streamer_id":"1","frames":[],"connections":[1]}',
        '{"type":"remainder","streamer_id":"1","frames":[{"type":"events","events":[{}]}],"after":"a"}',
        '{"type":"gathered","events":[{}]}',
        '{"type":"topics"}',
        '{"type":"what"}',
        "[" * 100_000,
    ],
)
def test_what_makes_no_sense_fails_alone(body: str) -> None:
    batch = sort_out([record(0, body), record(1, event(1, "1").to_json())])
    assert list(batch.refused) == ["message-0"]
    assert [message.id for message in batch.channels["1"]] == ["message-1"]
