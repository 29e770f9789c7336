"""The sentences in the table of subscription types use only fields that the events have."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from cdk.packaging import SUBSCRIPTION_TYPES
from local.twitch.example_events import Event, Scene
from local.twitch.subscription_types import SUBSCRIPTION_TYPE_BY_NAME
from local.twitch.users import User

ROWS = json.loads(SUBSCRIPTION_TYPES.read_text())
# What the site works out before it speaks: frontend/src/events/sentences.ts.
WORKED_OUT = {"changed", "winner", "most_votes", "others", "donated", "raised", "target"}


def has(event: Event, path: str) -> bool:
    """Whether a field is in an event, be it null, or in an object that is null."""
    value: Any = event
    for key in path.split("."):
        if value is None:
            return True
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


@pytest.mark.parametrize("row", ROWS, ids=[row["key"] for row in ROWS])
def test_a_sentence_speaks_of_fields_that_the_event_has(row: dict[str, Any]) -> None:
    scene = Scene(User("1", "marlowe"), User("2", "wren"), datetime(2026, 1, 2, tzinfo=UTC))
    event = SUBSCRIPTION_TYPE_BY_NAME[row["event_type"]].make_event(scene)
    for variant in row["sentence"]:
        fields = {*re.findall(r"\{([\w.]+)", variant["text"]), *variant.get("when", {})}
        assert {field for field in fields - WORKED_OUT if not has(event, field)} == set()


@pytest.mark.parametrize("row", ROWS, ids=[row["key"] for row in ROWS])
def test_a_sentence_always_has_a_last_resort(row: dict[str, Any]) -> None:
    *conditional, last = row["sentence"]
    assert all("when" in variant for variant in conditional)
    assert last.keys() == {"text"}
