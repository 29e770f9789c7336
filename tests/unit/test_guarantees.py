"""docs/guarantees.md names only checks that exist, and every row of `make chaos` stands in it."""

import re
from pathlib import Path

from tests.chaos.attacks import ATTACKS
from tests.chaos.faults import FAULTS

GUARANTEES = Path(__file__).resolve().parents[2] / "docs" / "guarantees.md"
ROWS = {check.name for check in (*FAULTS, *ATTACKS)}


def test_every_check_that_is_named_exists() -> None:
    named = set(re.findall(r"`chaos: ([^`]+)`", GUARANTEES.read_text()))
    assert named
    assert named <= ROWS


def test_every_row_is_a_promise() -> None:
    text = GUARANTEES.read_text()
    permissions = {name for name in ROWS if " without " in name}
    assert {name for name in ROWS - permissions if name.partition(",")[0] not in text} == set()
