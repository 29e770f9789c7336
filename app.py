"""The CDK app: `cdk synth -c stage=<dev|prod|local> [-c settings-file=<json>]`; the stage is `dev` unless named."""

import os
import sys

# jsii's warning about the Node release fills the screen and is nothing a deployment can act on.
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "1")

from aws_cdk import App

from cdk.packaging import PackagingError
from cdk.settings import SettingsError, load
from cdk.stacks import build


def main() -> None:
    """Build the chosen stage's stacks; a wrong setting or a failed build ends in one message, not a traceback."""
    app = App()
    try:
        build(app, load(app.node.get_all_context()))
    except (SettingsError, PackagingError) as error:
        sys.exit(f"fanfare: {error}")
    app.synth()


if __name__ == "__main__":
    main()
