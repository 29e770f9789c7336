"""A batch is sorted out by channel; what is no event fails alone."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lambdas.common.event import Event
from lambdas.common.topics_change import TopicsChange
from lambdas.live.batch import sort_out
from lambdas.live.frames import MAX_FRAME_BYTES

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


def test_a_change_of_topics_is_no_event() -> None:
    change = TopicsChange("1", [{"event_type": "channel.raid", "status": "enabled", "reason": None}])
    batch = sort_out([record(0, change.to_json()), record(1, event(1, "1").to_json())])
    assert batch.topics == {"message-0": change}
    assert [message.id for message in batch.channels["1"]] == ["message-1"]
    assert batch.refused == {}
