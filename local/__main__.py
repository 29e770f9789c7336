"""The local cloud's command line: `python -m local run` starts it, and so does `make run`.

`python -m local exec COMMAND …` runs a command with the AWS settings of the running local cloud.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from local import cloud, environment
from local.environment import ROOT
from local.errors import LocalCloudError
from local.progress import Report, report
from ops.checks import Failure


def main() -> int:
    """Run a command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run", help="run Fanfare on this machine, until Ctrl-C", description=cloud.__doc__
    )
    run.add_argument("--twitch", choices=("simulated", "real"), default="simulated", help="which Twitch")
    execute = commands.add_parser(
        "exec", help="run a command with the AWS settings of the running local cloud"
    )
    execute.add_argument("argv", nargs="+", metavar="COMMAND")
    for command in (run, execute):
        command.add_argument(
            "--state-dir",
            type=Path,
            default=os.environ.get("FANFARE_STATE_DIR") or ROOT / ".local",
            help="folder for data, logs and endpoints.json (FANFARE_STATE_DIR; default: .local)",
        )
    arguments = parser.parse_args()
    try:
        if arguments.command == "exec":
            _execute(Path(arguments.state_dir), arguments.argv)
        with report() as shown:
            real = arguments.twitch == "real"
            asyncio.run(_run(Path(arguments.state_dir).resolve(), shown, real_twitch=real))
    except (LocalCloudError, Failure) as error:
        print(f"\nFanfare's local cloud: {error}", file=sys.stderr)
        return 1
    return 0


def _execute(state: Path, command: list[str]) -> None:
    """Replace this process by the command, with the AWS settings of the cloud with this state folder."""
    file = state / "endpoints.json"
    if not file.exists():
        raise LocalCloudError(f"No local cloud is running: there is no {file}. Start one with `make run`.")
    environment.point_at_emulator(json.loads(file.read_text())["aws_endpoint"])
    os.execvp(command[0], command)  # noqa: S606 -- the caller's own command


async def _run(state: Path, shown: Report, *, real_twitch: bool) -> None:
    running = asyncio.create_task(cloud.run(state, shown, real_twitch=real_twitch))

    def stop() -> None:
        # A second Ctrl-C must not interrupt the clean-up, which has a time limit of its own.
        if not running.cancelling():
            running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await running
    except asyncio.CancelledError:
        shown.say("Everything is stopped.")


if __name__ == "__main__":
    sys.exit(main())
