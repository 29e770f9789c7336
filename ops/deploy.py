"""``make deploy STAGE=…``: deploy a stage's assembly; Cognito gets the Twitch secret's present version."""

import os
import sys
from collections.abc import Callable

from botocore.exceptions import BotoCoreError, ClientError

from cdk.settings import TWITCH_SECRET_VERSION, SettingsError
from ops.account import Account
from ops.cdk_command import run_cdk
from ops.checks import Failure
from ops.stage_settings import session, settings_of
from ops.twitch_secret import twitch_secret_version


def main(arguments: list[str], run: Callable[..., int] = run_cdk) -> int:
    """Deploy a stage, from the assembly in a folder; returns the exit code."""
    stage, assembly = arguments
    try:
        settings = settings_of(stage)
        version = twitch_secret_version(Account(session(settings.region)), settings)
        parameter = f"Fanfare-{stage}-App:{TWITCH_SECRET_VERSION}={version}"
    except (SettingsError, Failure, BotoCoreError, ClientError) as error:
        print(f"✗ {error}")
        return 1
    return run(
        *("deploy", "--all", "--app", assembly),
        *(("--parameters", parameter) if settings.sign_in == "cognito" else ()),
        # In a workflow nobody can answer.
        *(("--require-approval", "never") if os.environ.get("CI") else ()),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
