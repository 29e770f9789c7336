"""Signed calls against a loopback server that answers as AWS does, or fails to."""

import json
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lambdas.common.aws import AwsError, Client
from lambdas.common.settings import SettingsError

TOKEN = "a session token"
ENVIRONMENT = {
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "an-access-key-id",
    "AWS_SECRET_ACCESS_KEY": "a-secret-access-key",
}
THROTTLED = (400, {"__type": "com.amazonaws.dynamodb#ProvisionedThroughputExceededException"})


class Aws:
    """Answers with ``answers``, one after another: (status, JSON), or "reset" or "stall" for none at all."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.requests: list[tuple[Message, bytes]] = []
        self.connections: set[Any] = set()
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def client(self, service: str, **environment: str) -> Client:
        return Client(service, {**ENVIRONMENT, "AWS_ENDPOINT_URL": self.endpoint, **environment})

    def stop(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        aws = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                aws.requests.append((self.headers, body))
                aws.connections.add(self.client_address)
                answer = aws.answers.pop(0) if aws.answers else (200, {})
                if answer == "stall":
                    aws._over.wait()
                    self.close_connection = True
                elif answer == "reset":
                    reset = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                    self.close_connection = True
                else:
                    self._answer(*answer)

            def _answer(self, status: int, content: dict[str, Any] | str) -> None:
                text = content if isinstance(content, str) else json.dumps(content)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        return Handler


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    # The machine may be busy: no call ends because the server is slow.
    monkeypatch.setattr("lambdas.common.aws.ATTEMPT_SECONDS", 60)
    server = Aws()
    yield server
    server.stop()


@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize(
    ("service", "action", "parameters"),
    [
        ("dynamodb", "PutItem", {"TableName": "t", "Item": {"id": {"S": "Gö 😀 %2F+&="}}}),
        ("sqs", "SendMessage", {"QueueUrl": "https://queue", "MessageBody": "m"}),
        ("sns", "Publish", {"TopicArn": "arn:aws:sns:x:1:t", "Message": '{"text": "Gö 😀 %2F+&="}'}),
    ],
)
def test_requests_are_signed_as_the_sdk_signs_them(
    aws: Aws, service: str, action: str, parameters: dict[str, Any], token: str
) -> None:
    aws.client(service, AWS_SESSION_TOKEN=token).call(action, parameters)
    ((headers, body),) = aws.requests
    signed_at = datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    credentials = Credentials(
        ENVIRONMENT["AWS_ACCESS_KEY_ID"], ENVIRONMENT["AWS_SECRET_ACCESS_KEY"], token or None
    )
    claimed = headers["Authorization"]
    signed = claimed.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"host", "x-amz-date", *(["x-amz-security-token"] if token else [])} <= {*signed}
    request = AWSRequest(
        "POST", aws.endpoint + "/", {name: headers[name] for name in signed if name != "host"}, body
    )
    with patch("botocore.auth.get_current_datetime", lambda *_, **__: signed_at.replace(tzinfo=None)):
        SigV4Auth(credentials, service, "eu-central-1").add_auth(request)
    assert request.headers["Authorization"].split("Signature=")[1] == claimed.split("Signature=")[1]


def test_json_services_are_asked_and_answer_in_json(aws: Aws) -> None:
    aws.answers = [(200, {"SecretString": "s"})]
    assert aws.client("secretsmanager").call("GetSecretValue", {"SecretId": "x"}) == {"SecretString": "s"}
    ((headers, body),) = aws.requests
    assert headers["X-Amz-Target"] == "secretsmanager.GetSecretValue"
    assert headers["Content-Type"] == "application/x-amz-json-1.1"
    assert json.loads(body) == {"SecretId": "x"}


def test_sns_is_asked_with_a_form(aws: Aws) -> None:
    aws.answers = [(200, "<PublishResponse/>")]
    assert aws.client("sns").call("Publish", {"Message": "Gö &="}) == {}
    assert parse_qs(aws.requests[0][1].decode()) == {
        "Action": ["Publish"],
        "Version": ["2010-03-31"],
        "Message": ["Gö &="],
    }


def test_the_connection_stays_open_from_call_to_call(aws: Aws) -> None:
    client = aws.client("sqs")
    for _ in range(3):
        client.call("SendMessage", {})
    assert len(aws.connections) == 1


@pytest.mark.parametrize("failure", [(500, {}), (503, "<html>busy</html>"), THROTTLED, "reset"])
def test_what_passes_is_tried_once_more(aws: Aws, failure: Any) -> None:
    aws.answers = [failure, (200, {"Item": {}})]
    assert aws.client("dynamodb").call("GetItem", {}) == {"Item": {}}
    assert len({body for _, body in aws.requests}) == 1


@pytest.mark.parametrize(
    ("failure", "code"),
    [((500, {"__type": "InternalServerError"}), "InternalServerError"), ("reset", "Unreachable")],
)
def test_what_does_not_pass_is_given_up(aws: Aws, failure: Any, code: str) -> None:
    aws.answers = [failure] * 3
    with pytest.raises(AwsError) as error:
        aws.client("dynamodb").call("GetItem", {})
    assert error.value.code == code
    assert len(aws.requests) == 2


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (
            {"__type": "com.amazon#ResourceNotFoundException", "message": "No."},
            "ResourceNotFoundException",
            "No.",
        ),
        ({"__type": "ValidationException", "Message": 'A "b".'}, "ValidationException", 'A \\"b\\".'),
        ("<ErrorResponse><Error><Code>NotFound</Code><Message>No.</Message></Error>", "NotFound", "No."),
        ("<html>", "HTTP 400", ""),
    ],
)
def test_what_was_wrong_is_said_by_its_name_and_not_tried_again(
    aws: Aws, answer: Any, code: str, message: str
) -> None:
    aws.answers = [(400, answer)]
    with pytest.raises(AwsError) as error:
        aws.client("dynamodb").call("GetItem", {})
    assert (error.value.code, str(error.value)) == (code, f"dynamodb:GetItem: {code}: {message}")
    assert len(aws.requests) == 1


def test_an_attempt_without_an_answer_ends(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambdas.common.aws.ATTEMPT_SECONDS", 0.05)
    aws.answers = ["stall"] * 3
    with pytest.raises(AwsError, match="Unreachable"):
        aws.client("sns").call("Publish", {})


def test_threads_that_share_a_client_take_turns(aws: Aws) -> None:
    aws.answers = [(200, {"Number": number}) for number in range(40)]
    client = aws.client("dynamodb")
    with ThreadPoolExecutor(8) as executor:
        answers = list(executor.map(lambda _: client.call("GetItem", {})["Number"], range(40)))
    assert sorted(answers) == list(range(40))
    assert len(aws.connections) == 1


def test_an_error_does_not_repeat_the_session_token(aws: Aws) -> None:
    """AWS does, in the canonical request that it computed."""
    refusal = f"The signature does not match.\n\nThe Canonical String\nx-amz-security-token:{TOKEN}"
    for text in (
        json.dumps({"__type": "InvalidSignatureException", "message": refusal}),
        f"<Message>{refusal}",
    ):
        aws.answers = [(403, text)]
        with pytest.raises(AwsError, match=r"does not match\.$"):
            aws.client("dynamodb").call("GetItem", {})


@pytest.mark.parametrize("variable", ENVIRONMENT)
def test_a_missing_setting_is_named_at_once(variable: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        Client("sns", ENVIRONMENT | {variable: ""})
