"""The functions behind the WebSocket API: the authorizer and the routes (DynamoDB by moto)."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from lambdas.common import connections, tickets
from lambdas.common.aws import AwsError, Client
from lambdas.common.overlay_keys import OverlayKeysTable
from lambdas.live.connection_limits import TOO_MANY_CONNECTIONS, TOO_MANY_MESSAGES
from tests.integration.functions import Function, load
from tests.integration.live.conftest import CONNECTIONS, OVERLAYS, TICKETS, VIEWERS, ConnectionsApi

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CLAIM = {
    "viewer_id": "viewer-1",
    "streamer_id": "1337",
    "streamer_name": "cool_user",
    "overlay_key": "",
}
ARN = "arn:aws:execute-api:eu-central-1:123456789012:abcdef123/live/$connect"


@pytest.fixture
def authorizer(
    dynamodb: "DynamoDBClient", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Function:
    return load(monkeypatch, capsys, "lambdas.handlers.authorizer", TICKETS_TABLE=TICKETS)


@pytest.fixture
def connection(
    dynamodb: "DynamoDBClient",
    connections_api: ConnectionsApi,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Function:
    return load(
        monkeypatch,
        capsys,
        "lambdas.handlers.connection",
        CONNECTIONS_TABLE=CONNECTIONS,
        CONNECTIONS_ENDPOINT=connections_api.endpoint,
        OVERLAYS_TABLE=OVERLAYS,
        VIEWERS_TABLE=VIEWERS,
        CONNECTIONS_PER_VIEWER="3",
        CONNECTIONS_PER_CHANNEL="2",
    )


def handshake(ticket: str) -> dict[str, Any]:
    return {"type": "REQUEST", "methodArn": ARN, "queryStringParameters": {"ticket": ticket}}


def effect(answer: dict[str, Any]) -> str:
    (statement,) = answer["policyDocument"]["Statement"]
    assert statement["Resource"] == ARN
    return str(statement["Effect"])


def event(event_type: str, route: str, body: str = "", connection_id: str = "connection-1") -> dict[str, Any]:
    """What API Gateway sends for a connection that was let in with CLAIM."""
    authorizer = {**CLAIM, "principalId": "viewer-1"}
    context = {
        "eventType": event_type,
        "routeKey": route,
        "connectionId": connection_id,
        "authorizer": authorizer,
    }
    return {"requestContext": context, "body": body, "isBase64Encoded": False}


def open_connections() -> list[str]:
    found, _ = connections.read(Client("dynamodb"), CONNECTIONS, "1337", datetime.now(UTC), limit=100)
    return [connection.id for connection in found]


def test_a_ticket_opens_one_connection_and_names_viewer_and_channel(
    dynamodb: "DynamoDBClient", authorizer: Function
) -> None:
    ticket = tickets.issue(Client("dynamodb"), TICKETS, tickets.Claim(**CLAIM), now=datetime.now(UTC)).value
    answer = authorizer(handshake(ticket))
    assert effect(answer) == "Allow"
    assert answer["principalId"] == "viewer-1"
    assert answer["context"] == CLAIM
    assert effect(authorizer(handshake(ticket))) == "Deny"
    assert ticket not in authorizer.logs.getvalue()


def test_a_made_up_ticket_opens_nothing(authorizer: Function) -> None:
    assert effect(authorizer(handshake("made-up"))) == "Deny"


def test_a_broken_table_is_an_error_and_not_a_wrong_ticket(
    dynamodb: "DynamoDBClient", authorizer: Function
) -> None:
    dynamodb.delete_table(TableName=TICKETS)
    with pytest.raises(AwsError, match="ResourceNotFoundException"):
        authorizer(handshake("made-up"))


def test_connect_stores_the_connection_and_disconnect_removes_it(
    dynamodb: "DynamoDBClient", connection: Function
) -> None:
    assert connection(event("CONNECT", "$connect")) == {"statusCode": 200}
    assert open_connections() == ["connection-1"]
    assert connection(event("DISCONNECT", "$disconnect")) == {"statusCode": 200}
    assert open_connections() == []


@pytest.mark.parametrize("replaced", [True, False])
def test_a_ticket_of_an_overlay_whose_key_has_ended_opens_nothing(
    dynamodb: "DynamoDBClient", connection: Function, replaced: bool
) -> None:
    keys = OverlayKeysTable(Client("dynamodb"), OVERLAYS)
    overlay = keys.find(keys.make_key("viewer-1", "1337", "leet"))
    assert overlay is not None
    connect = event("CONNECT", "$connect")
    connect["requestContext"]["authorizer"]["overlay_key"] = overlay.version
    assert connection(connect) == {"statusCode": 200}
    connection(event("DISCONNECT", "$disconnect"))
    if replaced:
        keys.make_key("viewer-1", "1337", "leet")
    else:
        keys.revoke("viewer-1", "1337")
    assert connection(connect) == {"statusCode": 403}
    assert open_connections() == []
    assert dynamodb.scan(TableName=VIEWERS)["Items"] == []


def test_the_oldest_connection_gives_way_to_one_too_many_and_is_told_why(
    connections_api: ConnectionsApi, connection: Function
) -> None:
    for name in ("first", "second", "third"):
        assert connection(event("CONNECT", "$connect", connection_id=name)) == {"statusCode": 200}
    assert sorted(open_connections()) == ["second", "third"]
    assert connections_api.posted == {"first": [TOO_MANY_CONNECTIONS]}
    assert connections_api.closed == ["first"]


def test_a_connection_that_cannot_be_told_gives_way_all_the_same(
    connections_api: ConnectionsApi, connection: Function
) -> None:
    connections_api.statuses = {"first": 429}
    for name in ("first", "second", "third"):
        assert connection(event("CONNECT", "$connect", connection_id=name)) == {"statusCode": 200}
    assert sorted(open_connections()) == ["second", "third"]
    assert connections_api.closed == ["first"]


def test_a_connection_that_was_closed_leaves_room(
    connections_api: ConnectionsApi, connection: Function
) -> None:
    for name in ("first", "second"):
        connection(event("CONNECT", "$connect", connection_id=name))
    connection(event("DISCONNECT", "$disconnect", connection_id="first"))
    connection(event("CONNECT", "$connect", connection_id="third"))
    assert sorted(open_connections()) == ["second", "third"]
    assert connections_api.attempts == connections_api.closed == []


def test_a_ping_is_answered_and_renews_the_connection(
    dynamodb: "DynamoDBClient", connection: Function
) -> None:
    """Also one that was taken for gone."""
    answer = connection(event("MESSAGE", "ping", '{"action": "ping"}'))
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"type": "pong"})
    assert open_connections() == ["connection-1"]


def test_a_connection_that_floods_is_closed_and_told_why_and_others_are_served(
    connections_api: ConnectionsApi, connection: Function
) -> None:
    for name in ("flooding", "other"):
        connection(event("CONNECT", "$connect", connection_id=name))
    ping = '{"action": "ping"}'
    flood = [connection(event("MESSAGE", "ping", ping, connection_id="flooding")) for _ in range(100)]
    assert flood[0]["body"] == '{"type": "pong"}'
    assert flood[-1] == {"statusCode": 200}
    assert open_connections() == ["other"]
    assert connections_api.posted == {"flooding": [TOO_MANY_MESSAGES]}
    assert {*connections_api.closed} == {"flooding"}
    assert json.loads(connection(event("MESSAGE", "ping", ping, connection_id="other"))["body"]) == {
        "type": "pong"
    }


@pytest.mark.parametrize("route", ["ping", "$default"])
def test_messages_of_any_kind_are_counted(
    connections_api: ConnectionsApi, connection: Function, route: str
) -> None:
    connection(event("CONNECT", "$connect"))
    for _ in range(50):
        connection(event("MESSAGE", route))
    assert {*connections_api.closed} == {"connection-1"}


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("$default", '{"action": "dance"}'),
        ("$default", "not json"),
        ("$default", ""),
        ("$disconnect", '{"action": "$disconnect"}'),
        ("$connect", '{"action": "$connect"}'),
    ],
)
def test_anything_else_is_an_unknown_action_and_changes_nothing(
    dynamodb: "DynamoDBClient", connection: Function, route: str, body: str
) -> None:
    connection(event("CONNECT", "$connect"))
    answer = connection(event("MESSAGE", route, body))
    assert answer["statusCode"] == 200
    frame = json.loads(answer["body"])
    assert set(frame) == {"type", "code", "message"}
    assert (frame["type"], frame["code"]) == ("error", "unknown_action")
    assert open_connections() == ["connection-1"]
