"""The function ``session`` and its table, with a Twitch that says what the test lets it say."""

import base64
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import boto3
import pytest

from lambdas.common.sessions import COOKIE
from lambdas.identity.twitch_oauth import nonce_of
from tests.integration.functions import Function, aws_variables, load
from tests.integration.subscriptions.servers import Answer, Request, Server, serve
from tests.integration.subscriptions.tables import create_tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SITE = "https://fanfare.example"
VIEWER = "1234"
VERIFIER = "the-secret-of-the-browser-that-began"
CREDENTIALS = {"client_id": "the-client-id", "client_secret": "the-client-secret"}


@pytest.fixture
def dynamodb(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator["DynamoDBClient"]:
    for variable, value in aws_variables(aws_endpoint).items():
        monkeypatch.setenv(variable, value)
    client = boto3.client("dynamodb")
    create_tables(client)
    yield client
    client.close()


class TwitchScript:
    """Twitch's endpoints: the ID token's ``claims``, the answer's ``scope``, and a code, which works once."""

    def __init__(self) -> None:
        now = int(time.time())
        self.claims: dict[str, Any] = {
            "iss": "https://twitch.example/oauth2",
            "aud": CREDENTIALS["client_id"],
            "sub": VIEWER,
            "iat": now,
            "exp": now + 900,
            "nonce": nonce_of(VERIFIER),
        }
        self.scope: object = ["openid"]
        self.codes = {"a-code"}
        self.instead: Answer | None = None
        self.asked: list[tuple[str, dict[str, str]]] = []

    def __call__(self, request: Request) -> Answer:
        given = dict(parse_qsl(request.body))
        self.asked.append((request.path, given))
        if request.path == "/revoke":
            return Answer(200)
        if self.instead:
            return self.instead
        if given["code"] not in self.codes:
            return Answer(400, {"status": 400, "message": "Invalid authorization code"})
        self.codes.remove(given["code"])
        payload = base64.urlsafe_b64encode(json.dumps(self.claims).encode()).decode().rstrip("=")
        tokens = {"access_token": "an-access-token", "refresh_token": "another", "expires_in": 14_000}
        return Answer(200, {**tokens, "id_token": f"e30.{payload}.signature", "scope": self.scope})


@pytest.fixture
def twitch() -> TwitchScript:
    return TwitchScript()


@pytest.fixture
def twitch_server(twitch: TwitchScript) -> Iterator[Server]:
    with serve(twitch) as server:
        yield server


class Site:
    """The function as a page of the site calls it, with the browser's cookies."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.cookies: dict[str, str] = {}

    def send(
        self, method: str, body: object = None, *, origin: str | None = SITE, **query: str
    ) -> dict[str, Any]:
        event: dict[str, Any] = {
            "requestContext": {"http": {"method": method}},
            "headers": {} if origin is None else {"origin": origin},
            "cookies": [f"{name}={value}" for name, value in self.cookies.items()],
        }
        if body is not None:
            event["body"] = body if isinstance(body, str) else json.dumps(body)
        if query:
            event["queryStringParameters"] = query
        answer: dict[str, Any] = self.function(event)
        for cookie in answer.get("cookies", ()):
            self.cookies[COOKIE] = cookie.partition(";")[0].partition("=")[2]
        return answer

    def sign_in(self, *, origin: str | None = SITE, **fields: object) -> dict[str, Any]:
        body = {"code": "a-code", "redirect_uri": f"{SITE}/callback", "verifier": VERIFIER, **fields}
        return self.send("POST", body, origin=origin)


@pytest.fixture
def site(
    dynamodb: "DynamoDBClient",
    twitch_server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Site:
    secret = boto3.client("secretsmanager").create_secret(Name="twitch", SecretString=json.dumps(CREDENTIALS))
    # The machine may be busy.
    monkeypatch.setattr("lambdas.identity.twitch_oauth.ANSWER_SECONDS", 60)
    environment = {
        "SESSIONS_TABLE": "sessions",
        "SITE_URL": SITE,
        "STREAMER_SCOPES": "bits:read channel:read:polls",
        "TWITCH_AUTH_URL": twitch_server.url,
        "TWITCH_ISSUER": "https://twitch.example/oauth2",
        "TWITCH_SECRET_ARN": secret["ARN"],
    }
    return Site(load(monkeypatch, capsys, "lambdas.handlers.session", **environment))
