"""``make bench``: run every benchmark, print one table and write ``benchmarks/results/<name>.json``.

``python -m benchmarks <name> …`` runs the named ones. A benchmark is a module of this package with a function
``measure``, which prints its progress and returns its results.

A missed target is shown in the table. The exit code says only whether everything ran.
"""

import importlib
import signal
import sys
import time

from benchmarks import result

BENCHMARKS = ("broadcast", "counts", "recorder", "subscriptions", "upkeep", "webhook")


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all of them."""
    if unknown := set(names) - set(BENCHMARKS):
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    table = []
    for name in names or BENCHMARKS:
        print(f"{name} …", flush=True)
        started = time.perf_counter()
        results = importlib.import_module(f"benchmarks.{name}").measure()
        print(f"{name} took {time.perf_counter() - started:.0f} s", flush=True)
        result.write(name, results)
        table += results
    print()
    result.show(table)


if __name__ == "__main__":
    # So that the context managers stop their servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    main(sys.argv[1:])
