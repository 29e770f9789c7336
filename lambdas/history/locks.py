"""Short waits for strong locks: whoever records or reads queues behind a transaction that waits for one."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from psycopg.errors import LockNotAvailable

T = TypeVar("T")

ATTEMPTS: Final = 5
PAUSE_SECONDS: Final = 1.0


def when_unlocked(work: Callable[[], T]) -> T:
    """Do ``work``, which gives up soon if it does not get a lock; then again, some times, a second apart.

    Raises LockNotAvailable at the last attempt.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return work()
        except LockNotAvailable:
            time.sleep(PAUSE_SECONDS)
    return work()
