"""A simulator on a free port, an application that calls it, and a webhook."""

import asyncio
import collections
import contextlib
import dataclasses
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from local.twitch.messages import sign
from local.twitch.server import create_app
from local.twitch.settings import Settings

Found = TypeVar("Found")

SECRET = "a secret of the webhook"
CLIENT_ID = "client-1"
CLIENT_SECRET = "client-secret-1"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.nanoseconds = 1_800_000_000_123_456_789

    def __call__(self) -> int:
        return self.nanoseconds

    def advance(self, seconds: float) -> None:
        self.nanoseconds += int(seconds * 10**9)


@dataclasses.dataclass(frozen=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Twitch:
    """The simulator, as the registered application sees it."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession, clock: Clock) -> None:
        self.settings = settings
        self.session = session
        self.clock = clock
        self.token = ""

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        url = self.settings.base_url + path
        async with self.session.request(method, url, allow_redirects=False, **options) as response:
            return Answer(response.status, response.headers, await response.text())

    async def fetch_token(self, **parameters: str) -> Answer:
        """Ask the token endpoint as a confidential client does: with the secret in the form."""
        form = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, **parameters}
        return await self.request("POST", "/oauth2/token", data=form)

    async def helix(self, method: str, path: str, **options: Any) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}", "Client-Id": CLIENT_ID}
        return await self.request(method, f"/helix{path}", headers=headers, **options)

    async def user_id(self, login: str) -> str:
        answer = await self.helix("GET", "/users", params={"login": login})
        return str(answer.json["data"][0]["id"])

    async def subscribe(
        self,
        callback: str,
        type_: str = "stream.online",
        *,
        version: str = "1",
        condition: dict[str, str],
        secret: str = SECRET,
    ) -> Answer:
        transport = {"method": "webhook", "callback": callback, "secret": secret}
        body = {"type": type_, "version": version, "condition": condition, "transport": transport}
        return await self.helix("POST", "/eventsub/subscriptions", json=body)

    async def enabled(self, callback: str, login: str, type_: str = "stream.online") -> dict[str, Any]:
        """An enabled subscription of a type that names the broadcaster and needs no consent."""
        version = "2" if type_ == "channel.update" else "1"
        condition = {"broadcaster_user_id": await self.user_id(login)}
        answer = await self.subscribe(callback, type_, version=version, condition=condition)
        assert answer.status == 202, answer.text
        return await self.until_verified(answer.json["data"][0]["id"])

    async def until_verified(self, subscription_id: str) -> dict[str, Any]:
        """The subscription, after its challenge was answered."""

        async def no_longer_pending() -> dict[str, Any] | None:
            found = await self.subscription(subscription_id)
            return None if found["status"].endswith("pending") else found

        return await eventually(no_longer_pending)

    async def subscription(self, subscription_id: str) -> dict[str, Any]:
        answer = await self.helix(
            "GET", "/eventsub/subscriptions", params={"subscription_id": subscription_id}
        )
        return dict(answer.json["data"][0])

    async def authorize(self, login: str, scopes: str = "openid", **parameters: str) -> Answer:
        """The browser's request when a user signs in."""
        asked = {
            "client_id": CLIENT_ID,
            "response_type": "code",
            "redirect_uri": "http://127.0.0.1:9/callback",
            "scope": scopes,
            "auto": login,
        }
        return await self.request("GET", "/oauth2/authorize", params=asked | parameters)

    async def user_token(self, login: str, scopes: str = "openid") -> str:
        """An access token of a user who has signed in."""
        location = (await self.authorize(login, scopes)).headers["Location"]
        code = location.partition("code=")[2].partition("&")[0]
        redirect_uri = "http://127.0.0.1:9/callback"
        answer = await self.fetch_token(grant_type="authorization_code", code=code, redirect_uri=redirect_uri)
        return str(answer.json["access_token"])

    async def control(self, path: str, /, **body: Any) -> Answer:
        return await self.request("POST", f"/simulator{path}", json=body)


@dataclasses.dataclass(frozen=True)
class Message:
    """A message as the webhook received it."""

    headers: Any
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return str(self.headers["Twitch-Eventsub-Message-Id"])

    @property
    def type(self) -> str:
        return str(self.headers["Twitch-Eventsub-Message-Type"])

    def is_signed_with(self, secret: str) -> bool:
        timestamp = self.headers["Twitch-Eventsub-Message-Timestamp"]
        expected = sign(secret, self.id, timestamp, self.body)
        return bool(self.headers["Twitch-Eventsub-Message-Signature"] == expected)


class Webhook:
    """A callback that keeps the messages, and answers correctly or with the prepared answers."""

    def __init__(self) -> None:
        self.url = ""
        self.messages: list[Message] = []
        self.answers: collections.deque[web.Response] = collections.deque()

    def of_type(self, message_type: str) -> list[Message]:
        return [message for message in self.messages if message.type == message_type]

    async def handle(self, request: web.Request) -> web.Response:
        message = Message(request.headers.copy(), await request.text())
        self.messages.append(message)
        if self.answers:
            return self.answers.popleft()
        if message.type == "webhook_callback_verification":
            return web.Response(text=message.json["challenge"])
        return web.Response(status=204)


@contextlib.asynccontextmanager
async def serve(
    app: web.Application, port: socket.socket, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve an application on a bound socket; yields its base URL."""
    # Requests that tests have given up are not waited for.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, port, ssl_context=tls).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port.getsockname()[1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def simulated_twitch(
    callback_tls: ssl.SSLContext | bool = True, *, clock: Callable[[], int] | None = None, **overrides: Any
) -> AsyncIterator[Twitch]:
    """A new simulator with short retry delays, and an application with a token."""
    port = socket.create_server(("127.0.0.1", 0))
    settings = Settings(
        base_url=f"http://127.0.0.1:{port.getsockname()[1]}",
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        cognito_callback_base="http://127.0.0.1:4566",
    )
    quick: dict[str, Any] = {"retry_delays": (0.01, 0.01), "delivery_timeout": 60.0}
    settings = dataclasses.replace(settings, **quick | overrides)
    standing = Clock()
    app = create_app(settings, clock=clock or standing, callback_tls=callback_tls)
    async with serve(app, port), aiohttp.ClientSession() as session:
        twitch = Twitch(settings, session, standing)
        answer = await twitch.fetch_token(grant_type="client_credentials")
        twitch.token = answer.json["access_token"]
        yield twitch


async def eventually(attempt: Callable[[], Awaitable[Found | None]]) -> Found:
    """Repeat ``attempt`` until it returns something true, for a minute at most."""
    async with asyncio.timeout(60):
        while True:
            found = await attempt()
            if found:
                return found
            await asyncio.sleep(0.01)
