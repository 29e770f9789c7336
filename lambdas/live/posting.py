"""Posting frames to connections: signed ``@connections`` calls over few, kept-alive, multiplexed connections.

libcurl does what costs time: it encrypts and speaks HTTP/2 (HTTP/1.1 where the server does not).
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
"""

import dataclasses
import heapq
import itertools
import random
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote, urlsplit

import pycurl

from lambdas.common.aws import Credentials, new_handle
from lambdas.common.connections import Connection
from lambdas.live.frames import Frame
from lambdas.live.rate_limiter import RateLimiter
from lambdas.live.sigv4 import Signer

# A connection is stored while its handshake still runs, and until that is over @connections says 410 for it.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
HANDSHAKE_SECONDS = 5
# Enough to keep API Gateway busy for the time that an answer takes, few enough to notice a 429 early.
POSTS_AT_ONCE = 200
# They are sent after so many, so that the other side works while more are made.
POSTS_IN_A_GO = 16
# Sockets. HTTP/2 needs two of them for that many streams; without it there is one post at a time on each.
SOCKETS = 64
# A post that is not answered is given up after this, and twice as long each time: an API that is slow gets
# more time rather than more posts.
PATIENCE_MS = 2_000
# Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
BACKOFF_SECONDS = 0.02
MOST_BACKOFF_SECONDS = 2.0
# A header without a value is one that libcurl is not to send.
HEADERS = [b"Content-Type: application/json", b"Accept:"]
# A connection's id as it stands in a path; ids are ASCII, and this is faster than ``quote``.
QUOTED = {code: quote(chr(code), safe="") for code in range(128)}

OK, FORBIDDEN, GONE, TOO_MANY_REQUESTS, INTERNAL_SERVER_ERROR = 200, 403, 410, 429, 500


@dataclasses.dataclass(slots=True, eq=False)
class Posting:
    """The frames that one connection is to get, in this order, and how far that is.

    ``message_ids`` are those of the queue messages that it comes from. ``posted`` frames have arrived; the
    next one has failed ``failures`` times, ``timeouts`` of them unanswered.
    """

    message_ids: Sequence[str]
    streamer_id: str
    connection: Connection
    frames: Sequence[Frame]
    posted: int = 0
    failures: int = 0
    timeouts: int = 0


@dataclasses.dataclass(slots=True)
class Outcome:
    """What became of deliveries: those served in full are counted, ``gone`` connections are to be removed.

    ``left`` could not be served in time or were refused; ``problem`` is what was wrong with the last of
    them, and ``forbidden`` what API Gateway said when it refused to be called at all.
    ``arrived`` is when (Unix time) a frame reached the last of its viewers.
    """

    served: int = 0
    posted: int = 0
    retried: int = 0
    throttled: int = 0
    gone: list[Posting] = dataclasses.field(default_factory=list)
    left: list[Posting] = dataclasses.field(default_factory=list)
    arrived: dict[Frame, float] = dataclasses.field(default_factory=dict)
    problem: str = ""
    forbidden: str = ""


class Poster:
    """Posts to the connections of one WebSocket API; its sockets and its rate outlive an invocation."""

    def __init__(self, endpoint: str) -> None:
        """Post below ``endpoint`` (``https://…/<stage>``); the environment has the credentials."""
        parts = urlsplit(endpoint)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._path = f"{parts.path}/@connections/"
        self._signer = Signer(parts.netloc, Credentials.from_environment())
        self._rate = RateLimiter(time.monotonic())
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, SOCKETS)
        self._multi.setopt(pycurl.M_MAX_CONCURRENT_STREAMS, POSTS_AT_ONCE)
        self._multiplexes: bool | None = None
        self._idle: list[pycurl.Curl] = []
        self._busy: dict[pycurl.Curl, Posting] = {}
        self._answers: dict[pycurl.Curl, list[bytes]] = {}

    def deliver(self, deliveries: Iterable[Posting], until: float) -> Outcome:
        """Serve the deliveries side by side, until ``until`` (``time.monotonic``) at the latest.

        A connection gets the next frame when it has got the one before. 410 means that it is gone, unless
        its handshake may still be under way. 429, 5xx, resets and silence are tried again, ever more
        rarely; 429 and silence slow all posts down. 403 stops everything: it is about us, not a connection.
        """
        run = _Run(deliveries)
        while (now := time.monotonic()) < until and not run.outcome.forbidden:
            room = min(POSTS_AT_ONCE - len(self._busy), POSTS_IN_A_GO, self._rate.available(now))
            started = 0
            while started < room and (delivery := run.next(now)):
                self._post(delivery)
                started += 1
            self._rate.spend(started)
            self._multi.perform()
            self._settle(run)
            if not self._busy and run.is_over():
                break
            self._wait(run, until)
        unanswered = [self._release(handle)[0] for handle in list(self._busy)]
        run.outcome.left += [*unanswered, *run.rest()]
        return run.outcome

    def _post(self, delivery: Posting) -> None:
        handle = self._idle.pop() if self._idle and not delivery.timeouts else self._handle(delivery.timeouts)
        frame = delivery.frames[delivery.posted]
        path = self._path + delivery.connection.id.translate(QUOTED)
        headers = self._signer.headers(path, frame.sha256, time.time())
        handle.setopt(pycurl.URL, self._origin + path)
        handle.setopt(pycurl.HTTPHEADER, headers + HEADERS)
        handle.setopt(pycurl.POSTFIELDS, frame.data)
        if not self._multiplexes:
            # Rather a stream of a socket that is being opened than one more socket, unless there are none.
            handle.setopt(pycurl.PIPEWAIT, self._multiplexes is None)
        self._busy[handle] = delivery
        self._multi.add_handle(handle)

    def _handle(self, timeouts: int) -> pycurl.Curl:
        """A handle for posts to connections with which there was silence so many times."""
        handle = new_handle()
        handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        handle.setopt(pycurl.TIMEOUT_MS, PATIENCE_MS << timeouts)
        # The silence may have been that of a dead socket.
        handle.setopt(pycurl.FRESH_CONNECT, timeouts > 0)
        answer: list[bytes] = []
        handle.setopt(pycurl.WRITEFUNCTION, answer.append)
        self._answers[handle] = answer
        return handle

    def _settle(self, run: "_Run") -> None:
        """Take what has been answered."""
        queued = 1
        while queued:
            queued, answered, broken = self._multi.info_read()
            for handle in answered:
                delivery, answer = self._release(handle)
                status = handle.getinfo(pycurl.RESPONSE_CODE)
                if self._multiplexes is None:
                    self._multiplexes = (
                        handle.getinfo(pycurl.INFO_HTTP_VERSION) != pycurl.CURL_HTTP_VERSION_1_1
                    )
                self._rate.answered(throttled=status == TOO_MANY_REQUESTS)
                if status == OK:
                    run.arrived(delivery)
                else:
                    run.refused(delivery, status, answer)
            for handle, code, message in broken:
                delivery, _ = self._release(handle)
                if code == pycurl.E_OPERATION_TIMEDOUT:
                    delivery.timeouts += 1
                    # An API that has too much to do may fall silent before it says so.
                    self._rate.answered(throttled=True)
                run.retry(delivery, message)

    def _release(self, handle: pycurl.Curl) -> tuple[Posting, bytes]:
        """The handle is free again: whom it posted to, and the answer's body as far as it has come."""
        self._multi.remove_handle(handle)
        delivery, answer = self._busy.pop(handle), self._answers[handle]
        text = b"".join(answer)
        if delivery.timeouts:
            # It is more patient than most deserve.
            del self._answers[handle]
        else:
            answer.clear()
            self._idle.append(handle)
        return delivery, text

    def _wait(self, run: "_Run", until: float) -> None:
        """Wait for an answer, for the time of the next try, or for the rate to let another post go."""
        now = time.monotonic()
        seconds = until - now
        if len(self._busy) < POSTS_AT_ONCE:
            seconds = min(seconds, max(run.next_at() - now, self._rate.wait()))
        if seconds <= 0:
            return
        if not self._busy:
            time.sleep(seconds)
        else:
            libcurls = self._multi.timeout() / 1000
            self._multi.select(min(seconds, libcurls) if libcurls >= 0 else seconds)


class _Run:
    """What is still to be done of a run, and what has come of it."""

    def __init__(self, deliveries: Iterable[Posting]) -> None:
        self.outcome = Outcome()
        self._fresh: Iterator[Posting] = iter(deliveries)
        self._all_begun = False
        # By the time (monotonic) of the next post; the number keeps those of one time in order.
        self._later: list[tuple[float, int, Posting]] = []
        self._numbers = itertools.count()

    def next(self, now: float) -> Posting | None:
        """Who is to be posted to now: those first whose time has come again."""
        if self._later and self._later[0][0] <= now:
            return heapq.heappop(self._later)[2]
        delivery = next(self._fresh, None)
        self._all_begun = delivery is None
        return delivery

    def next_at(self) -> float:
        """When (monotonic) there may be somebody to post to."""
        if not self._all_begun:
            return 0.0
        return self._later[0][0] if self._later else float("inf")

    def is_over(self) -> bool:
        """Whether nobody is left to post to."""
        return self._all_begun and not self._later

    def rest(self) -> Iterator[Posting]:
        """Those who are still to be posted to."""
        yield from (delivery for _, _, delivery in self._later)
        yield from self._fresh

    def arrived(self, delivery: Posting) -> None:
        """The connection has got its next frame."""
        self.outcome.arrived[delivery.frames[delivery.posted]] = time.time()
        self.outcome.posted += 1
        delivery.posted += 1
        delivery.failures = delivery.timeouts = 0
        if delivery.posted == len(delivery.frames):
            self.outcome.served += 1
        else:
            self._push(0.0, delivery)

    def refused(self, delivery: Posting, status: int, answer: bytes) -> None:
        """The post was answered by something else than 200."""
        # Its first line: those of a refused signature repeat the signed headers, the session token included.
        said = re.split(r"\\n|\n", answer.decode(errors="replace"))[0][:200]
        problem = f"HTTP {status} {said}".rstrip()
        if status == GONE:
            if time.time() - delivery.connection.renewed_at > HANDSHAKE_SECONDS:
                self.outcome.gone.append(delivery)
            else:
                self.retry(delivery, problem)
        elif status == TOO_MANY_REQUESTS:
            self.outcome.throttled += 1
            self.retry(delivery, problem)
        elif status >= INTERNAL_SERVER_ERROR:
            self.retry(delivery, problem)
        else:
            self.outcome.left.append(delivery)
            self.outcome.problem = problem
            if status == FORBIDDEN:
                self.outcome.forbidden = problem

    def retry(self, delivery: Posting, problem: str) -> None:
        """Post the frame again, after a while."""
        self.outcome.problem = problem
        self.outcome.retried += 1
        delivery.failures += 1
        backoff = min(MOST_BACKOFF_SECONDS, BACKOFF_SECONDS * 2 ** (delivery.failures - 1))
        # Spread over the time, not kept from anybody who might guess it.
        self._push(time.monotonic() + random.uniform(0, backoff), delivery)  # noqa: S311

    def _push(self, at: float, delivery: Posting) -> None:
        heapq.heappush(self._later, (at, next(self._numbers), delivery))
