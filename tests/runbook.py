"""The shell commands of docs/runbook.md, as tests run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNBOOK = ROOT / "docs" / "runbook.md"
# They have tests of their own, and need what is not on a test's machine.
NOT_RUN = ("make", "npx")
# Version 1 of the command line, which PyPI has, ignores AWS_ENDPOINT_URL for SQS.
ENDPOINT = 'aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }\n'


def scripts() -> dict[str, str]:
    """The scripts by the heading, or in "Planned work" the bold words, that they stand under."""
    entries = re.split(r"(?m)^(?:## |\*\*(?!Means|Look|Do\b))", RUNBOOK.read_text())[1:]
    found = {re.split(r"\*\*|\n", entry)[0].rstrip("."): _blocks(entry) for entry in entries}
    return {title: script for title, script in found.items() if script}


def run(title: str, environment: dict[str, str], folder: Path, **values: str) -> str:
    """Run a script for the local stage, in ``folder``, with these values for ``<name>``; returns its output.

    ``environment`` says where AWS is.
    """
    script = scripts()[title].replace("prod", "local")
    for name, value in values.items():
        script = script.replace(f"<{name.replace('_', ' ')}>", value)
    assert "<" not in re.sub(r"<<<", "", script), script
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", ENDPOINT + script],
        cwd=folder,
        env={**environment, "PATH": path, "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _blocks(entry: str) -> str:
    lines = "\n".join(re.findall(r"(?ms)^```sh\n(.*?)^```", entry)).splitlines()
    return "\n".join(line for line in lines if line and not line.startswith(NOT_RUN))
