"""Removing a grant of a deployed function for a part of a test."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from tests.e2e.clients import Cloud


@contextlib.contextmanager
def without_grant(cloud: Cloud, function: str, action: str) -> Iterator[None]:
    """Remove ``action`` from what the function's role allows; put it back at the end."""
    iam, functions = cloud.aws("iam"), cloud.aws("lambda")
    arn = functions.get_function_configuration(FunctionName=f"fanfare-local-{function}")["Role"]
    role = arn.rsplit("/", 1)[1]
    changed: list[tuple[str, Any]] = []
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        kept = [
            {**statement, "Action": actions}
            for statement in document["Statement"]
            if (actions := [one for one in _actions(statement) if one != action])
        ]
        if any(action in _actions(statement) for statement in document["Statement"]):
            changed.append((name, document))
            iam.put_role_policy(
                RoleName=role, PolicyName=name, PolicyDocument=json.dumps({**document, "Statement": kept})
            )
    assert changed, f"{function} has no grant of {action}"
    try:
        yield
    finally:
        for name, document in changed:
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))


def _actions(statement: dict[str, Any]) -> list[str]:
    actions = statement["Action"]
    return [actions] if isinstance(actions, str) else actions
