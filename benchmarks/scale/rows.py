"""A scenario's figures, and whether they are what they must be."""

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

# What every scenario of the subscriptions says.
CALLS = "calls in a minute"
RESULT = Path(__file__).parents[1] / "results" / "scale.json"


@dataclasses.dataclass(slots=True)
class Row:
    """One scenario: its figures by name, and what is wrong with them."""

    name: str
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every figure is what it must be."""
        return not self.problems

    def note(self, name: str, figure: float) -> None:
        """A figure that nothing is asked of."""
        # JSON has no word for what never happened.
        self.figures[name] = round(figure, 3) if math.isfinite(figure) else None

    def must_be_at_most(self, name: str, figure: float, limit: float) -> None:
        """A figure that has a limit."""
        self.note(name, figure)
        if not figure <= limit:
            self.problems.append(f"{name} is {figure:,.4g}, more than {limit:,.4g}")


def percentile(figures: Sequence[float], part: float) -> float:
    """The figure that this part of all is at most; infinite when there are none."""
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, math.ceil(len(ordered) * part) - 1)] if ordered else math.inf


def write(rows: Sequence[Row]) -> None:
    """Keep the rows as JSON."""
    RESULT.parent.mkdir(exist_ok=True)
    content = [{"name": row.name, "ok": row.ok, **row.figures, "problems": row.problems} for row in rows]
    RESULT.write_text(json.dumps(content, indent=2) + "\n")


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("scenario", overflow="fold")
    for heading in (
        "last viewer p50",
        "p99",
        "p50, first → last third",
        "posts/s",
        "429",
        "reads/s of a key",
    ):
        table.add_column(heading, justify="right")
    table.add_column("", overflow="fold")
    subscriptions = [row for row in rows if CALLS in row.figures]
    for row in rows:
        if row in subscriptions:
            continue
        known = row.figures
        table.add_row(
            row.name,
            _seconds(known.get("p50")),
            _seconds(known.get("p99")),
            " → ".join(_seconds(known.get(f"p50 of the {third} third")) for third in ("first", "last")),
            f"{known.get('posts a second', 0):,.0f}",
            f"{known.get('429', 0):.1%}",
            f"{known.get('reads a second of a key', 0):,.0f}",
            "ok" if row.ok else "; ".join(row.problems),
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    if not subscriptions:
        return
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("scenario", "wait p99", "calls to Twitch", "in a minute", "writes of a channel", ""):
        table.add_column(heading, overflow="fold")
    for row in subscriptions:
        known = row.figures
        figures = (f"{known[name]:,.0f}" for name in ("calls to Twitch", CALLS, "most writes of a channel"))
        problems = "ok" if row.ok else "; ".join(row.problems)
        table.add_row(row.name, _seconds(known["wait for Twitch, p99"]), *figures, problems)
    console.print(table)


def _seconds(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.2f} s"
