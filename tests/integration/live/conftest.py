"""The tables and queues of the live capability (moto), as the app makes them; a stand-in for @connections."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import boto3
import pytest

from lambdas.common.aws import Client
from tests.integration.functions import aws_variables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TICKETS, CONNECTIONS, INBOXES, VIEWERS, OVERLAYS = "tickets", "connections", "inboxes", "viewers", "overlays"
TABLES = {
    TICKETS: ["ticket_hash"],
    CONNECTIONS: ["streamer_id", "connection_id"],
    INBOXES: ["inbox", "entry"],
    VIEWERS: ["viewer_id", "entry"],
    OVERLAYS: ["overlay_id"],
}


@pytest.fixture
def dynamodb(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> "DynamoDBClient":
    for variable, value in aws_variables(aws_endpoint).items():
        monkeypatch.setenv(variable, value)
    client = boto3.client("dynamodb")
    for table, keys in TABLES.items():
        client.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            KeySchema=[
                {"AttributeName": key, "KeyType": "HASH" if position == 0 else "RANGE"}
                for position, key in enumerate(keys)
            ],
        )
    return client


@pytest.fixture
def registry(dynamodb: "DynamoDBClient") -> Client:
    """The client that the registry of connections is used with."""
    return Client("dynamodb")


class Queues:
    """The broadcaster's queues, and its records as Lambda passes them."""

    def __init__(self) -> None:
        self.sqs = boto3.client("sqs")
        self.urls = {
            name: self.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("broadcast", "fan-out")
        }

    def receive(self, name: str) -> list[dict[str, Any]]:
        """Receive what is visible in a queue now."""
        records = []
        while messages := self.sqs.receive_message(
            QueueUrl=self.urls[name], MaxNumberOfMessages=10, AttributeNames=["ApproximateReceiveCount"]
        ).get("Messages"):
            records += [
                {
                    "messageId": message["MessageId"],
                    "receiptHandle": message["ReceiptHandle"],
                    "body": message["Body"],
                    "attributes": message["Attributes"],
                    "eventSourceARN": f"arn:aws:sqs:eu-central-1:123456789012:{name}",
                }
                for message in messages
            ]
        return records

    def delete(self, record: dict[str, Any]) -> None:
        """Delete a message, as Lambda does with those that did not fail."""
        name = record["eventSourceARN"].rpartition(":")[2]
        self.sqs.delete_message(QueueUrl=self.urls[name], ReceiptHandle=record["receiptHandle"])


@pytest.fixture
def queues(dynamodb: "DynamoDBClient") -> Queues:
    return Queues()


class _Server(ThreadingHTTPServer):
    # As many connections as are opened at once wait to be accepted. With the default of 5, others try again
    # a second later, or three.
    request_queue_size = 128


class ConnectionsApi:
    """The @connections API on a loopback port: moto never says that a connection is gone.

    ``statuses`` are the answers by connection id (else 200); what was accepted is in ``posted``.
    """

    def __init__(self) -> None:
        self.statuses: dict[str, int] = {}
        self.posted: dict[str, list[dict[str, Any]]] = {}
        self.attempts: list[str] = []
        self.closed: list[str] = []
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """The base URL, with a stage as in AWS."""
        return f"http://127.0.0.1:{self._server.server_port}/live"

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                prefix, _, connection_id = unquote(self.path).rpartition("/")
                assert prefix == "/live/@connections"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(api.answer(connection_id, body))

            def do_DELETE(self) -> None:
                connection_id = unquote(self.path).rpartition("/")[2]
                api.closed.append(connection_id)
                api.statuses[connection_id] = 410
                self._answer(204)

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                if status in ERRORS:
                    self.send_header("x-amzn-ErrorType", ERRORS[status])
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        return Handler

    def answer(self, connection_id: str, body: bytes) -> int:
        """Take a post."""
        self.attempts.append(connection_id)
        status = self.statuses.get(connection_id, 200)
        if status == 200:
            self.posted.setdefault(connection_id, []).append(json.loads(body))
        return status


ERRORS = {410: "GoneException", 429: "LimitExceededException", 403: "ForbiddenException"}


@pytest.fixture
def connections_api() -> Iterator[ConnectionsApi]:
    api = ConnectionsApi()
    yield api
    api.stop()
