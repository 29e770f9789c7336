"""What tells that the store is about to become slow, or that its sums are wrong, before anybody notices."""

import dataclasses
from typing import Any, Final

from lambdas.history.database import Connection
from lambdas.history.named_queries import fetch_one, query

#: How many streamers' sums are compared in one statement.
CHECKED_AT_ONCE: Final = 2000


@dataclasses.dataclass(frozen=True)
class Health:
    """Seconds, seconds and per cent; see ``sql/queries/measure_health.sql``."""

    watermark_lag: float
    oldest_transaction: float
    dead_totals: float


def measure_health(connection: Connection) -> Health:
    """Measure it."""
    return Health(**fetch_one(connection, "measure_health"))


@dataclasses.dataclass(frozen=True)
class Checked:
    """How many sums differ from the archived counts that they are made of, and some examples."""

    differences: int
    examples: list[dict[str, Any]]


def check_totals(connection: Connection, streamers: int = CHECKED_AT_ONCE) -> Checked:
    """Compare the sums of the next ``streamers`` streamers: all of them, one call after the other."""
    found = fetch_one(connection, "check_totals", {"streamers_before_last": streamers - 1})
    connection.execute(query("remember_checked"), found)
    return Checked(found["difference_count"], found["examples"])
