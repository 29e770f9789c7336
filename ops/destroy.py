"""``make destroy STAGE=…``: print what deleting a stage deletes and what it keeps, ask, and delete it."""

import collections
import json
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from cdk.settings import DEFAULT_STAGE
from ops.cdk_command import run_cdk
from ops.checks import Failure
from ops.stage_settings import EDGE_REGION, region_of, session


class Resource(NamedTuple):
    """A resource of a stack; a ``kept`` one is not deleted with it."""

    stack: str
    type: str
    name: str
    kept: bool


def main(arguments: list[str]) -> int:
    """Print the plan, ask for the stage's name, and run ``cdk destroy``; returns the exit code."""
    stage = arguments[0] if arguments else DEFAULT_STAGE
    try:
        own = session(region_of(stage))
        stacks = list(_stacks(own, stage))
        resources = [resource for client, stack in stacks for resource in _resources(client, stack)]
    except (Failure, BotoCoreError, ClientError) as error:
        print(f"✗ {error}")
        return 1
    if not stacks:
        print(f"✗ There is nothing of stage {stage!r} in this account and Region.")
        return 1
    print(plan(stage, resources))
    if protected := [stack["StackName"] for _, stack in stacks if stack.get("EnableTerminationProtection")]:
        print(
            f"✗ Protected from deletion: {', '.join(protected)}. If you want to delete the stage, "
            "set its `retain_data` to false in cdk.json and deploy first."
        )
        return 1
    print(f"Type the stage's name, {stage}, to delete it, or anything else to keep it:")
    if sys.stdin.readline().strip() != stage:
        print("Nothing was deleted.")
        return 1
    try:
        empty_buckets(own, resources)
    except (BotoCoreError, ClientError) as error:
        print(f"✗ {error}")
        return 1
    return run_cdk("destroy", "--all", "--force", "-c", f"stage={stage}")


def empty_buckets(session: Any, resources: list[Resource]) -> None:
    """Delete every version of every object in the buckets to be deleted: S3 deletes only empty buckets."""
    for resource in resources:
        if resource.type == "AWS::S3::Bucket" and not resource.kept:
            print(f"Emptying the bucket {resource.name} …", flush=True)
            session.resource("s3").Bucket(resource.name).object_versions.delete()


def plan(stage: str, resources: list[Resource]) -> str:
    """Which resources would be deleted and which kept, for a person."""
    deleted = collections.Counter(resource.type for resource in resources if not resource.kept)
    kept = [resource for resource in resources if resource.kept]
    lines = [f"Deleting stage {stage!r} deletes {deleted.total()} resources:"]
    lines += [f"  {count:4} x {type_}" for type_, count in sorted(deleted.items())]
    lines.append(f"and keeps {len(kept)}, which go on costing money until they are deleted by hand:")
    lines += [f"  {resource.type} {resource.name}" for resource in kept] or ["  none: all data is lost"]
    return "\n".join(lines)


def _stacks(session: Any, stage: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The stage's stacks, each with a client of its Region."""
    for region in dict.fromkeys((session.region_name, EDGE_REGION)):
        client = session.client("cloudformation", region_name=region)
        for page in client.get_paginator("describe_stacks").paginate():
            for stack in page["Stacks"]:
                if stack["StackName"].startswith(f"Fanfare-{stage}-"):
                    yield client, stack


def _resources(client: Any, stack: dict[str, Any]) -> Iterator[Resource]:
    name = stack["StackName"]
    body = client.get_template(StackName=name)["TemplateBody"]
    template = json.loads(body) if isinstance(body, str) else body
    for page in client.get_paginator("list_stack_resources").paginate(StackName=name):
        for resource in page["StackResourceSummaries"]:
            policy = template["Resources"].get(resource["LogicalResourceId"], {}).get("DeletionPolicy")
            yield Resource(
                stack=name,
                type=resource["ResourceType"],
                name=resource.get("PhysicalResourceId", resource["LogicalResourceId"]),
                kept=policy in ("Retain", "Snapshot", "RetainExceptOnCreate"),
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
