"""Which channel names are logins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.common.login import parse_login


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_]{0,24}", fullmatch=True))
def test_a_login_is_taken_in_lower_case(text: str) -> None:
    assert parse_login(text) == text.lower()


@pytest.mark.parametrize(
    "text",
    ["", "_ninja", "a" * 26, "two words", "tübe", "a-b", "a.b", "ninja\n", "ninja/", "٣", "%6Einja"],
)
def test_anything_else_is_no_login(text: str) -> None:
    assert parse_login(text) is None
