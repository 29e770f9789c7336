"""The delivery engine against a loopback TLS server that fails in every way at random."""

import asyncio
import gc
import hashlib
import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from lambdas.common.connections import Connection
from lambdas.live.frames import Frame
from lambdas.live.posting import ANSWER_SECONDS, CLOSE, ForbiddenError, Outcome, Poster, Posting
from lambdas.live.transport import CurlTransport
from tests.integration.functions import REGION, aws_variables

# The engine gives up sockets amid their handshake, and the server cuts its own: asyncio says so of each.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

OPENED = datetime.now(UTC) - timedelta(minutes=1)
STALL_SECONDS = 1.5 * ANSWER_SECONDS

Answer = Callable[[str, str], int | float | asyncio.Event | None]


class TlsServer:
    """``answer(connection, frame)`` gives a status, what to wait for before 200, or None to break the socket.

    ``shown`` are the frames that each connection's viewer has seen, which includes those answered too late.
    """

    def __init__(self, certificate: trustme.LeafCert) -> None:
        self.answer: Answer = lambda _connection, _frame: 200
        self.shown: dict[str, list[str]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.sockets: set[asyncio.WriteTransport] = set()
        self.closed: list[str] = []
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(self._tls)
        self._tls.set_alpn_protocols(["http/1.1"])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(20)

    async def _start(self) -> None:
        application = web.Application()
        application.router.add_post("/live/@connections/{id}", self._post)
        application.router.add_delete("/live/@connections/{id}", self._delete)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.endpoint = f"https://127.0.0.1:{self._runner.addresses[0][1]}/live"

    def stop(self) -> None:
        """Close the port and all sockets."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        for socket in self.sockets:
            socket.abort()
        await self._runner.cleanup()
        unfinished = asyncio.all_tasks() - {asyncio.current_task()}
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        # Sockets are closed by the loop some time after they were aborted, or after their handshake failed.
        while len(self._loop._selector.get_map()) > 1:  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)

    async def _delete(self, request: web.Request) -> web.Response:
        self.closed.append(request.match_info["id"])
        assert request.transport is not None
        self.sockets.add(request.transport)
        return web.Response(status=204)

    async def _post(self, request: web.Request) -> web.Response:
        connection, frame = request.match_info["id"], await request.text()
        self.requests.append(
            (request.raw_path, {name.lower(): text for name, text in request.headers.items()})
        )
        assert request.transport is not None
        self.sockets.add(request.transport)
        match self.answer(connection, frame):
            case None:
                request.transport.abort()
                return web.Response()
            case int(status) if status != 200:
                return web.Response(status=status)
            case wait:
                self.shown.setdefault(connection, []).append(frame)
                if isinstance(wait, asyncio.Event):
                    await wait.wait()
                elif isinstance(wait, float):
                    await asyncio.sleep(wait)
                return web.Response()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsServer]:
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    for name, value in aws_variables("http://nowhere").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a/session+token==")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    server = TlsServer(authority.issue_cert("127.0.0.1"))
    yield server
    server.stop()
    # Here, not in whatever test comes next, is what is left of broken sockets complained about.
    gc.collect()


@pytest.fixture
def poster(server: TlsServer) -> Poster:
    return Poster(CurlTransport(server.endpoint))


def deliveries(connections: int, *frames: str, opened: datetime = OPENED) -> list[Posting]:
    """So many connections that are each to get the frames, which are the same objects for all of them."""
    encoded = [Frame(frame.encode()) for frame in frames]
    return [
        Posting("1337", Connection(f"connection-{number:03}=", int(opened.timestamp())), encoded)
        for number in range(connections)
    ]


def within(seconds: float) -> float:
    return time.monotonic() + seconds


def run(poster: Poster, postings: list[Posting], seconds: float = 20.0) -> Outcome:
    """Post to all of them, and wait until each is answered or given up."""
    poster.begin()
    poster.deliver(postings, within(seconds))
    poster.wait(within(seconds))
    poster.finish(within(seconds))
    return poster.outcome


def test_faults_of_every_kind_cost_nobody_a_frame_and_send_none_too_often(
    server: TlsServer, poster: Poster
) -> None:
    """Of the posts a tenth each is answered by 429, by 500, by a reset and, though shown, too late.

    What happens to a post depends on nothing but its connection, its frame and how often it was tried.
    """
    tried: dict[tuple[str, str], int] = {}

    def fail_at_random(connection: str, frame: str) -> int | float | None:
        attempt = tried[connection, frame] = tried.get((connection, frame), 0) + 1
        # A digest, since Python's own hashes differ from run to run.
        seed = hashlib.sha256(f"{connection} {frame} {attempt}".encode()).digest()
        faults: list[int | float | None] = [429, 500, None, STALL_SECONDS, *[200] * 6]
        return random.Random(seed).choice(faults)

    server.answer = fail_at_random
    frames = [f"frame {number}" for number in range(3)]
    outcome = run(poster, deliveries(150, *frames), 60)
    gone, given_up = poster.take_unserved()
    assert gone == []
    assert outcome.posted == 3 * 150 - sum(3 - posting.posted for posting in given_up)
    assert len(given_up) < 150, "some are served in full"
    unserved = {posting.connection.id for posting in given_up}
    for connection, shown in server.shown.items():
        assert list(dict.fromkeys(shown)) == frames[: len(set(shown))], "in order"
        assert connection in unserved or set(shown) == set(frames)
        assert max(map(shown.count, frames)) <= 3
    assert sum(tried.values()) > 1.4 * outcome.posted, "there were faults"
    assert 0 < outcome.throttled < outcome.retried


def test_a_run_ends_in_time_though_nothing_is_answered(server: TlsServer, poster: Poster) -> None:
    server.answer = lambda _connection, _frame: 60.0
    began = time.monotonic()
    started = poster.deliver(deliveries(300, "frame"), began + 0.5)
    poster.finish(began + 0.5)
    assert time.monotonic() - began < 50, "it does not wait for the answers"
    assert len(poster.take_unserved()[1]) == started > 0
    assert poster.under_way() == []
    server.answer = lambda _connection, _frame: 200
    others = deliveries(20, "another")
    assert run(poster, others).posted == 20, "nothing stays behind"
    assert all(server.shown[delivery.connection.id].count("another") == 1 for delivery in others)


def test_sockets_are_kept_from_run_to_run(
    server: TlsServer, poster: Poster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambdas.live.posting.ANSWER_SECONDS", 60.0)
    for number in range(5):
        assert run(poster, deliveries(3, f"frame {number}")).posted == 3
    assert len(server.sockets) <= 3


def test_a_slow_connection_holds_up_no_other(
    server: TlsServer, poster: Poster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is answered only after all the others have got everything."""
    monkeypatch.setattr("lambdas.live.posting.ANSWER_SECONDS", 60.0)
    run(poster, deliveries(1, "0"))
    others_are_served = asyncio.Event()

    def answer(connection: str, _frame: str) -> int | asyncio.Event:
        if sum(frames[-1:] == ["2"] for frames in server.shown.values()) >= 98:
            others_are_served.set()
        return others_are_served if connection == "connection-000=" else 200

    server.answer = answer
    assert run(poster, deliveries(100, "1", "2")).posted == 200
    assert others_are_served.is_set()


def test_a_connection_is_closed_by_a_delete(server: TlsServer, poster: Poster) -> None:
    (closing,) = deliveries(1)
    closing.frames = [CLOSE]
    assert run(poster, [closing]).gone == 1
    assert server.closed == ["connection-000="]


def test_a_refusal_stops_everything_and_is_raised(server: TlsServer, poster: Poster) -> None:
    server.answer = lambda _connection, _frame: 403
    with pytest.raises(ForbiddenError, match="HTTP 403"):
        run(poster, deliveries(1_000, "1"))
    assert len(server.requests) < 1_000


def test_a_server_with_an_unknown_certificate_gets_nothing(
    server: TlsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(stranger))
    monkeypatch.setattr("lambdas.live.posting.ANSWER_GRACE_SECONDS", 20.0)
    poster = Poster(CurlTransport(server.endpoint))
    poster.deliver(deliveries(1, "frame"), within(20))
    poster.finish(within(20))
    assert poster.outcome.given_up == 1
    assert "certificate" in poster.outcome.problem
    assert server.requests == []


def test_a_post_is_signed_as_botocore_signs_it(server: TlsServer, poster: Poster) -> None:
    run(poster, deliveries(1, "a frame"))
    ((path, headers),) = server.requests
    assert path == "/live/@connections/connection-000%3D"
    found = re.search("SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$", headers["authorization"])
    assert found
    signed, signature = found[1].split(";"), found[2]
    assert {"host", "x-amz-date", "x-amz-security-token"} <= set(signed)

    class Signer(SigV4Auth):
        def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
            chosen = HTTPHeaders()
            for name in signed:
                chosen[name] = headers[name]
            return chosen

    request = AWSRequest("POST", server.endpoint.removesuffix("/live") + path, data=b"a frame")
    request.context["timestamp"] = headers["x-amz-date"]
    signer = Signer(Credentials("testing", "testing", "a/session+token=="), "execute-api", REGION)
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    assert signature == signer.signature(to_sign, request)
