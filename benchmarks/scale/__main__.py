"""``make scale``: run every scenario, print the table and write ``benchmarks/results/scale.json``.

``python -m benchmarks.scale <name> …`` runs the named ones. It exits non-zero when a row fails. Its figures
are the same every time: everything that is random follows from a seed.
"""

import concurrent.futures
import sys

from benchmarks.scale import rows, scenarios


def main(names: list[str]) -> None:
    """Run the named scenarios, or all of them, as many at once as there are processors."""
    if unknown := set(names) - set(scenarios.BY_NAME):
        sys.exit(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(scenarios.BY_NAME)}")
    with concurrent.futures.ProcessPoolExecutor(max_tasks_per_child=1) as pool:
        table = list(pool.map(scenarios.run, names or scenarios.BY_NAME))
    rows.write(table)
    rows.show(table)
    sys.exit(not all(row.ok for row in table))


if __name__ == "__main__":
    main(sys.argv[1:])
