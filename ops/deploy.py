"""``make deploy STAGE=…``: deploy a stage's assembly, with the present versions of two secrets.

CloudFormation reads a secret again only when the reference to it changes, so they name the versions.
"""

import os
import sys
from collections.abc import Callable

from botocore.exceptions import BotoCoreError, ClientError

from cdk.settings import ORIGIN_HEADER_VERSION, TWITCH_SECRET_VERSION, Settings, SettingsError
from ops.account import Account
from ops.cdk_command import run_cdk
from ops.checks import Failure
from ops.stage_settings import session, settings_of
from ops.twitch_secret import current_version, twitch_secret_version


def main(arguments: list[str]) -> int:
    """Deploy a stage, from the assembly in a folder; returns the exit code."""
    stage, assembly = arguments
    try:
        settings = settings_of(stage)
        return deploy(Account(session(settings.region)), settings, assembly)
    except (SettingsError, Failure, BotoCoreError, ClientError) as error:
        print(f"✗ {error}")
        return 1


def deploy(account: Account, settings: Settings, assembly: str, run: Callable[..., int] = run_cdk) -> int:
    """Run ``cdk deploy``; returns its exit code. Raises Failure if there is no Twitch secret."""
    app = f"Fanfare-{settings.stage}-App"
    versions = {TWITCH_SECRET_VERSION: twitch_secret_version(account, settings)}
    # Before the first deployment there is none.
    if arn := (account.outputs(app) or {}).get("OriginSecretArn"):
        versions[ORIGIN_HEADER_VERSION] = current_version(account, arn)
    return run(
        *("deploy", "--all", "--app", assembly),
        *(part for name, version in versions.items() for part in ("--parameters", f"{app}:{name}={version}")),
        # In a workflow nobody can answer.
        *(("--require-approval", "never") if os.environ.get("CI") else ()),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
