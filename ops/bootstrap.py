"""``make bootstrap STAGE=…``: prepare an account for a stage, in each Region that it is deployed to."""

import sys

from botocore.exceptions import BotoCoreError, ClientError

from cdk.settings import DEFAULT_STAGE, Settings, SettingsError
from ops.cdk_command import run_cdk
from ops.checks import Failure
from ops.stage_settings import regions, session, settings_of


def main(arguments: list[str]) -> int:
    """Run ``cdk bootstrap`` with the stage's qualifier; returns the exit code."""
    try:
        settings = settings_of(arguments[0] if arguments else DEFAULT_STAGE)
        own = session(settings.region)
        account = own.client("sts").get_caller_identity()["Account"]
    except (SettingsError, Failure, BotoCoreError, ClientError) as error:
        print(f"✗ {error}")
        return 1
    return run_cdk("bootstrap", *options(settings, account, own.region_name))


def options(settings: Settings, account: str, region: str) -> list[str]:
    """The options of ``cdk bootstrap`` for a stage whose own Region is ``region``."""
    qualifier = settings.bootstrap_qualifier
    return [
        *(f"aws://{account}/{name}" for name in regions(settings, region)),
        *("--qualifier", qualifier, "--toolkit-stack-name", f"CDKToolkit-{qualifier}"),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
