"""An AWS account as a stage sees it: clients in the stage's Region, and what is deployed there."""

import threading
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError

# A command that checks many things at once has to end soon, whatever does not answer.
_QUICK = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})


class Account:
    """Clients of one session. They may be used by many threads; the session makes them one at a time."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], Any] = {}
        self.region: str = session.region_name

    def client(self, service: str, region: str | None = None) -> Any:
        """The client of a service, in the session's Region unless another is given."""
        key = (service, region or self.region)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._session.client(service, region_name=key[1], config=_QUICK)
            return self._clients[key]

    def identity(self) -> dict[str, str]:
        """Whose credentials these are."""
        found: dict[str, str] = self.client("sts").get_caller_identity()
        return found

    def outputs(self, stack: str) -> dict[str, str] | None:
        """The outputs of a stack by name, or None if there is no such stack."""
        try:
            (found,) = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":
                return None
            raise
        return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", ())}

    def resource(self, stack: str, type_: str) -> str | None:
        """The name of the first resource of a type in a stack, or None if it or the stack is not there."""
        try:
            found = self.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":
                return None
            raise
        return next((one["PhysicalResourceId"] for one in found if one["ResourceType"] == type_), None)
