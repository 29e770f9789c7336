"""Removing a grant of a deployed function for a part of a test."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from tests.e2e.clients import Cloud


def grants(cloud: Cloud) -> dict[str, list[str]]:
    """By function, the actions that its role allows, without those of logs and networks."""
    names = [
        function["FunctionName"].removeprefix("fanfare-local-")
        for page in cloud.aws("lambda").get_paginator("list_functions").paginate()
        for function in page["Functions"]
        if function["FunctionName"].startswith("fanfare-local-")
    ]
    found = {}
    for name in names:
        actions = {
            action
            for _, _, document in _policies(cloud, name)
            for one in document["Statement"]
            for action in _actions(one)
        }
        found[name] = sorted(action for action in actions if not action.startswith(("logs:", "ec2:")))
    return found


def _policies(cloud: Cloud, function: str) -> Iterator[tuple[str, str, Any]]:
    """Role, name and document of each policy of a function's role."""
    iam, functions = cloud.aws("iam"), cloud.aws("lambda")
    arn = functions.get_function_configuration(FunctionName=f"fanfare-local-{function}")["Role"]
    role = arn.rsplit("/", 1)[1]
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        yield role, name, iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]


@contextlib.contextmanager
def without_grant(cloud: Cloud, function: str, action: str) -> Iterator[None]:
    """Remove ``action`` from what the function's role allows; put it back at the end."""
    iam = cloud.aws("iam")
    changed: list[tuple[str, str, Any]] = []
    for role, name, document in _policies(cloud, function):
        kept = [
            {**statement, "Action": actions}
            for statement in document["Statement"]
            if (actions := [one for one in _actions(statement) if one != action])
        ]
        if any(action in _actions(statement) for statement in document["Statement"]):
            changed.append((role, name, document))
            iam.put_role_policy(
                RoleName=role, PolicyName=name, PolicyDocument=json.dumps({**document, "Statement": kept})
            )
    assert changed, f"{function} has no grant of {action}"
    try:
        yield
    finally:
        for role, name, document in changed:
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))


def _actions(statement: dict[str, Any]) -> list[str]:
    actions = statement["Action"]
    return [actions] if isinstance(actions, str) else actions
