"""``python -m tests.chaos.mutants``: take out one safeguard after the other; ``make chaos`` must turn red.

Each mutant is a copy of the repository in a temporary folder with one text replaced.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.fresh_clone import fresh_clone


@dataclass(frozen=True)
class Mutant:
    """A safeguard that is taken out: ``old`` becomes ``new`` in a file; a row with the name must fail."""

    safeguard: str
    file: str
    old: str
    new: str
    row: str


MUTANTS = (
    Mutant(
        "deduplication",
        "sql/queries/record_events.sql",
        """    insert into seen_events (id)
    select incoming.id
    from incoming
    left join seen_events_before on incoming.id = seen_events_before.id
    where seen_events_before.id is null
    order by incoming.id
    on conflict do nothing
    returning id
""",
        "    select incoming.id from incoming\n",
        "200 times",
    ),
    Mutant(
        "partial batch answers",
        "lambdas/handlers/broadcaster.py",
        "for id_ in [*report.refused, *report.failed]",
        "for id_ in []",
        "broadcaster without dynamodb:Query",
    ),
    Mutant(
        "the signature's age",
        "lambdas/ingest/eventsub_signature.py",
        "if abs(now - sent_at) > MAX_AGE:",
        "if False:",
        "a sample",
    ),
    Mutant(
        "the ticket's condition",
        "lambdas/common/tickets.py",
        '"expires_at > :now"',
        '"attribute_exists(ticket_hash) OR expires_at > :now"',
        "tickets",
    ),
    Mutant(
        "the catch-up read",
        "frontend/src/live/connection.ts",
        "    for (const delay of CATCH_UP_AFTER) this.#later(delay, () => void this.#catchUp());\n",
        "    void CATCH_UP_AFTER;\n",
        "a page that was away",
    ),
)


def main() -> int:
    """Run all mutants; returns 0 if each of them was found."""
    survived = []
    for mutant in MUTANTS:
        with tempfile.TemporaryDirectory(prefix="fanfare-mutant-") as folder:
            copy = Path(folder) / "fanfare"
            fresh_clone(copy)
            changed = copy / mutant.file
            text = changed.read_text()
            assert text.count(mutant.old) == 1, f"{mutant.file} does not have {mutant.old!r} once"
            changed.write_text(text.replace(mutant.old, mutant.new))
            print(f"without {mutant.safeguard}:", flush=True)
            subprocess.run([sys.executable, "-m", "tests.chaos", mutant.row], cwd=copy, check=False)
            without_fault, *rows = json.loads((copy / ".artifacts/chaos.json").read_text())
            if not (without_fault["ok"] and any(mutant.row in row["name"] and not row["ok"] for row in rows)):
                survived.append(mutant.safeguard)
    print(f"not found: {', '.join(survived)}" if survived else "Each missing safeguard was found.")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
