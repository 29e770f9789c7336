"""Findings of cdk-nag's AwsSolutions rules that are intended: each on one construct, with its reason.

Every other finding stops the synthesis. A rule is never switched off for a stack, which would hide the next
finding. A test lists all acknowledgements. https://github.com/cdklabs/cdk-nag/blob/main/RULES.md
"""

from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from constructs import IConstruct

BASIC_EXECUTION = "arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
"""The managed policy that CDK gives the roles of its own functions, as the rules write it."""


def acknowledge(construct: IConstruct, *findings: str, because: str) -> None:
    """Let ``findings`` of ``construct``, such as ``APIG4`` or ``IAM5[Resource::*]``, pass."""
    Validations.of(construct).acknowledge(
        *(Acknowledgment(id=f"AwsSolutions-{finding}", reason=because) for finding in findings)
    )


def wildcard_on(scope: IConstruct, arn: str) -> str:
    """The finding about a grant on ``arn``, which has a wildcard in it."""
    return f"IAM5[Resource::{_written_out(Stack.of(scope).resolve(arn))}]"


def _written_out(value: Any) -> str:
    """A resolved value as the rules write it, with ``<…>`` for what CloudFormation fills in."""
    match value:
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(_written_out(part) for part in parts)
        case {"Fn::ImportValue": export}:
            return str(export)
        case {"Fn::Sub": text}:
            return str(text).replace("${", "<").replace("}", ">")
    return str(value)
