"""``python -m tests.stress [--without <safeguard>]``: run it, print what was done and found."""

import argparse
import dataclasses
import os
import sys

from tests.stress import driver


def main() -> None:
    """Exit with 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=float(os.environ.get("FANFARE_STRESS_SECONDS", "60"))
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without", choices=driver.SAFEGUARDS, help="take this out first")
    options = parser.parse_args()
    findings = driver.run(options.seconds, without=options.without, seed=options.seed)
    for name, value in dataclasses.asdict(findings).items():
        print(f"{name:20} {value if not isinstance(value, list) else len(value)}")
    for wrong in findings.wrong[:20]:
        print(f"  {wrong}")
    sys.exit(not findings.ok)


if __name__ == "__main__":
    main()
