"""What all stacks of a stage have in common: name, account, Region and whose rights deploy them."""

from typing import Any

from aws_cdk import CliCredentialsStackSynthesizer, DefaultStackSynthesizer, Environment, Stack
from constructs import Construct

from cdk.settings import Settings


class StageStack(Stack):
    """The stack ``Fanfare-<stage>-<name>``, in the stage's Region unless another is given."""

    def __init__(
        self, scope: Construct, settings: Settings, name: str, *, region: str | None = None, **options: Any
    ) -> None:
        super().__init__(
            scope,
            f"Fanfare-{settings.stage}-{name}",
            env=Environment(account=settings.account, region=region or settings.region),
            synthesizer=(
                CliCredentialsStackSynthesizer()
                if settings.deploy_with == "cli-credentials"
                else DefaultStackSynthesizer(qualifier=settings.bootstrap_qualifier)
            ),
            **options,
        )
