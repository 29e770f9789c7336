"""Checks of a stage: each prints one line, with what to do if it failed."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from botocore.exceptions import BotoCoreError, ClientError


class Failure(Exception):  # noqa: N818 -- a finding, not a fault of the program
    """A check has failed; the message says what is wrong and what to do."""


class Check(NamedTuple):
    """``run`` returns what it found, or raises Failure."""

    name: str
    run: Callable[[], str]


def run(checks: Iterable[Check], *, stop_at_failure: bool = False) -> int:
    """Run the checks in order, print what each found, and return the number of failures.

    With ``stop_at_failure`` the checks after a failed one are not run.
    """
    failures = 0
    for name, check in checks:
        try:
            print(f"✓ {name}: {check()}", flush=True)
        except (Failure, BotoCoreError, ClientError) as failure:
            failures += 1
            print(f"✗ {name}: {failure}", flush=True)
            if stop_at_failure:
                break
    return failures
