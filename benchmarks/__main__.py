"""``make bench``: run every benchmark, print the table and write ``benchmarks/results/*.json``.

A missed target is printed, not an error: the exit code says whether everything ran.
"""

import importlib
import sys

from benchmarks import result

BENCHMARKS = ("recorder",)


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all of them."""
    for name in names or BENCHMARKS:
        results = importlib.import_module(f"benchmarks.{name}").measure()
        result.write(name, results)
        for each in results:
            result.show(each)


if __name__ == "__main__":
    main(sys.argv[1:])
