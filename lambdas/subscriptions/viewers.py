"""How many viewers each channel has at this moment, by the registry of open connections."""

import collections
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def count(client: "DynamoDBClient", connections_table: str, now: datetime) -> dict[str, int]:
    """The number of unexpired connections of each channel, by streamer id; none is left out."""
    pages = client.get_paginator("scan").paginate(
        TableName=connections_table,
        # $disconnect may never arrive: a connection counts until it is not renewed any more.
        FilterExpression="expires_at > :now",
        ProjectionExpression="streamer_id",
        ExpressionAttributeValues={":now": {"N": str(int(now.timestamp()))}},
        ConsistentRead=True,
    )
    return dict(collections.Counter(item["streamer_id"]["S"] for page in pages for item in page["Items"]))
