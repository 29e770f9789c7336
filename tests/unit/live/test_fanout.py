"""What one invocation hands to another arrives as it was, in messages that the queue takes."""

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from lambdas.common.connections import Connection
from lambdas.common.event import Event
from lambdas.live import fanout
from lambdas.live.fanout import CHUNK_CONNECTIONS, MAX_MESSAGE_BYTES, Chunk, Remainder
from lambdas.live.frames import MAX_FRAME_BYTES, Frame, pack

TIME = datetime(2026, 1, 31, 12, tzinfo=UTC)


def event(number: int, text: str) -> Event:
    return Event(
        f"id-{number}", "1337", "cool_user", "x", TIME + timedelta(seconds=number), TIME, {"t": text}
    )


frames = st.lists(st.text(max_size=3000), min_size=1, max_size=30).map(
    lambda texts: list(pack(event(number, text) for number, text in enumerate(texts)))
)
connections = st.lists(
    st.builds(
        Connection,
        id=st.text("abcXYZ019=-_", min_size=1, max_size=40),
        renewed_at=st.integers(0, 2_000_000_000),
    ),
    max_size=20,
)


def fields(frame: Frame) -> tuple[object, ...]:
    return frame.data, frame.event_ids, frame.oldest


@given(frames=frames, connections=connections)
def test_a_chunk_arrives_as_it_was(frames: list[Frame], connections: list[Connection]) -> None:
    (message,) = Chunk("1337", frames, connections).messages()
    arrived = Chunk.from_dict(json.loads(message))
    assert (arrived.streamer_id, arrived.connections) == ("1337", connections)
    assert [fields(frame) for frame in arrived.frames] == [fields(frame) for frame in frames]


@given(frames=frames, after=st.text(min_size=1, max_size=40))
def test_a_remainder_arrives_as_it_was(frames: list[Frame], after: str) -> None:
    (message,) = Remainder("1337", frames, after).messages()
    arrived = Remainder.from_dict(json.loads(message))
    assert (arrived.streamer_id, arrived.after) == ("1337", after)
    assert [fields(frame) for frame in arrived.frames] == [fields(frame) for frame in frames]


def test_frames_that_do_not_fit_into_a_message_go_in_several_in_order() -> None:
    filling = "x" * (MAX_FRAME_BYTES - 300)
    frames = list(pack(event(number, filling) for number in range(70)))
    connections = [Connection(f"{number:036}", 1_800_000_000) for number in range(CHUNK_CONNECTIONS)]
    messages = list(Chunk("1337", frames, connections).messages())
    assert len(messages) == 3
    assert all(len(message.encode()) <= MAX_MESSAGE_BYTES for message in messages)
    arrived = [Chunk.from_dict(json.loads(message)) for message in messages]
    assert all(chunk.connections == connections for chunk in arrived)
    assert [frame.data for chunk in arrived for frame in chunk.frames] == [frame.data for frame in frames]


def test_a_frame_and_a_full_chunk_fit_into_one_message_with_the_longest_ids() -> None:
    """A connection id has at most 128 characters in API Gateway's model; the queue takes those, too."""
    connections = [Connection("x" * 128, 1_800_000_000) for _ in range(CHUNK_CONNECTIONS)]
    (message,) = Chunk("1337", [Frame(b'"' + b"x" * (MAX_FRAME_BYTES - 2) + b'"')], connections).messages()
    assert len(message) <= fanout.MAX_MESSAGE_BYTES
