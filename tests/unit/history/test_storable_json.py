"""Payloads become JSON that jsonb accepts, changed nowhere but where it would not be."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from lambdas.history.recording import storable_json

# More of what matters than chance would bring: backslashes, the letters of an escape, NUL, surrogates.
text = st.text(st.sampled_from('\\u0dDfF8c"\0\ud800\udc00\U0001f600é')) | st.text(
    st.characters(exclude_categories=[])
)
payloads = st.dictionaries(
    text, st.recursive(text | st.none() | st.integers(), st.lists, max_leaves=5), max_size=3
)


@given(payloads)
def test_nothing_is_left_that_jsonb_refuses(payload: dict[str, object]) -> None:
    stored = json.dumps(json.loads(storable_json(payload)), ensure_ascii=False)
    assert not re.search("[\ud800-\udfff]", stored)
    assert "\0" not in "".join(strings(json.loads(storable_json(payload))))


@given(text)
def test_all_other_characters_stay(value: str) -> None:
    # Two halves that stand side by side are one character once they are JSON.
    joined = json.loads(json.dumps(value))
    expected = re.sub("[\0\ud800-\udfff]", "\ufffd", joined)
    assert json.loads(storable_json({"value": value})) == {"value": expected}


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.items() for part in item for text in strings(part)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []
