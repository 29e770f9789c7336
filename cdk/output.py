"""Outputs of a stack: for people, `make smoke`, and the local cloud."""

from aws_cdk import CfnOutput
from constructs import Construct


def output(scope: Construct, name: str, value: str) -> None:
    """Add the output ``name`` to the stack of ``scope``, without the construct's path before it."""
    CfnOutput(scope, f"{name}Output", value=value).override_logical_id(name)
