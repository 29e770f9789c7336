"""The registry of open WebSocket connections: which viewers watch which channel right now.

A channel's connections are sorted by a hash of their ids. So a range of the hashes holds a part of the
audience that is as large as the range, and the first hundred connections show how many there are.

``$disconnect`` is best effort, so an entry lives 15 minutes unless a ping renews it, and every reader skips
expired ones: DynamoDB's TTL may remove them days later.
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
"""

import collections
import dataclasses
import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from lambdas.common import dynamodb
from lambdas.common.aws import Client

# The site pings every 4 minutes: two pings may get lost, and API Gateway's idle limit (10 min) is never met.
LIFETIME = timedelta(minutes=15)
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
MOST_AT_ONCE = 25

# A place is the hash in so many hexadecimal digits, "#" and the id.
HASH_DIGITS = 8
# Before and after all places.
FIRST_PLACE, LAST_PLACE = "", "~"


@dataclasses.dataclass(frozen=True, slots=True)
class Connection:
    """One viewer's open WebSocket; ``renewed_at`` (Unix time, seconds) is when it was last stored.

    ``place`` is where it stands among the channel's connections.
    """

    id: str
    renewed_at: int
    place: str = ""


def put(
    client: Client,
    table: str,
    *,
    streamer_id: str,
    connection_id: str,
    viewer_id: str,
    now: datetime,
) -> None:
    """Store the connection, or renew it, until ``now`` (timezone-aware) plus its lifetime."""
    item = {
        **_key(streamer_id, connection_id),
        "viewer_id": {"S": viewer_id},
        "expires_at": {"N": str(int((now + LIFETIME).timestamp()))},
    }
    client.call("PutItem", {"TableName": table, "Item": item})


def remove(client: Client, table: str, *, streamer_id: str, connection_id: str) -> None:
    """Forget the connection; removing an unknown one is no error."""
    client.call("DeleteItem", {"TableName": table, "Key": _key(streamer_id, connection_id)})


def remove_some(client: Client, table: str, some: Sequence[tuple[str, str]]) -> None:
    """Forget at most ``MOST_AT_ONCE`` different connections: for each its streamer id and its id.

    What DynamoDB leaves undone when it is busy stays until it expires or is found gone again.
    """
    requests = [{"DeleteRequest": {"Key": _key(*one)}} for one in some]
    client.call("BatchWriteItem", {"RequestItems": {table: requests}})


def read(
    client: Client,
    table: str,
    streamer_id: str,
    now: datetime,
    *,
    after: str = FIRST_PLACE,
    until: str = LAST_PLACE,
    limit: int,
) -> tuple[list[Connection], str]:
    """Read one page: the channel's unexpired connections among the next ``limit`` between two places.

    Returns them with the place after which the next page begins, which is "" at the end. The order is that of
    the places, so a connection that is there from the first page to the last is read exactly once, whatever
    comes and goes in between.
    """
    answer = client.call(
        "Query",
        {
            "TableName": table,
            "KeyConditionExpression": (
                "streamer_id = :streamer_id AND connection_id BETWEEN :after AND :until"
            ),
            "ProjectionExpression": "connection_id, expires_at",
            "ExpressionAttributeValues": {
                ":streamer_id": {"S": streamer_id},
                # The least string after it: no id has a space.
                ":after": {"S": f"{after} "},
                ":until": {"S": until},
            },
            # A viewer fetches the newest events right after connecting. A connection that an eventually
            # consistent read does not show yet would miss an event recorded just after that fetch.
            "ConsistentRead": True,
            "Limit": limit,
        },
    )
    # A filter in the query would cost as many units.
    lifetime, last_moment = int(LIFETIME.total_seconds()), int(now.timestamp())
    found = [
        Connection(place.rpartition("#")[2], expires_at - lifetime, place)
        for item in answer["Items"]
        if (expires_at := int(item["expires_at"]["N"])) > last_moment
        and (place := item["connection_id"]["S"])
    ]
    return found, answer.get("LastEvaluatedKey", {}).get("connection_id", {}).get("S", "")


def count_by_channel(client: Client, table: str, now: datetime) -> dict[str, int]:
    """The number of unexpired connections of each channel that has one, by streamer id."""
    scan = {
        "TableName": table,
        "FilterExpression": "expires_at > :now",
        "ProjectionExpression": "streamer_id",
        "ExpressionAttributeValues": {":now": {"N": str(int(now.timestamp()))}},
        "ConsistentRead": True,
    }
    items = dynamodb.read_all(client, "Scan", scan)
    return dict(collections.Counter(item["streamer_id"]["S"] for item in items))


def _key(streamer_id: str, connection_id: str) -> dict[str, dict[str, str]]:
    place = f"{zlib.crc32(connection_id.encode()):0{HASH_DIGITS}x}#{connection_id}"
    return {"streamer_id": {"S": streamer_id}, "connection_id": {"S": place}}
