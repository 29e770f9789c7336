"""``make chaos``: make each fault and each attack, print a row for it, and fail if one is not as promised.

``python -m tests.chaos <part of a name> …`` makes the rows with such a name.
The rows are written to .artifacts/chaos.json.
"""

import argparse
import contextlib
import dataclasses
import json
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.attacks import ATTACKS
from tests.chaos.faults import FAULTS, LAST
from tests.chaos.laboratory import Check, Laboratory, Row
from tests.e2e.local_cloud import LocalCloud

RESULTS = Path(__file__).resolve().parents[2] / ".artifacts" / "chaos.json"
#: How long a fault lasts.
SECONDS = 20
NO_FAULT = Check("no fault", Laboratory.wait)
COLD = Check("no fault, functions start", Laboratory.start_functions_anew)
HEAD = (
    f"{'row':42} {'tries':>6} {'accepted':>8} {'recorded':>8} {'counted':>8} {'delivered':>9} {'lost':>5} "
    f"{'doubled':>7} {'recorded after':>14} {'delivered after':>15}  verdict"
)


def main() -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of rows")
    chosen = parser.parse_args()
    everything = (*FAULTS, *ATTACKS, *LAST)
    checks = [
        check for check in everything if not chosen.names or any(part in check.name for part in chosen.names)
    ]
    if not checks:
        parser.error(f"no row has such a name; there are {', '.join(check.name for check in everything)}")
    # Deliveries are drawn while other threads use random for their pauses.
    warnings.filterwarnings("ignore", "Do not use the `random` module inside strategies")
    # Also then the local cloud is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    RESULTS.parent.mkdir(exist_ok=True)
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        print("\n  ".join([_line(row), *row.notes]), flush=True)
        RESULTS.write_text(
            json.dumps([dataclasses.asdict(row) | {"ok": row.ok} for row in rows], indent=2) + "\n"
        )

    print(f"Starting a local cloud (its output: {RESULTS.with_name('chaos.log')}) …", flush=True)
    with _laboratory() as laboratory:
        print(HEAD)
        add(laboratory.run(NO_FAULT))
        for check in checks:
            row = laboratory.run(check)
            if row.late(check, rows[0]):
                # The machine may be slower than it was then, and functions may have started anew.
                cold = laboratory.run(COLD)
                add(cold)
                row.problems += row.late(check, cold)
            add(row)
        add(laboratory.stop())
    failed = [row.name for row in rows if not row.ok]
    print(
        f"{len(rows) - len(failed)} of {len(rows)} rows are as promised." + f" Not: {failed}" * bool(failed)
    )
    return 1 if failed else 0


@contextlib.contextmanager
def _laboratory() -> Iterator[Laboratory]:
    with tempfile.TemporaryDirectory(prefix="fanfare-chaos-") as state:
        local = LocalCloud(Path(state), RESULTS.with_name("chaos.log"))
        try:
            with contextlib.closing(Laboratory(local, local.start(), SECONDS, RESULTS.parent)) as laboratory:
                yield laboratory
        finally:
            if local.is_running():
                local.stop()


def _line(row: Row) -> str:
    after = [
        "-" if seconds is None else f"{seconds:.1f} s"
        for seconds in (row.recorded_after, row.delivered_after)
    ]
    verdict = "ok" if row.ok else "NOT OK: " + "; ".join(row.problems)
    return (
        f"{row.name:42} {row.tries:6} {row.accepted:8} {row.recorded:8} {row.counted:8} {row.delivered:9} "
        f"{row.lost:5} {row.doubled:7} {after[0]:>14} {after[1]:>15}  {verdict}"
    )


if __name__ == "__main__":
    sys.exit(main())
