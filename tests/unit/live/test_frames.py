"""Frames carry a channel's newest events, as few frames as fit the limit, and say if there were more."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lambdas.common.event import Event
from lambdas.live.frames import MAX_EVENTS, MAX_FRAME_BYTES, EncodedEvent, Frame, encode, pack

TIME = datetime(2026, 1, 31, 12, tzinfo=UTC)


def event(number: int, text: str = "") -> EncodedEvent:
    # Not in the order in which they happened: queues keep none.
    occurred_at = TIME - timedelta(seconds=number * 7 % 5)
    fields = Event(f"id-{number}", "1337", "cool_user", "channel.update", occurred_at, TIME, {"title": text})
    return EncodedEvent.of(fields)


def filled(size: int) -> EncodedEvent:
    """An event of so many bytes of JSON."""
    return event(1, "x" * (size - len(event(1).data)))


# Sizes from nothing to what does not fit twice into a frame; characters that take 1, 2 and 4 bytes.
event_lists = st.lists(st.tuples(st.sampled_from("aé😀"), st.integers(0, 3500)), max_size=40).map(
    lambda texts: [event(number, character * count) for number, (character, count) in enumerate(texts)]
)


def ids(frames: Sequence[Frame]) -> list[list[str]]:
    return [[each["id"] for each in json.loads(frame.data)["events"]] for frame in frames]


def marks(frames: Sequence[Frame]) -> list[bool]:
    return [json.loads(frame.data).get("missed", False) for frame in frames]


@given(events=event_lists)
def test_every_event_is_carried_once_and_in_order_if_there_is_room(events: list[EncodedEvent]) -> None:
    frames = pack(events, missed=False, most=100)
    assert [id_ for frame in ids(frames) for id_ in frame] == [each.id for each in events]
    assert not any(marks(frames))


@given(events=event_lists)
def test_no_frame_is_empty_or_exceeds_the_limit(events: list[EncodedEvent]) -> None:
    frames = pack(events, missed=False, most=100)
    assert all(ids(frames))
    assert all(len(frame.data) <= MAX_FRAME_BYTES for frame in frames)


@given(events=event_lists, most=st.integers(1, 3), missed=st.booleans())
def test_what_finds_no_room_is_the_oldest_and_leaves_a_mark(
    events: list[EncodedEvent], most: int, missed: bool
) -> None:
    frames = pack(events, missed=missed, most=most)
    carried = [id_ for frame in ids(frames) for id_ in frame]
    assert len(frames) <= most
    assert carried == [each.id for each in events][len(events) - len(carried) :]
    left_out = len(carried) < len(events)
    assert any(marks(frames)) == (missed or left_out)
    assert marks(frames)[-1:] == [True] * (missed or left_out) or not (missed or left_out)


def test_a_frame_has_at_most_the_newest_hundred_events() -> None:
    events = [event(number) for number in range(MAX_EVENTS + 50)]
    frames = pack(events, missed=False, most=100)
    assert [id_ for frame in ids(frames) for id_ in frame] == [each.id for each in events[-MAX_EVENTS:]]
    assert marks(frames)[-1]


@given(events=event_lists)
def test_a_frame_knows_when_the_first_of_its_events_happened(events: list[EncodedEvent]) -> None:
    by_id = {each.id: each.occurred_at for each in events}
    for frame in pack(events, missed=False, most=100):
        assert frame.oldest == min(by_id[id_] for id_ in ids([frame])[0])


def test_what_happens_together_is_one_frame() -> None:
    assert len(pack([event(number) for number in range(10)], missed=False, most=4)) == 1


def test_the_largest_event_that_fits_fills_a_frame_with_the_mark_to_the_limit() -> None:
    overhead = len('{"type":"events","events":[],"missed":true}')
    largest = filled(MAX_FRAME_BYTES - overhead)
    assert largest.fits()
    assert [len(frame.data) for frame in pack([largest], missed=True, most=1)] == [MAX_FRAME_BYTES]
    assert not filled(MAX_FRAME_BYTES - overhead + 1).fits()


def test_sizes_are_those_of_utf_8() -> None:
    """12 KB of Cyrillic are 12 KB, not the 36 KB of its escapes."""
    text = "ё" * 6_000
    (frame,) = pack([event(1, text), event(2, text)], missed=False, most=1)
    assert 24_000 < len(frame.data) < 25_000
    assert json.loads(frame.data)["events"][0]["payload"] == {"title": text}


@given(text=st.text(st.characters(codec=None)))
def test_every_string_that_json_can_carry_arrives_as_it_was(text: str) -> None:
    """Lone surrogates included, which have no encoding."""
    content: dict[str, Any] = {"text": text + "\ud800"}
    assert json.loads(encode(content).decode()) == content
