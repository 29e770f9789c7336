"""Posting frames to connections: how fast, what follows from each answer, and when to give up.

Who is gone, or was given up, is only noted here; ``unserved.py`` does what follows.
"""

import dataclasses
import heapq
import itertools
import math
import random
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from lambdas.common.connections import Connection
from lambdas.live import rate_limiter
from lambdas.live.clock import Clock
from lambdas.live.frames import Frame
from lambdas.live.rate_limiter import RateLimiter

# A connection is stored while its handshake still runs, and until that is over @connections says 410 for it.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
HANDSHAKE_SECONDS = 5
# Enough to keep API Gateway busy for the time that an answer takes, few enough to notice a 429 early.
POSTS_AT_ONCE = 200
# Posts are started so many at a time, so that API Gateway works on them while more are made.
POSTS_IN_A_GO = 16
# After so long without an answer a post is cancelled and tried again.
ANSWER_SECONDS = 2.0
# After so long a connection that could not be served is given up, whatever the reason.
POSTING_SECONDS = 5.0
# When all others are served, the rest is given up after the first of these; after the second while a
# connection has not answered at all.
GRACE_SECONDS, ANSWER_GRACE_SECONDS = 0.2, 1.0
# How often it is looked whether they have caught up.
CATCH_UP_PAUSE_SECONDS = 0.005
# API Gateway answers 429 when the account's limit is reached, and when one client's buffer is full. It is
# assumed to be the buffer when so many 429 in a row are less probable than this by the account's limit.
BY_CHANCE = 0.0001
# A connection that was given up starts with what is known of it, if that is not older; so many are known.
REMEMBERED_SECONDS = 10.0
REMEMBERED = 10_000
# Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
BACKOFF_SECONDS = 0.02
MOST_BACKOFF_SECONDS = 2.0

# Posting this instead of a frame closes the connection.
CLOSE = Frame(b"")

# A post that was not answered: the socket broke, or there was silence.
BROKEN, SILENT = 0, 408
FORBIDDEN, GONE, TOO_MANY_REQUESTS, INTERNAL_SERVER_ERROR = 403, 410, 429, 500


class ForbiddenError(Exception):
    """API Gateway refuses every call of this function; no connection is the reason."""


@dataclasses.dataclass(slots=True, eq=False)
class Posting:
    """The frames that one connection is to get, in this order, and how many it has got.

    ``posted`` frames have arrived; the next one has failed ``failures`` times in a row, the last time with
    ``status``; ``chance`` is how probable its 429 are if the account's limit is the reason, those of its last
    posting included. ``page`` is the number of the page of connections that it belongs to. ``full_since``
    (Unix time, or 0) is since when the connection has taken nothing. ``overtaken`` means that there were
    newer frames meanwhile, which the connection did not get.
    """

    streamer_id: str
    connection: Connection
    frames: Sequence[Frame]
    page: int = 0
    full_since: float = 0.0
    overtaken: bool = False
    posted: int = 0
    failures: int = 0
    chance: float = 1.0
    tried_at: float = 0.0
    status: int = 0

    def is_refused(self) -> bool:
        """Whether API Gateway has answered that this connection cannot take the frame."""
        return 400 <= self.status < INTERNAL_SERVER_ERROR and self.status not in (SILENT, GONE)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The result of a post: API Gateway's status and the beginning of its text, or why it has none."""

    posting: Posting
    status: int
    text: str = ""


class Transport(Protocol):
    """Sends posts to API Gateway; each posting has at most one post under way."""

    def start(self, posting: Posting, frame: Frame, seconds: float) -> None:
        """Begin to post the frame to the posting's connection, or to close that if the frame is ``CLOSE``.

        If there is no answer within ``seconds``, its answer is ``SILENT``.
        """

    def answers(self, seconds: float) -> list[Answer]:
        """The answers since the last call; if there are none, wait up to ``seconds`` for some."""

    def cancel(self, posting: Posting) -> None:
        """Cancel the post: there will be no answer."""


@dataclasses.dataclass(slots=True)
class Outcome:
    """What became of an invocation's postings.

    Frames were ``posted``, posts ``retried`` and ``throttled``; connections are ``gone`` or ``given_up``.
    ``arrived`` is when (Unix time) a frame reached the last of its viewers; ``problem`` is what was wrong
    with the last post that was refused.
    """

    posted: int = 0
    retried: int = 0
    throttled: int = 0
    gone: int = 0
    given_up: int = 0
    arrived: dict[Frame, float] = dataclasses.field(default_factory=dict)
    problem: str = ""


class Poster:
    """Posts to the connections of one WebSocket API; its rate outlives an invocation.

    A posting is under way from its start until its connection is served, gone or given up.
    """

    def __init__(
        self, transport: Transport, clock: Clock = time, *, posts_per_second: float = rate_limiter.MOST
    ) -> None:
        """All invocations that post at the same time make at most ``posts_per_second`` for one audience."""
        self.outcome = Outcome()
        self._transport = transport
        self._clock = clock
        self.rate = RateLimiter(clock.monotonic(), posts_per_second)
        self._posted: dict[Posting, None] = {}
        # By the time (monotonic) of the next post; the number keeps those of one time in order.
        self._later: list[tuple[float, int, Posting]] = []
        self._numbers = itertools.count()
        self._served_at = -math.inf
        self._gone: list[Posting] = []
        self._given_up: list[Posting] = []
        # By connection: the chance of its 429 so far, and until when (monotonic) that is of use.
        self._chances: dict[str, tuple[float, float]] = {}

    def begin(self) -> None:
        """Begin an invocation: with a new ``outcome``, the whole rate, and nothing under way."""
        self.rate.share(1)
        self._give_up_all()
        self.take_unserved()
        self.outcome = Outcome()

    def take_unserved(self) -> tuple[list[Posting], list[Posting]]:
        """The postings whose connections are gone, and those given up, since the last call of this."""
        gone, given_up = self._gone, self._given_up
        self._gone, self._given_up = [], []
        return gone, given_up

    def under_way(self) -> list[Posting]:
        """The postings that were started and are neither served nor gone nor given up."""
        return [*self._posted, *(posting for _, _, posting in self._later)]

    def take_answers(self) -> None:
        """Take the answers that have come while the caller did something else. Raises ForbiddenError."""
        if self._posted:
            self._take_answers(0.0)

    def deliver(self, postings: Sequence[Posting], until: float) -> int:
        """Start the postings, and continue those that are under way.

        Returns how many were started by ``until`` (``monotonic``), when it ends at the latest. It does not
        wait for the last answers: the next call of a method continues. Raises ForbiddenError.
        """
        fresh, started = iter(postings), 0
        while started < len(postings) and (now := self._clock.monotonic()) < until:
            started += self._start_some(now, fresh)
            self._take_answers(self._pause(now, until, now) if started < len(postings) else 0.0)
        return started

    def give_up(self, postings: Sequence[Posting]) -> None:
        """Give up postings that could not be started in time."""
        for posting in postings:
            self._give_up(posting)

    def wait(self, until: float) -> None:
        """Continue what is under way until ``until`` (``monotonic``), or until nothing is."""
        while (self._posted or self._later) and (now := self._clock.monotonic()) < until:
            self._start_some(now, iter(()))
            again_at = self._later[0][0] if self._later else math.inf
            self._take_answers(self._pause(now, until, again_at))

    def catch_up(self, connection_ids: Collection[str], until: float) -> None:
        """Continue what is under way until these connections are served, but for those that a post failed to.

        It ends ``GRACE_SECONDS`` after a connection was served last, and at ``until`` (``monotonic``), at the
        latest. Raises ForbiddenError.
        """
        while any(not each.failures and each.connection.id in connection_ids for each in self.under_way()):
            now = self._clock.monotonic()
            if now >= min(until, self._served_at + GRACE_SECONDS):
                break
            self.wait(min(until, now + CATCH_UP_PAUSE_SECONDS))

    def finish(self, until: float) -> None:
        """Wait for the last answers; give up those that are still not served some time after all others.

        It ends at ``until`` (``monotonic``) at the latest. Raises ForbiddenError.
        """
        began = self._clock.monotonic()
        while (self._posted or self._later) and (now := self._clock.monotonic()) < until:
            grace = ANSWER_GRACE_SECONDS if self._awaits_first_answer() else GRACE_SECONDS
            if now >= max(began, self._served_at) + grace:
                break
            self.wait(min(until, now + GRACE_SECONDS / 10))
        self.take_answers()
        self._give_up_all()

    def _awaits_first_answer(self) -> bool:
        """Whether a connection's first post is still waiting for its answer."""
        return any(not posting.failures for posting in self._posted)

    def _start_some(self, now: float, fresh: Iterator[Posting]) -> int:
        """Start posts, first the retries that are due; returns how many of ``fresh`` were started."""
        room = min(POSTS_AT_ONCE - len(self._posted), POSTS_IN_A_GO, self.rate.available(now))
        posts = started = 0
        while posts < room:
            if self._later and self._later[0][0] <= now:
                posting = heapq.heappop(self._later)[2]
            elif following := next(fresh, None):
                posting = following
                posting.tried_at = now
                posting.chance = self._remembered_chance(posting, now)
                started += 1
            else:
                break
            self._posted[posting] = None
            self._transport.start(posting, posting.frames[posting.posted], ANSWER_SECONDS)
            posts += 1
        self.rate.spend(posts)
        return started

    def _pause(self, now: float, until: float, next_at: float) -> float:
        """Seconds to wait for answers: until the next post is due (``next_at``) and may start."""
        if len(self._posted) < POSTS_AT_ONCE:
            until = min(until, max(next_at, now + self.rate.wait()))
        return max(until - now, 0.0)

    def _take_answers(self, seconds: float) -> None:
        if not self._posted:
            self._clock.sleep(seconds)
            return
        for answer in self._transport.answers(seconds):
            self._handle(answer)

    def _handle(self, answer: Answer) -> None:
        """Decide what follows from an answer.

        410 means that the connection is gone, unless its handshake may still be under way. 429 and silence
        slow all posts down if many connections answer so. 403 stops everything. 429, 5xx, resets and silence
        are tried again, with growing pauses.
        """
        posting, status = answer.posting, answer.status
        self._posted.pop(posting, None)
        posting.status = status
        throttled = status in (TOO_MANY_REQUESTS, SILENT)
        self.rate.answered(throttled=throttled, again=posting.failures > 0)
        if 200 <= status < 300:
            self._arrived(posting)
            return
        problem = f"HTTP {status} {answer.text}".rstrip() if status not in (BROKEN, SILENT) else answer.text
        if status == FORBIDDEN:
            self._give_up_all()
            raise ForbiddenError(problem)
        if status == GONE and self._clock.time() - posting.connection.renewed_at > HANDSHAKE_SECONDS:
            self._note_gone(posting)
            return
        self.outcome.problem = problem
        self.outcome.throttled += status == TOO_MANY_REQUESTS
        posting.failures += 1
        if self._is_hopeless(posting):
            self._give_up(posting)
        else:
            self.outcome.retried += 1
            backoff = min(MOST_BACKOFF_SECONDS, BACKOFF_SECONDS * 2 ** (posting.failures - 1))
            # Random numbers that spread the retries; they need not be hard to guess.
            self._push(self._clock.monotonic() + random.uniform(0, backoff), posting)  # noqa: S311

    def _arrived(self, posting: Posting) -> None:
        """The connection has got its next frame."""
        frame = posting.frames[posting.posted]
        if frame is CLOSE:
            self._note_gone(posting)
            return
        self.outcome.arrived[frame] = self._clock.time()
        self.outcome.posted += 1
        posting.posted += 1
        posting.failures, posting.chance = 0, 1.0
        self._chances.pop(posting.connection.id, None)
        self._served_at = self._clock.monotonic()
        if posting.posted < len(posting.frames):
            self._push(0.0, posting)
        elif posting.overtaken:
            # It missed the newer frames, so it is to get the mark.
            self._give_up(posting)

    def _note_gone(self, posting: Posting) -> None:
        self.outcome.gone += 1
        self._gone.append(posting)

    def _give_up(self, posting: Posting) -> None:
        self.outcome.given_up += 1
        self._given_up.append(posting)
        if posting.status == TOO_MANY_REQUESTS:
            until = self._clock.monotonic() + REMEMBERED_SECONDS
            self._chances[posting.connection.id] = posting.chance, until
            if len(self._chances) > REMEMBERED:
                del self._chances[next(iter(self._chances))]

    def _remembered_chance(self, posting: Posting, now: float) -> float:
        """The chance of the 429 that ended the connection's last posting; 1 if there was none of late."""
        chance, until = self._chances.pop(posting.connection.id, (1.0, 0.0))
        return chance if now < until else 1.0

    def _is_hopeless(self, posting: Posting) -> bool:
        """Whether there is no use in trying again."""
        if self._clock.monotonic() - posting.tried_at > POSTING_SECONDS:
            return True
        if posting.status == TOO_MANY_REQUESTS:
            # By the account's limit each post is throttled with this probability.
            posting.chance *= self.rate.throttled_part()
            return posting.chance < BY_CHANCE
        return posting.is_refused()

    def _push(self, at: float, posting: Posting) -> None:
        heapq.heappush(self._later, (at, next(self._numbers), posting))

    def _give_up_all(self) -> None:
        for posting in self._posted:
            self._transport.cancel(posting)
        for posting in self.under_way():
            self._give_up(posting)
        self._posted.clear()
        self._later.clear()
