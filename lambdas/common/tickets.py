"""Tickets: one-time secrets that let a signed-in viewer's browser open the WebSocket of one channel.

A browser cannot send headers with a WebSocket handshake, and a bearer token in a URL would end up in logs. So
the URL contains a ticket, which is valid once and for a minute. The table holds only its hash.
"""

import dataclasses
import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from lambdas.common.aws import AwsError, Client

LIFETIME = timedelta(seconds=60)


@dataclasses.dataclass(frozen=True, slots=True)
class Ticket:
    """The secret that the viewer gets, and when it expires (UTC, whole seconds)."""

    value: str
    expires_at: datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """The viewer and the channel of a ticket.

    ``overlay_key`` is the version of the key that the viewer's overlay has (``overlay_keys``), "" for others.
    """

    viewer_id: str
    streamer_id: str
    streamer_name: str
    overlay_key: str = ""


def issue(dynamodb: Client, table: str, claim: Claim, *, now: datetime) -> Ticket:
    """Store and return a new ticket for this viewer and channel; ``now`` is timezone-aware."""
    # Whole seconds, since DynamoDB's TTL has no others; rounded down, so that it is valid for no longer.
    expires_at = (now + LIFETIME).astimezone(UTC).replace(microsecond=0)
    ticket = Ticket(value=secrets.token_urlsafe(32), expires_at=expires_at)
    item = {
        "ticket_hash": {"S": _hash(ticket.value)},
        **{name: {"S": value} for name, value in dataclasses.asdict(claim).items()},
        "expires_at": {"N": str(int(expires_at.timestamp()))},
    }
    dynamodb.call("PutItem", {"TableName": table, "Item": item})
    return ticket


def redeem(dynamodb: Client, table: str, ticket: str, now: datetime) -> Claim | None:
    """Delete the ticket and return its claim; None for an unknown, used or expired one.

    It is one conditional delete that returns the item, so of two simultaneous uses exactly one succeeds.
    An expired ticket fails the condition although TTL, which may run days late, has not removed it yet.
    """
    try:
        answer = dynamodb.call(
            "DeleteItem",
            {
                "TableName": table,
                "Key": {"ticket_hash": {"S": _hash(ticket)}},
                "ConditionExpression": "expires_at > :now",
                "ExpressionAttributeValues": {":now": {"N": str(int(now.timestamp()))}},
                "ReturnValues": "ALL_OLD",
            },
        )
    except AwsError as error:
        if error.code == "ConditionalCheckFailedException":
            return None
        raise
    item = answer["Attributes"]
    names = (field.name for field in dataclasses.fields(Claim))
    return Claim(**{name: item[name]["S"] for name in names if name in item})


def _hash(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
