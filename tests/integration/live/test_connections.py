"""The registry of connections: by channel, with an expiry, in pages (DynamoDB by moto)."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lambdas.common import connections
from lambdas.common.connections import Connection
from tests.integration.live.conftest import CONNECTIONS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def put(
    dynamodb: "DynamoDBClient", connection_id: str, streamer_id: str = "1337", after: timedelta = timedelta()
) -> None:
    connections.put(
        dynamodb,
        CONNECTIONS,
        streamer_id=streamer_id,
        connection_id=connection_id,
        viewer_id="viewer-1",
        now=NOW + after,
    )


def ids(dynamodb: "DynamoDBClient", streamer_id: str = "1337", after: timedelta = timedelta()) -> list[str]:
    found = connections.iterate(dynamodb, CONNECTIONS, streamer_id, NOW + after)
    return sorted(connection.id for connection in found)


def test_a_channel_has_its_own_connections_only(dynamodb: "DynamoDBClient") -> None:
    put(dynamodb, "a")
    put(dynamodb, "b")
    put(dynamodb, "c", streamer_id="42")
    assert ids(dynamodb) == ["a", "b"]
    assert ids(dynamodb, streamer_id="42") == ["c"]
    assert ids(dynamodb, streamer_id="7") == []


def test_a_connection_says_when_it_was_renewed(dynamodb: "DynamoDBClient") -> None:
    put(dynamodb, "a")
    assert list(connections.iterate(dynamodb, CONNECTIONS, "1337", NOW)) == [Connection("a", NOW)]


def test_a_removed_connection_is_gone_and_removing_it_again_is_no_error(dynamodb: "DynamoDBClient") -> None:
    put(dynamodb, "a")
    for _ in range(2):
        connections.remove(dynamodb, CONNECTIONS, streamer_id="1337", connection_id="a")
    assert ids(dynamodb) == []


def test_a_connection_expires_after_15_minutes_unless_renewed(dynamodb: "DynamoDBClient") -> None:
    """Also where TTL has not removed it yet."""
    put(dynamodb, "silent")
    put(dynamodb, "pinging")
    put(dynamodb, "pinging", after=timedelta(minutes=4))
    assert ids(dynamodb, after=timedelta(minutes=14, seconds=59)) == ["pinging", "silent"]
    assert ids(dynamodb, after=timedelta(minutes=15)) == ["pinging"]
    assert ids(dynamodb, after=timedelta(minutes=19)) == []


def test_connections_are_found_beyond_the_first_page(dynamodb: "DynamoDBClient") -> None:
    """A query answers at most 1 MB."""
    names = [f"{number:04}-{'x' * 1000}" for number in range(1100)]
    expires_at = str(int((NOW + connections.LIFETIME).timestamp()))
    for start in range(0, len(names), 25):
        items = [
            {"streamer_id": {"S": "1337"}, "connection_id": {"S": name}, "expires_at": {"N": expires_at}}
            for name in names[start : start + 25]
        ]
        dynamodb.batch_write_item(
            RequestItems={CONNECTIONS: [{"PutRequest": {"Item": item}} for item in items]}
        )
    first = dynamodb.query(
        TableName=CONNECTIONS,
        KeyConditionExpression="streamer_id = :id",
        ExpressionAttributeValues={":id": {"S": "1337"}},
    )
    assert "LastEvaluatedKey" in first
    assert ids(dynamodb) == names


def test_anyone_watches_while_a_connection_is_alive(dynamodb: "DynamoDBClient") -> None:
    put(dynamodb, "a")
    assert connections.anyone(dynamodb, CONNECTIONS, "1337", NOW)
    assert not connections.anyone(dynamodb, CONNECTIONS, "1337", NOW + connections.LIFETIME)
    assert not connections.anyone(dynamodb, CONNECTIONS, "42", NOW)
