"""An independent judge of the policies: parliament, which knows each action of IAM and its resources."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from cdk.function import NETWORK_ACTIONS
from tests.infrastructure.template import Stage, synthesise

ZONE = {"id": "Z0123456789ABCDEFGHIJ", "name": "example.com"}
ARN = "arn:aws:{}:us-east-1:123456789012:{}"
ARNS = {
    "AWS::DynamoDB::Table": ARN.format("dynamodb", "table/name"),
    "AWS::Lambda::Function": ARN.format("lambda", "function:name"),
    "AWS::Logs::LogGroup": ARN.format("logs", "log-group:name:*"),
    "AWS::S3::Bucket": "arn:aws:s3:::name",
    "AWS::SNS::Topic": ARN.format("sns", "name"),
    "AWS::SQS::Queue": ARN.format("sqs", "name"),
    "AWS::SecretsManager::Secret": ARN.format("secretsmanager", "secret:name-abcdef"),
    "AWS::SecretsManager::SecretTargetAttachment": ARN.format("secretsmanager", "secret:name-abcdef"),
}
PSEUDO = {"AWS::Partition": "aws", "AWS::AccountId": "123456789012", "AWS::Region": "us-east-1"}
# Read in a process of its own: parliament imports what Python warns of.
JUDGE = """
import json, sys
from parliament import analyze_policy_string
policies = json.load(sys.stdin)
found = {
    path: [[one.issue, str(one.detail)] for one in analyze_policy_string(json.dumps(policy)).findings]
    for path, policy in policies.items()
}
json.dump({path: findings for path, findings in found.items() if findings}, sys.stdout)
"""
# Attaching a function to a VPC: the network interfaces' names are not known beforehand.
NETWORK = [
    "RESOURCE_STAR",
    str([action for action in NETWORK_ACTIONS if not action.startswith("ec2:Describe")]),
]


class Policies:
    """The policies of a stage's roles, with plausible names where CloudFormation fills them in."""

    def __init__(self, stage: Stage) -> None:
        templates = [json.loads(text) for text in stage.texts]
        self._types = {
            name: resource["Type"]
            for template in templates
            for name, resource in template["Resources"].items()
        }
        self._exports = {
            output["Export"]["Name"]: output["Value"]
            for template in templates
            for output in template.get("Outputs", {}).values()
            if "Export" in output
        }
        self.documents = {
            f"{name}-{number}": self._filled_in(policy)
            for template in templates
            for name, resource in template["Resources"].items()
            # CDK's own function for uploads asks for more than it needs: acknowledged where it is made.
            if not name.startswith("CustomCDKBucketDeployment")
            for number, policy in enumerate(_policies(resource))
        }

    def _filled_in(self, value: Any) -> Any:
        filled = value
        match value:
            case str():
                filled = re.sub(r"\$\{(AWS::\w+)\}", lambda found: PSEUDO[found[1]], value)
            case list():
                filled = [self._filled_in(item) for item in value]
            case {"Ref": name}:
                filled = PSEUDO.get(name) or ARNS.get(self._types.get(name, ""), "name")
            case {"Fn::GetAtt": [name, "Arn"]}:
                filled = ARNS[self._types[name]]
            case {"Fn::ImportValue": export}:
                filled = self._filled_in(self._exports[export])
            case {"Fn::Join": [separator, parts]}:
                filled = separator.join(self._filled_in(part) for part in parts)
            case {"Fn::Sub": text}:
                filled = self._filled_in(text)
            case {"Fn::GetAtt": _} | {"Fn::Select": _}:
                filled = "name"
            case dict():
                filled = {key: self._filled_in(item) for key, item in value.items()}
        return filled


def _policies(resource: dict[str, Any]) -> list[Any]:
    properties = resource.get("Properties", {})
    if resource["Type"] == "AWS::IAM::Policy":
        return [properties["PolicyDocument"]]
    if resource["Type"] == "AWS::IAM::Role":
        return [policy["PolicyDocument"] for policy in properties.get("Policies", ())]
    return []


def findings(policies: dict[str, Any]) -> dict[str, list[list[str]]]:
    """What parliament finds in the policies that have any finding."""
    judged = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", JUDGE],
        input=json.dumps(policies),
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, list[list[str]]] = json.loads(judged.stdout)
    return found


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A stage with everything that is optional, in another Region."""
    return synthesise(
        "own",
        tmp_path_factory.mktemp("own"),
        stages={
            "own": {
                "account": "123456789012",
                "region": "eu-central-1",
                "waf": {},
                "domain": {"name": "fanfare.example.com", "hosted_zone": ZONE},
                "gradual_rollout": True,
                "database": {"kind": "aurora", "proxy": True, "readers": 1},
            }
        },
    )


@pytest.mark.parametrize("stage", ["dev", "prod", "everything"])
def test_parliament_finds_nothing_but_the_network(stage: str, request: pytest.FixtureRequest) -> None:
    policies = Policies(request.getfixturevalue(stage)).documents
    found = findings(policies)
    assert found
    assert all(problems == [NETWORK] for problems in found.values()), found


def test_parliament_knows_a_wrong_resource_and_an_unknown_action() -> None:
    wrong = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["sqs:SendMessage"], "Resource": [ARNS["AWS::SNS::Topic"]]},
            {"Effect": "Allow", "Action": ["sqs:SendMesage"], "Resource": [ARNS["AWS::SQS::Queue"]]},
        ],
    }
    assert {issue for issue, _ in findings({"wrong": wrong})["wrong"]} == {
        "RESOURCE_MISMATCH",
        "UNKNOWN_ACTION",
    }
