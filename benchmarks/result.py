"""The results of benchmarks, as a table and as JSON."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """Our figure and that of a named alternative, both in ``unit`` and from the same run.

    ``ratio`` is compared with ``target``: with ``better`` ``higher`` it should be at least the target, with
    ``lower`` at most.
    """

    name: str
    unit: str
    ours: float
    baseline_name: str
    baseline: float
    ratio: float
    target: float
    better: Literal["higher", "lower"]

    @property
    def met(self) -> bool:
        """Whether the ratio meets the target."""
        return self.ratio >= self.target if self.better == "higher" else self.ratio <= self.target


def limit(name: str, unit: str, ours: float, limit: float, better: Literal["higher", "lower"]) -> Result:
    """A figure that is compared with a limit instead of an alternative."""
    return Result(
        name=name,
        unit=unit,
        ours=ours,
        baseline_name="at least" if better == "higher" else "at most",
        baseline=limit,
        ratio=ours / limit,
        target=1,
        better=better,
    )


def write(name: str, results: list[Result]) -> None:
    """Write the results of one benchmark as JSON."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps([dataclasses.asdict(result) for result in results], indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")


def show(results: list[Result]) -> None:
    """Print the table of results."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("what", overflow="fold")
    for heading in ("ours", "compared with", "ratio", "target"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("")
    for each in results:
        table.add_row(
            each.name,
            f"{_rounded(each.ours)} {each.unit}",
            f"{each.baseline_name}: {_rounded(each.baseline)} {each.unit}",
            _rounded(each.ratio),
            f"{'≥' if each.better == 'higher' else '≤'} {each.target:g}",
            "" if each.met else "missed",
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _rounded(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.3g}"
