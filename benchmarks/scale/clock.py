"""A virtual clock, and processes (greenlets) whose blocking calls let it go on."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import greenlet

TIMER_SECONDS = 50e-6


class Died(BaseException):
    """What ends a process wherever it is; no handler of errors is to catch it."""


class Process(greenlet.greenlet):  # type: ignore[misc]
    """Code that blocks: it runs until it sleeps, and others run meanwhile."""

    dead = False
    # Whether what it was for is done.
    is_over = False
    # Blocking calls made, and the one at which the process dies, if any.
    calls = 0
    dies_at = 0


class Clock:
    """Seconds since the beginning; moves on only from one thing that is due to the next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._numbers = itertools.count()
        self._hub = greenlet.getcurrent()

    def at(self, when: float, do: Callable[..., Any], *arguments: Any) -> None:
        """Call ``do`` when it is ``when``; it must not block."""
        heapq.heappush(self._due, (when, next(self._numbers), do, arguments))

    def spawn(self, do: Callable[..., Any], *arguments: Any) -> Process:
        """Begin a process that may block."""
        process = Process(do, self._hub)
        self.at(self.now, process.switch, *arguments)
        return process

    def current(self) -> Process:
        """The process that calls."""
        process = greenlet.getcurrent()
        assert isinstance(process, Process)
        return process

    def sleep(self, seconds: float) -> None:
        """Let the calling process wait; every blocking call of the model comes down to this."""
        process = self.current()
        process.calls += 1
        if process.dead or process.calls == process.dies_at:
            process.dead = True
            raise Died
        # Linux wakes a thread so late (timer slack: prctl(2)). So waits of nothing do not go on for ever.
        seconds = max(seconds, TIMER_SECONDS)
        # A killed process is switched to once more. A finished greenlet hands back at once.
        heapq.heappush(self._due, (self.now + seconds, next(self._numbers), process.switch, ()))
        self._hub.switch()

    def wait(self) -> None:
        """Let the calling process wait until somebody switches to it."""
        self._hub.switch()

    def kill(self, process: Process) -> None:
        """End a process where it waits."""
        if not process.dead:
            process.dead = True
            process.throw(Died)

    def run(self, until: float) -> None:
        """Let everything happen that is due before ``until``."""
        due = self._due
        while due and due[0][0] < until:
            self.now, _, do, arguments = heapq.heappop(due)
            do(*arguments)
        self.now = until


class Bucket:
    """Tokens that come at a rate up to a number: how AWS limits what it serves."""

    __slots__ = ("_clock", "_filled", "_size", "_tokens", "rate")

    def __init__(self, clock: Clock, rate: float, size: float) -> None:
        self._clock, self.rate, self._size = clock, rate, size
        self._tokens, self._filled = size, clock.now

    def take(self, tokens: float = 1.0) -> bool:
        """Take as many, if there are so many."""
        self._fill()
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def has_any(self) -> bool:
        """Whether something may be served; what it costs is known, and to be spent, when it has been."""
        self._fill()
        return self._tokens > 0

    def spend(self, tokens: float) -> None:
        """Take the tokens of what was served, even if there were fewer."""
        self._tokens -= tokens

    def _fill(self) -> None:
        now = self._clock.now
        self._tokens = min(self._size, self._tokens + (now - self._filled) * self.rate)
        self._filled = now
