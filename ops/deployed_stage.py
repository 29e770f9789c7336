"""A deployed stage: its outputs, read from CloudFormation, and the names of what is in it."""

import dataclasses
from typing import Any, Self

from ops.account import Account
from ops.checks import Failure
from ops.stage_settings import region_of, session


@dataclasses.dataclass(frozen=True)
class DeployedStage:
    """The outputs of the stage's app stack, and a session in its Region."""

    name: str
    outputs: dict[str, str]
    session: Any

    @classmethod
    def find(cls, name: str) -> Self:
        """Read the outputs of stage ``name``. Raises Failure if it is not in the account and Region."""
        own = session(region_of(name))
        stack = f"Fanfare-{name}-App"
        outputs = Account(own).outputs(stack)
        if outputs is None:
            raise Failure(
                f"there is no stack {stack} in {own.region_name}. Deploy it first: make deploy STAGE={name}"
            )
        return cls(name, outputs, own)

    def function(self, job: str) -> str:
        """Name of the function that does ``job``."""
        return f"fanfare-{self.name}-{job}"

    def table(self, name: str) -> str:
        """Name of a DynamoDB table."""
        return f"fanfare-{self.name}-{name}"
