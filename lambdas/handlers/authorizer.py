"""The WebSocket API's authorizer: a ticket opens one connection."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common import tickets
from lambdas.common.aws import Client
from lambdas.common.observability import logger
from lambdas.common.settings import from_environment
from lambdas.common.tickets import Claim


@dataclasses.dataclass(frozen=True)
class Settings:
    """The table of tickets."""

    tickets_table: str


SETTINGS = from_environment(Settings)

_DYNAMODB = Client("dynamodb")


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Allow or deny a handshake (REQUEST authorizer with the identity source ``ticket``)."""
    ticket = event["queryStringParameters"]["ticket"]
    claim = tickets.redeem(_DYNAMODB, SETTINGS.tickets_table, ticket, datetime.now(UTC))
    if claim is None:
        logger.info("The ticket is unknown, used or expired.")
    return _policy(claim, event["methodArn"])


def _policy(claim: Claim | None, method_arn: str) -> dict[str, Any]:
    """The authorizer's answer: for a claim, allow this handshake and pass it on; else deny (403).

    API Gateway hands the context to every route of the connection as ``requestContext.authorizer``.
    """
    statement = {
        "Action": "execute-api:Invoke",
        "Effect": "Allow" if claim else "Deny",
        "Resource": method_arn,
    }
    return {
        "principalId": claim.viewer_id if claim else "nobody",
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": dataclasses.asdict(claim) if claim else {},
    }
