"""The command line: `python -m local run` brings up the local cloud, which `make run` calls."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from local import cloud
from local.environment import ROOT
from local.errors import LocalCloudError
from local.progress import Report, report


def main() -> int:
    """Run a command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run", help="run Fanfare on this machine, until Ctrl-C", description=cloud.__doc__
    )
    run.add_argument(
        "--state-dir",
        type=Path,
        default=os.environ.get("FANFARE_STATE_DIR") or ROOT / ".local",
        help="folder for data, logs and endpoints.json (FANFARE_STATE_DIR; default: .local)",
    )
    arguments = parser.parse_args()
    try:
        with report() as shown:
            asyncio.run(_run(Path(arguments.state_dir).resolve(), shown))
    except LocalCloudError as error:
        print(f"\nFanfare's local cloud: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(state: Path, shown: Report) -> None:
    running = asyncio.create_task(cloud.run(state, shown))
    stopped_by: list[str] = []

    def stop(number: signal.Signals) -> None:
        # Once only: an impatient second Ctrl-C must not interrupt the clean-up, which is bounded in time.
        if not stopped_by:
            stopped_by.append(number.name)
            running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        await running
    except asyncio.CancelledError:
        shown.say("Everything is stopped.")


if __name__ == "__main__":
    sys.exit(main())
