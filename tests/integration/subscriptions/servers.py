"""Loopback servers that stand in for Twitch: one that follows a script, and the simulated Twitch itself."""

import asyncio
import contextlib
import dataclasses
import json
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import urllib3
from aiohttp import web

from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES
from local.twitch.server import create_app
from local.twitch.settings import Settings

CLIENT_ID = "the-client-id"
CLIENT_SECRET = "the-client-secret"
# The types that need no consent.
FREE = tuple(row for row in SUBSCRIPTION_TYPES if row.consent == "none")


@dataclasses.dataclass(frozen=True)
class Request:
    """What a server was asked."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: str


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server answers: ``body`` is sent as JSON, a string as it is."""

    status: int
    body: Any = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    content_type: str = "application/json"


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; fail if it does not within a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


Script = Callable[[Request], Answer]


@dataclasses.dataclass
class Server:
    """A running server: its address and what it was asked so far."""

    url: str
    script: Script
    requests: list[Request] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def serve(script: Script) -> Iterator[Server]:
    """Answer on a loopback port what the script says; it may be replaced meanwhile."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and content are two writes: no wait between them for the client to acknowledge.
        disable_nagle_algorithm = True

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            url = urlsplit(self.path)
            request = Request(
                self.command,
                url.path,
                parse_qs(url.query),
                {k.lower(): v for k, v in self.headers.items()},
                body,
            )
            server.requests.append(request)
            answer = server.script(request)
            text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            content = b"" if answer.body is None else text.encode()
            self.send_response(answer.status)
            headers = {
                "Content-Type": answer.content_type,
                "Content-Length": str(len(content)),
                **answer.headers,
            }
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client may have given up waiting
                self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    server = Server(f"http://127.0.0.1:{httpd.server_port}", script)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def answer_challenge(request: Request) -> Answer:
    """Be a webhook that proves itself to Twitch and takes everything else."""
    body = json.loads(request.body)
    if "challenge" in body:
        return Answer(200, body["challenge"], content_type="text/plain")
    return Answer(204)


class Twitch:
    """The simulated Twitch, seen by a test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.api_url = f"{url}/helix"
        self.auth_url = f"{url}/oauth2"
        self._pool = urllib3.PoolManager()

    def state(self) -> dict[str, Any]:
        """Everything that the simulator remembers."""
        answer: dict[str, Any] = self._pool.request("GET", f"{self.url}/simulator/state").json()
        return answer

    def subscriptions(self) -> list[dict[str, Any]]:
        """The subscriptions, dead ones included."""
        subscriptions: list[dict[str, Any]] = self.state()["subscriptions"]
        return subscriptions

    def statuses(self) -> list[str]:
        """The subscriptions' statuses."""
        return [subscription["status"] for subscription in self.subscriptions()]

    def order(self, name: str, **order: Any) -> None:
        """Pull one of the simulator's levers."""
        response = self._pool.request("POST", f"{self.url}/simulator/{name}", json=order)
        assert response.status == 200, response.data

    def grant(self, login: str, scopes: Collection[str]) -> None:
        """Let somebody sign in through the flow that asks for these scopes."""
        query = {
            "client_id": CLIENT_ID,
            "redirect_uri": f"{self.url}/callback",
            "response_type": "code",
            "scope": " ".join(["openid", *scopes]),
            "auto": login,
        }
        response = self._pool.request("GET", f"{self.url}/oauth2/authorize", fields=query, redirect=False)
        assert response.status in (302, 303), response.data

    def heal(self) -> None:
        """Clear the faults."""
        self._pool.request("DELETE", f"{self.url}/simulator/faults")

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()


@contextlib.contextmanager
def simulated_twitch(**limits: Any) -> Iterator[Twitch]:
    """Run the simulated Twitch on a loopback port; ``limits`` are fields of its settings."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = Settings(url, CLIENT_ID, CLIENT_SECRET, cognito_callback_base=url, **limits)
    loop = asyncio.new_event_loop()
    started = threading.Event()
    stop = asyncio.Event()

    async def run() -> None:
        runner = web.AppRunner(create_app(settings), shutdown_timeout=0.1)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert started.wait(60)
    twitch = Twitch(url)
    try:
        yield twitch
    finally:
        twitch.close()
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
        listener.close()
