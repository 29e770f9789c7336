"""Lambda: functions whose execution environments have a memory each, and an account that runs so many."""

import random
from collections.abc import Callable
from typing import Any, Protocol

from benchmarks.scale import constants
from benchmarks.scale.clock import Clock, Died, Process

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]
OnEnd = Callable[..., None]


class Account:
    """What all functions of the account share."""

    def __init__(self, concurrency: int = constants.CONCURRENCY) -> None:
        self.concurrency = concurrency
        self.running = 0
        self.most = 0


class Deaths:
    """Ends every so many invocations, at any of their blocking calls."""

    def __init__(self, every: int, rng: random.Random) -> None:
        self._every = every
        self._rng = rng
        self._begun = 0
        self._owed = 0
        # How many blocking calls the newest invocations made.
        self._usual = [1]
        self.died = 0

    def begin(self, process: Process) -> None:
        """Decide whether and at which call this one dies."""
        self._begun += 1
        if self._begun % self._every == 0:
            self._owed += 1
        if self._owed:
            self._owed -= 1
            process.dies_at = self._rng.randint(1, self._rng.choice(self._usual))

    def ended(self, process: Process) -> None:
        """Remember how long invocations are. One that ended before it was to die leaves that to the next."""
        if process.dead:
            self.died += 1
            return
        if process.dies_at:
            self._owed += 1
        self._usual = [*self._usual[-99:], max(process.calls, 1)]


class Context:
    """What a handler may ask about its invocation."""

    aws_request_id = "request"
    function_name = "function"

    def __init__(self, clock: Clock, until: float) -> None:
        self._clock = clock
        self._until = until

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function is cut off."""
        return int((self._until - self._clock.now) * 1000)


class Load(Protocol):
    """Makes the handler of a new execution environment, by running its module."""

    def __call__(self) -> Handler: ...


class Function:
    """One function."""

    def __init__(
        self,
        clock: Clock,
        account: Account,
        name: str,
        load: Load,
        *,
        timeout: float,
        world_time: Callable[[], float],
        reserved: int | None = None,
        deaths: Deaths | None = None,
    ) -> None:
        self._clock = clock
        self._account = account
        self.name = name
        self._load = load
        self._timeout = timeout
        self._reserved = reserved
        self._deaths = deaths
        self.world_time = world_time
        self._idle: list[Handler] = []
        self._running = 0
        self.invocations = 0
        self.most = 0
        self.cut_off = 0
        self.failed = 0
        self.refused = 0
        self.seconds = 0.0
        self.problems: list[str] = []

    def has_room(self) -> bool:
        """Whether one more may run."""
        if self._account.running >= self._account.concurrency:
            return False
        return self._reserved is None or self._running < self._reserved

    def invoke(self, event: dict[str, Any], on_end: OnEnd, *arguments: Any) -> None:
        """Run the handler; ``on_end`` gets its answer (None if it failed) and the arguments."""
        self._running += 1
        self._account.running += 1
        self.invocations += 1
        self.most = max(self.most, self._running)
        self._account.most = max(self._account.most, self._account.running)
        self._clock.spawn(self._run, event, on_end, arguments)

    def _run(self, event: dict[str, Any], on_end: OnEnd, arguments: tuple[Any, ...]) -> None:
        clock = self._clock
        clock.sleep(constants.INVOKE_SECONDS)
        if self._idle:
            handler = self._idle.pop()
        else:
            clock.sleep(constants.COLD_START_SECONDS)
            handler = self._load()
        process = clock.current()
        began = clock.now
        process.calls = process.dies_at = 0
        if self._deaths:
            self._deaths.begin(process)
        clock.at(began + self._timeout, self._cut_off, process)
        answer = None
        try:
            answer = handler(event, Context(clock, began + self._timeout))
        except Died:
            pass
        except Exception as error:  # noqa: BLE001
            self.failed += 1
            self.problems.append(repr(error))
        if self._deaths:
            self._deaths.ended(process)
        process.is_over = True
        self.seconds += clock.now - began
        if not process.dead:
            self._idle.append(handler)
        self._running -= 1
        self._account.running -= 1
        # Not in this process, which may be dead.
        clock.at(clock.now, on_end, None if process.dead else answer, *arguments)

    def _cut_off(self, process: Process) -> None:
        if not process.is_over:
            self.cut_off += 1
            self._clock.kill(process)
