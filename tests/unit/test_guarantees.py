"""docs/guarantees.md names only checks that exist, and every row of `make chaos` stands in it."""

import re

import pytest

from tests.chaos.attacks import ATTACKS
from tests.chaos.faults import FAULTS, LAST
from tests.chaos.mutants import MUTANTS, Mutant
from tests.fresh_clone import ROOT

GUARANTEES = ROOT / "docs" / "guarantees.md"
ROWS = {check.name for check in (*FAULTS, *ATTACKS, *LAST)}


def test_every_check_that_is_named_exists() -> None:
    named = set(re.findall(r"`chaos: ([^`]+)`", GUARANTEES.read_text()))
    assert named
    assert named <= ROWS


def test_every_test_and_command_that_is_named_exists() -> None:
    text = GUARANTEES.read_text()
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in re.findall(r"`(test_\w+)`", text) if f"def {name}(" not in tests] == []
    commands = set(re.findall(r"(?m)^([\w-]+):", (ROOT / "Makefile").read_text()))
    assert set(re.findall(r"`make ([\w-]+)`", text)) <= commands
    assert [path for path in re.findall(r"`(tests/[\w/.]+)`", text) if not (ROOT / path).exists()] == []


def test_every_promise_names_a_check() -> None:
    promises = re.findall(r"(?m)^\|(?! ?-)(.*)\|$", GUARANTEES.read_text())
    checked = [line for line in promises if not line.endswith("check ")]
    assert [line for line in checked if not re.search("`(chaos: |test_|make )", line)] == []
    assert checked


def test_every_row_is_a_promise() -> None:
    text = GUARANTEES.read_text()
    permissions = {name for name in ROWS if " without " in name}
    assert {name for name in ROWS - permissions if name.partition(",")[0] not in text} == set()


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.safeguard for mutant in MUTANTS])
def test_every_safeguard_can_be_taken_out(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    assert any(mutant.row in row for row in ROWS)
