"""Cursors: what was given out is read back, and nothing else is."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.history.cursors import MalformedCursorError, Position

positions = st.builds(
    Position,
    st.datetimes(timezones=st.just(UTC)),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
)


@given(positions)
def test_a_cursor_leads_back_to_its_position(position: Position) -> None:
    assert Position.from_cursor(position.to_cursor()) == position


@given(positions)
def test_a_cursor_can_stand_in_an_address_as_it_is(position: Position) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]+", position.to_cursor())


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    try:
        position = Position.from_cursor(text)
    except MalformedCursorError:
        return
    assert position.to_cursor() == text


@pytest.mark.parametrize("text", ["", "x", "====", "MTIz", "OmE", "LTk5OTk5OTk5OTk5OTk5OTk5OTk5OTph", "ÿ"])
def test_malformed_cursors(text: str) -> None:
    with pytest.raises(MalformedCursorError):
        Position.from_cursor(text)


def test_an_id_that_no_event_can_have_is_refused() -> None:
    cursor = Position(datetime(2026, 1, 1, tzinfo=UTC), "a\0b").to_cursor()
    with pytest.raises(MalformedCursorError):
        Position.from_cursor(cursor)
