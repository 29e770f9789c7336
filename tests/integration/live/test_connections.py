"""The registry of connections: by channel, with an expiry, in pages (DynamoDB by moto)."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from lambdas.common import connections
from lambdas.common.aws import Client
from lambdas.common.connections import Connection
from tests.integration.live.conftest import CONNECTIONS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def put(
    registry: Client, connection_id: str, streamer_id: str = "1337", after: timedelta = timedelta()
) -> None:
    connections.put(
        registry,
        CONNECTIONS,
        streamer_id=streamer_id,
        connection_id=connection_id,
        viewer_id="viewer-1",
        now=NOW + after,
    )


def ids(registry: Client, streamer_id: str = "1337", after: timedelta = timedelta()) -> list[str]:
    found, _ = connections.read(registry, CONNECTIONS, streamer_id, NOW + after, limit=100)
    return sorted(connection.id for connection in found)


def test_a_channel_has_its_own_connections_only(registry: Client) -> None:
    put(registry, "a")
    put(registry, "b")
    put(registry, "c", streamer_id="42")
    assert ids(registry) == ["a", "b"]
    assert ids(registry, streamer_id="42") == ["c"]
    assert ids(registry, streamer_id="7") == []


def test_a_connection_says_when_it_was_renewed(registry: Client) -> None:
    put(registry, "a")
    assert connections.read(registry, CONNECTIONS, "1337", NOW, limit=1) == (
        [Connection("a", int(NOW.timestamp()), "e8b7be43#a")],
        "",
    )


def test_a_removed_connection_is_gone_and_removing_it_again_is_no_error(registry: Client) -> None:
    put(registry, "a")
    for _ in range(2):
        connections.remove(registry, CONNECTIONS, streamer_id="1337", connection_id="a")
    assert ids(registry) == []


def test_a_connection_expires_after_15_minutes_unless_renewed(registry: Client) -> None:
    """Also where TTL has not removed it yet."""
    put(registry, "silent")
    put(registry, "pinging")
    put(registry, "pinging", after=timedelta(minutes=4))
    assert ids(registry, after=timedelta(minutes=14, seconds=59)) == ["pinging", "silent"]
    assert ids(registry, after=timedelta(minutes=15)) == ["pinging"]
    assert ids(registry, after=timedelta(minutes=19)) == []


def test_pages_begin_where_the_page_before_ended(registry: Client) -> None:
    for name in "abcde":
        put(registry, name)
    pages: list[str] = []
    after = ""
    while not pages or after:
        found, after = connections.read(registry, CONNECTIONS, "1337", NOW, after=after, limit=2)
        pages.append("".join(connection.id for connection in found))
    assert pages == ["cb", "da", "e"], "in the order of the hashes"


def test_a_range_of_places_has_the_connections_in_it(registry: Client) -> None:
    for name in "abcde":
        put(registry, name)
    read = partial(connections.read, registry, CONNECTIONS, "1337", NOW, limit=10)
    (below, _), (above, _) = read(until="80000000"), read(after="80000000")
    assert [connection.id for connection in [*below, *above]] == ["c", "b", "d", "a", "e"]
    assert all(connection.place < "80000000" for connection in below)
    assert all(connection.place > "80000000" for connection in above)


def test_connections_that_the_version_before_has_stored_are_read(
    registry: Client, dynamodb: "DynamoDBClient"
) -> None:
    key = {"streamer_id": {"S": "1337"}, "connection_id": {"S": "L0SM9cOFvHcCIhw="}}
    expires_at = str(int(NOW.timestamp()) + 60)
    dynamodb.put_item(TableName=CONNECTIONS, Item={**key, "expires_at": {"N": expires_at}})
    assert ids(registry) == ["L0SM9cOFvHcCIhw="]


def test_who_stays_is_read_once_while_others_come_and_go(registry: Client) -> None:
    for name in "bdfhk":
        put(registry, name)
    found, after = connections.read(registry, CONNECTIONS, "1337", NOW, limit=2)
    for gone in "bf":
        connections.remove(registry, CONNECTIONS, streamer_id="1337", connection_id=gone)
    for come in "acgz":
        put(registry, come)
    while after:
        more, after = connections.read(registry, CONNECTIONS, "1337", NOW, after=after, limit=2)
        found += more
    names = [connection.id for connection in found]
    assert sorted(names) == sorted(set(names))
    assert set(names) >= {"d", "h", "k"}


def test_many_connections_are_removed_together(registry: Client) -> None:
    names = [f"{number:02}" for number in range(connections.MOST_AT_ONCE + 5)]
    for name in names:
        put(registry, name)
    connections.remove_some(registry, CONNECTIONS, [("1337", name) for name in names[5:]])
    assert ids(registry) == names[:5]
