"""Checks of a stage: each prints one line, with what to do if it failed."""

import time
from collections.abc import Callable, Iterable
from multiprocessing import TimeoutError as NotReadyError
from multiprocessing.pool import ThreadPool
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
    for check in checks:
        passed, line = _result(check)
        print(line, flush=True)
        failures += not passed
        if not passed and stop_at_failure:
            break
    return failures


def run_at_once(checks: Iterable[Check], *, within: float) -> int:
    """Run checks that do not need each other, print in order what each found, and return the failures.

    A check that has not ended ``within`` so many seconds has failed.
    """
    ends = time.monotonic() + within
    # Unlike an executor's, its threads do not keep the program from ending while a check hangs.
    pool = ThreadPool(16)
    running = [(check.name, pool.apply_async(_result, (check,))) for check in checks]
    failures = 0
    for name, result in running:
        try:
            passed, line = result.get(max(0.0, ends - time.monotonic()))
        except NotReadyError:
            passed, line = False, f"✗ {name}: no answer within {within:.0f} seconds. Try again."
        print(line, flush=True)
        failures += not passed
    pool.terminate()
    return failures


def _result(check: Check) -> tuple[bool, str]:
    try:
        return True, f"✓ {check.name}: {check.run()}"
    except (Failure, BotoCoreError, ClientError) as failure:
        return False, f"✗ {check.name}: {failure}"
