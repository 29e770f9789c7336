"""A ticket is bound to one viewer and one channel, lives a minute and works once (DynamoDB by moto)."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from lambdas.common import tickets
from lambdas.common.aws import Client
from lambdas.common.tickets import Claim, Ticket
from tests.integration.live.conftest import TICKETS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NOW = datetime(2026, 1, 31, 12, 0, 0, 900_000, tzinfo=UTC)


def issue(dynamodb: "DynamoDBClient") -> Ticket:
    return tickets.issue(Client("dynamodb"), TICKETS, Claim("viewer-1", "1337", "cool_user"), now=NOW)


def redeem(dynamodb: "DynamoDBClient", ticket: str, after: float = 1.0) -> Claim | None:
    return tickets.redeem(Client("dynamodb"), TICKETS, ticket, NOW + timedelta(seconds=after))


def test_a_ticket_proves_who_watches_what(dynamodb: "DynamoDBClient") -> None:
    assert redeem(dynamodb, issue(dynamodb).value) == Claim("viewer-1", "1337", "cool_user")


def test_a_ticket_works_once(dynamodb: "DynamoDBClient") -> None:
    ticket = issue(dynamodb).value
    assert redeem(dynamodb, ticket)
    assert redeem(dynamodb, ticket) is None


def test_of_simultaneous_uses_exactly_one_succeeds(dynamodb: "DynamoDBClient") -> None:
    ticket = issue(dynamodb).value
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: redeem(dynamodb, ticket), range(16)))
    assert sum(claim is not None for claim in claims) == 1


def test_a_ticket_lives_at_most_a_minute(dynamodb: "DynamoDBClient") -> None:
    """Also where TTL has not removed it yet."""
    early, late = issue(dynamodb), issue(dynamodb)
    assert timedelta(seconds=59) <= early.expires_at - NOW <= timedelta(seconds=60)
    assert redeem(dynamodb, early.value, after=59)
    assert redeem(dynamodb, late.value, after=60) is None


@pytest.mark.parametrize("ticket", ["", "made-up", "ü\N{GRINNING FACE}", "x" * 8192])
def test_an_unknown_ticket_proves_nothing(dynamodb: "DynamoDBClient", ticket: str) -> None:
    issue(dynamodb)
    assert redeem(dynamodb, ticket) is None


def test_the_table_holds_no_usable_ticket_and_its_ttl(dynamodb: "DynamoDBClient") -> None:
    ticket = issue(dynamodb)
    (item,) = dynamodb.scan(TableName=TICKETS)["Items"]
    assert ticket.value not in str(item)
    assert item["expires_at"] == {"N": str(int(ticket.expires_at.timestamp()))}
    assert redeem(dynamodb, item["ticket_hash"]["S"]) is None
