"""The WebSocket API's authorizer: a ticket opens one connection."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common import tickets
from lambdas.common.aws import Client
from lambdas.common.observability import logger
from lambdas.common.settings import from_environment
from lambdas.live.admission import policy


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
    return policy(claim, event["methodArn"])
