"""The CDK app: ``cdk synth -c stage=<stage> [-c settings-file=<json>]``; without a stage it is ``dev``."""

import os
import sys

# jsii prints a long warning with Node 20, which the project supports.
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks

from cdk.packaging import PackagingError
from cdk.settings import SettingsError, load
from cdk.stacks import build


def main() -> None:
    """Build the stage's stacks and check them against cdk-nag's rules.

    A wrong setting or a failed build ends in one message, not a traceback.
    """
    app = App()
    try:
        settings = load(app.node.get_all_context())
        build(app, settings)
    except (SettingsError, PackagingError) as error:
        sys.exit(f"fanfare: {error}")
    # Not for the emulator, which speaks plain HTTP on loopback.
    if settings.deploy_with == "bootstrap-roles":
        Validations.of(app).add_plugins(AwsSolutionsChecks())
    app.synth()


if __name__ == "__main__":
    main()
