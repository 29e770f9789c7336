"""The registry of open WebSocket connections: which viewers watch which channel right now.

``$disconnect`` is best effort, so an entry lives 15 minutes unless a ping renews it, and every reader skips
expired ones: DynamoDB's TTL may remove them days later.
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
"""

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# The site pings every 4 minutes: two pings may get lost, and API Gateway's idle limit (10 min) is never met.
LIFETIME = timedelta(minutes=15)


@dataclasses.dataclass(frozen=True, slots=True)
class Connection:
    """One viewer's open WebSocket; ``renewed_at`` (UTC) is when it was last stored."""

    id: str
    renewed_at: datetime


def put(
    client: "DynamoDBClient",
    table: str,
    *,
    streamer_id: str,
    connection_id: str,
    viewer_id: str,
    now: datetime,
) -> None:
    """Store the connection, or renew it, until ``now`` (timezone-aware) plus its lifetime."""
    client.put_item(
        TableName=table,
        Item={
            "streamer_id": {"S": streamer_id},
            "connection_id": {"S": connection_id},
            "viewer_id": {"S": viewer_id},
            "expires_at": {"N": str(int((now + LIFETIME).timestamp()))},
        },
    )


def remove(client: "DynamoDBClient", table: str, *, streamer_id: str, connection_id: str) -> None:
    """Forget the connection; removing an unknown one is no error."""
    client.delete_item(
        TableName=table, Key={"streamer_id": {"S": streamer_id}, "connection_id": {"S": connection_id}}
    )


def iterate(client: "DynamoDBClient", table: str, streamer_id: str, now: datetime) -> Iterator[Connection]:
    """Yield the channel's unexpired connections, fetching page after page as they are used."""
    pages = client.get_paginator("query").paginate(
        TableName=table,
        KeyConditionExpression="streamer_id = :streamer_id",
        FilterExpression="expires_at > :now",
        ProjectionExpression="connection_id, expires_at",
        ExpressionAttributeValues={
            ":streamer_id": {"S": streamer_id},
            ":now": {"N": str(int(now.timestamp()))},
        },
        # A viewer fetches the newest events right after connecting. A connection that an eventually
        # consistent read does not show yet would miss an event recorded just after that fetch.
        ConsistentRead=True,
    )
    for page in pages:
        for item in page["Items"]:
            expires_at = datetime.fromtimestamp(int(item["expires_at"]["N"]), UTC)
            yield Connection(id=item["connection_id"]["S"], renewed_at=expires_at - LIFETIME)


def anyone(client: "DynamoDBClient", table: str, streamer_id: str, now: datetime) -> bool:
    """Whether at least one viewer watches the channel."""
    return next(iterate(client, table, streamer_id, now), None) is not None
