"""Frames carry a channel's events: all of them, in order, as few frames as fit the limit."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from lambdas.common.event import Event
from lambdas.live.frames import MAX_FRAME_BYTES, Frame, fits, pack

TIME = datetime(2026, 1, 31, 12, tzinfo=UTC)


def event(number: int, text: str = "") -> Event:
    # Not in the order in which they happened: queues keep none.
    occurred_at = TIME - timedelta(seconds=number * 7 % 5)
    return Event(f"id-{number}", "1337", "cool_user", "channel.update", occurred_at, TIME, {"title": text})


def filled(size: int) -> Event:
    """An event of so many bytes of JSON."""
    return event(1, "x" * (size - len(event(1).to_json())))


# Sizes from nothing to what does not fit twice into a frame; characters that take 1, 6 and 12 bytes.
event_lists = st.lists(st.tuples(st.sampled_from("aé😀"), st.integers(0, 2500)), max_size=40).map(
    lambda texts: [event(number, character * count) for number, (character, count) in enumerate(texts)]
)


def contents(frames: Sequence[Frame]) -> list[list[dict[str, object]]]:
    parsed = [json.loads(frame.data) for frame in frames]
    assert all(set(frame) == {"type", "events"} and frame["type"] == "events" for frame in parsed)
    return [frame["events"] for frame in parsed]


@given(events=event_lists)
def test_every_event_is_carried_once_and_in_order(events: list[Event]) -> None:
    carried = [item for frame in contents(list(pack(events))) for item in frame]
    assert carried == [event.to_dict() for event in events]


@given(events=event_lists)
def test_no_frame_is_empty_or_exceeds_the_limit(events: list[Event]) -> None:
    frames = list(pack(events))
    assert all(contents(frames))
    assert all(len(frame.data) <= MAX_FRAME_BYTES for frame in frames)


@given(events=event_lists)
def test_a_frame_ends_only_where_the_next_event_does_not_fit(events: list[Event]) -> None:
    frames = list(pack(events))
    firsts = [frame[0] for frame in contents(frames)]
    by_id = {event.id: event for event in events}
    for frame, following in zip(frames, firsts[1:], strict=False):
        assert len(frame.data) + len(",") + len(by_id[str(following["id"])].to_json()) > MAX_FRAME_BYTES


@given(events=event_lists)
def test_a_frame_says_what_it_carries_and_since_when_that_is_true(events: list[Event]) -> None:
    frames = list(pack(events))
    assert [id_ for frame in frames for id_ in frame.event_ids] == [event.id for event in events]
    by_id = {event.id: event.occurred_at for event in events}
    assert all(frame.oldest == min(by_id[id_] for id_ in frame.event_ids) for frame in frames)


def test_what_happens_together_is_one_frame() -> None:
    assert len(list(pack([event(number) for number in range(10)]))) == 1


def test_the_largest_event_that_fits_fills_a_frame_to_the_limit() -> None:
    overhead = len('{"type":"events","events":[]}')
    largest = filled(MAX_FRAME_BYTES - overhead)
    assert fits(largest)
    assert [len(frame.data) for frame in pack([largest])] == [MAX_FRAME_BYTES]
    assert not fits(filled(MAX_FRAME_BYTES - overhead + 1))
