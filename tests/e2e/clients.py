"""Clients of the deployed local cloud: the requests of a browser, of Twitch and of an operator."""

import base64
import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import boto3
import urllib3
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from local.twitch.messages import sign

T = TypeVar("T")
Response = urllib3.BaseHTTPResponse
# Seconds. Only something that hangs reaches this limit, on a busy machine, too.
LIMIT = 180
_pool = urllib3.PoolManager(retries=False, timeout=LIMIT)


def request(method: str, url: str, **kwargs: Any) -> Response:
    """One HTTP request without redirects. `*.localhost` is this machine; some resolvers do not know it."""
    parts = urlsplit(url)
    if (parts.hostname or "").endswith(".localhost"):
        kwargs["headers"] = {"Host": parts.netloc, **kwargs.get("headers", {})}
        url = parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl()
    return _pool.request(method, url, redirect=False, **kwargs)


def signed_headers(
    secret: str, body: bytes, *, message_type: str = "notification", timestamp: datetime | None = None
) -> dict[str, str]:
    """The headers of a new message from Twitch."""
    message_id = secrets.token_hex(16)
    sent = (timestamp or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
    return {
        "Content-Type": "application/json",
        "Twitch-Eventsub-Message-Id": message_id,
        "Twitch-Eventsub-Message-Type": message_type,
        "Twitch-Eventsub-Message-Signature": sign(secret, message_id, sent, body.decode()),
        "Twitch-Eventsub-Message-Timestamp": sent,
    }


def eventually(what: str, probe: Callable[[], T | None], seconds: float = LIMIT) -> T:
    """Call the probe until it returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := probe():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def receive(connection: ClientConnection, seconds: float = LIMIT) -> Any:
    """The next frame of a WebSocket but for ``topics``, which may come at any time.

    Raises TimeoutError if there is none within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while True:
        frame = json.loads(connection.recv(max(deadline - time.monotonic(), 0)))
        if frame["type"] != "topics":
            return frame


@dataclass(frozen=True)
class Cloud:
    """The addresses of a running local cloud (endpoints.json)."""

    site: str
    api: str
    websocket: str
    webhook: str
    twitch: str
    database: str
    aws_endpoint: str
    outputs: dict[str, str]
    settings_file: Path

    @classmethod
    def from_file(cls, path: Path) -> Self:
        endpoints = json.loads(path.read_text())
        outputs = endpoints.pop("stack_outputs")
        return cls(outputs=outputs, settings_file=path.with_name("settings.json"), **endpoints)

    def get(self, path: str) -> Response:
        """GET from the site, through CloudFront."""
        return request("GET", urljoin(self.site, path))

    def aws(self, service: str, endpoint: str | None = None) -> Any:
        """An AWS client with the emulator's root credentials."""
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=endpoint or self.aws_endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def invoke(self, function: str) -> None:
        """Run a function that AWS runs by a schedule; as there, again if a service did not answer it."""

        def succeeds() -> bool:
            answer = self.aws("lambda").invoke(FunctionName=f"fanfare-local-{function}", Payload="{}")
            payload = answer["Payload"].read()
            assert "FunctionError" not in answer or b": Unreachable: " in payload, payload
            return "FunctionError" not in answer

        eventually(f"the {function} succeeds", succeeds)

    def control(self, path: str, /, **body: Any) -> Any:
        """POST to one of the simulated Twitch's routes below /simulator; returns the answer."""
        answer = request("POST", f"{self.twitch}/simulator/{path}", json=body)
        assert answer.status == 200, answer.data
        return answer.json()

    def simulate(self, event_type: str, login: str, **options: Any) -> list[dict[str, Any]]:
        """Let the simulated Twitch send events; returns the deliveries, with the callbacks' answers."""
        sent = self.control("events", event_type=event_type, login=login, **options)
        deliveries: list[dict[str, Any]] = sent["deliveries"]
        return deliveries

    def twitch_state(self) -> Any:
        """The state of the simulated Twitch."""
        return request("GET", f"{self.twitch}/simulator/state").json()

    def until_subscribed(self, login: str) -> None:
        """Wait until Twitch has verified every subscription of a channel; it sends no event before."""

        def all_enabled() -> bool:
            statuses = [subscription["status"] for subscription in self.subscriptions(login)]
            return len(statuses) >= 6 and set(statuses) == {"enabled"}

        eventually(f"{login} is subscribed", all_enabled)

    def connections(self, login: str) -> list[str]:
        """The ids of the registered WebSockets of a channel's viewers."""
        channels = self.twitch_state()["channels"]
        (streamer_id,) = (channel["id"] for channel in channels if channel["login"] == login)
        registered = self.aws("dynamodb").query(
            TableName="fanfare-local-connections",
            KeyConditionExpression="streamer_id = :streamer_id",
            ExpressionAttributeValues={":streamer_id": {"S": streamer_id}},
        )["Items"]
        return [connection["connection_id"]["S"].rpartition("#")[2] for connection in registered]

    def close_connections(self, login: str) -> None:
        """Close the WebSockets of a channel's viewers on the server."""
        manager = self.aws("apigatewaymanagementapi", self.websocket.replace("ws://", "http://"))
        for connection_id in self.connections(login):
            with contextlib.suppress(manager.exceptions.GoneException):
                manager.delete_connection(ConnectionId=connection_id)

    def subscriptions(self, login: str) -> list[dict[str, Any]]:
        """The subscriptions that the simulated Twitch holds for a channel."""
        return [s for s in self.twitch_state()["subscriptions"] if login in s["logins"]]


def follow_sign_in(cloud: Cloud, location: str, login: str) -> str:
    """Sign in at Twitch, where ``location`` leads; returns where the browser is sent at last."""
    (callback,) = parse_qs(urlsplit(location).query)["redirect_uri"]
    while not location.startswith(callback):
        if urlsplit(location).path.endswith("/oauth2/authorize") and location.startswith(cloud.twitch):
            location += f"&auto={login}"
        answer = request("GET", location)
        assert answer.status in (302, 303), (location, answer.status, answer.data[:500])
        location = urljoin(location, answer.headers["Location"])
    return location


@dataclass(frozen=True)
class Viewer:
    """A viewer who is signed in; ``headers`` are what their requests have, ``tokens`` are Cognito's."""

    cloud: Cloud
    login: str
    headers: dict[str, str]
    tokens: dict[str, str] = field(default_factory=dict)

    @classmethod
    def sign_in(cls, cloud: Cloud, login: str) -> Self:
        """Make the browser's requests, which redirect to the simulated Twitch."""
        identity = cloud.get("config.json").json()["identity"]
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        callback = urljoin(cloud.site, "callback")
        if identity["kind"] == "twitch":
            location = cloud.get("api/session").json()["url"] + f"&nonce={challenge}&state=state"
            code = parse_qs(urlsplit(follow_sign_in(cloud, location, login)).query)["code"][0]
            origin = {"Origin": cloud.site.rstrip("/")}
            begun = request(
                "POST",
                urljoin(cloud.site, "api/session"),
                json={"code": code, "redirect_uri": callback, "verifier": verifier},
                headers=origin,
            )
            assert begun.status == 204, begun.data
            return cls(cloud, login, {**origin, "Cookie": begun.headers["Set-Cookie"].partition(";")[0]})
        location = f"{identity['domain']}/oauth2/authorize?" + urlencode(
            {
                "response_type": "code",
                "client_id": identity["client_id"],
                "redirect_uri": callback,
                "scope": "openid",
                "state": "state",
                "code_challenge": challenge,
                "code_challenge_method": "S256",
                "identity_provider": identity["provider"],
            }
        )
        location = follow_sign_in(cloud, location, login)
        code = parse_qs(urlsplit(location).query)["code"][0]
        tokens = request(
            "POST",
            f"{identity['domain']}/oauth2/token",
            fields={
                "grant_type": "authorization_code",
                "client_id": identity["client_id"],
                "redirect_uri": callback,
                "code": code,
                "code_verifier": verifier,
            },
            encode_multipart=False,
        )
        assert tokens.status == 200, tokens.data
        answer = tokens.json()
        return cls(cloud, login, {"Authorization": f"Bearer {answer['access_token']}"}, answer)

    def watch(self, channel: str) -> Response:
        """POST …/watch through the site."""
        return request(
            "POST",
            urljoin(self.cloud.site, f"api/channels/{channel}/watch"),
            headers=self.headers,
        )

    def until_answered(self, channel: str) -> Response:
        """Watch the channel, again while Twitch's rate limit is used up or this machine is busy (5xx)."""

        def answered() -> Response | None:
            answer = self.watch(channel)
            if answer.status < 500:
                return answer
            time.sleep(1)
            return None

        return eventually(f"{channel} is answered", answered)

    def until_watched(self, channel: str) -> Any:
        """Watch the channel, as ``until_answered``; what the answer says."""
        answer = self.until_answered(channel)
        assert answer.status == 200, answer.data
        return answer.json()

    def connect(self, channel: str) -> ClientConnection:
        """Watch the channel and open its WebSocket."""
        return connect_with_new_ticket(lambda: self.until_watched(channel))[1]


def connect_with_new_ticket(watch: Callable[[], Any]) -> tuple[Any, ClientConnection]:
    """Watch and open the WebSocket, both again while this machine is busy (5xx); returns the answer, too."""

    def connected() -> tuple[Any, ClientConnection] | None:
        watched = watch()
        try:
            return watched, connect_with_ticket(watched["websocket_url"], watched["ticket"])
        except InvalidStatus as refused:
            if refused.response.status_code < 500:
                raise
            time.sleep(1)
            return None

    return eventually("a ticket opens a WebSocket", connected)


def connect_with_ticket(websocket_url: str, ticket: str) -> ClientConnection:
    """Open a WebSocket as the page does."""
    return connect(f"{websocket_url}?{urlencode({'ticket': ticket})}", proxy=None, open_timeout=LIMIT)
