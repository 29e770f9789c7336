"""A clock, and API Gateway on it."""

import heapq
import itertools
import math
from collections.abc import Callable

from lambdas.live.frames import Frame
from lambdas.live.posting import CLOSE, SILENT, Answer, Posting

LATENCY = 0.02


class World:
    """A clock, and a transport on it: ``answer`` gives a status for a connection's id; 408 takes its time.

    It takes ``per_second`` posts a second, one after the other.
    """

    def __init__(self) -> None:
        self.now = 1_000.0
        self.per_second = math.inf
        self.answer: Callable[[str], int] = lambda _id: 200
        self.tried: dict[str, int] = {}
        self.got: dict[str, list[bytes]] = {}
        self.closed: list[str] = []
        self._due: list[tuple[float, int, Answer]] = []
        self._free_at = 0.0
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def start(self, posting: Posting, frame: Frame, seconds: float) -> None:
        id_ = posting.connection.id
        self.tried[id_] = self.tried.get(id_, 0) + 1
        status = self.answer(id_)
        if frame is CLOSE:
            self.closed.append(id_)
        elif status == 200:
            self.got.setdefault(id_, []).append(frame.data)
        self._free_at = max(self._free_at, self.now) + 1 / self.per_second
        at = self.now + seconds if status == SILENT else self._free_at + LATENCY
        heapq.heappush(self._due, (at, next(self._numbers), Answer(posting, status)))

    def answers(self, seconds: float) -> list[Answer]:
        if self._due and self._due[0][0] > self.now:
            self.now = min(self._due[0][0], self.now + seconds)
        elif not self._due:
            self.now += seconds
        answers = []
        while self._due and self._due[0][0] <= self.now:
            answers.append(heapq.heappop(self._due)[2])
        return answers

    def cancel(self, posting: Posting) -> None:
        self._due = [due for due in self._due if due[2].posting is not posting]
        heapq.heapify(self._due)
