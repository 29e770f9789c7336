"""What a benchmark found, and how it is shown and kept."""

import dataclasses
import json
from pathlib import Path
from typing import Literal

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Result:
    """Our figure beside that of a named alternative, measured in the same run.

    ``ratio`` says how many times better ours is, and is what is compared with ``target``.
    """

    name: str
    unit: str
    ours: float
    baseline_name: str
    baseline: float
    target: float
    better: Literal["higher", "lower"]

    @property
    def ratio(self) -> float:
        """How many times better ours is than the baseline."""
        return self.ours / self.baseline if self.better == "higher" else self.baseline / self.ours

    def to_dict(self) -> dict[str, str | float]:
        """The result as it is written to ``benchmarks/results``."""
        return {**dataclasses.asdict(self), "ratio": self.ratio}


def write(name: str, results: list[Result]) -> None:
    """Keep the results of one benchmark as JSON."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps([result.to_dict() for result in results], indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")


def show(result: Result) -> None:
    """Print one row of the table."""
    verdict = "met" if result.ratio >= result.target else "NOT met"
    print(
        f"{result.name:<28} {result.ours:>12,.1f} {result.unit:<14} {result.baseline:>12,.1f} "
        f"{result.baseline_name:<30} {result.ratio:>7.1f}x  (target {result.target:g}x: {verdict})",
        flush=True,
    )
