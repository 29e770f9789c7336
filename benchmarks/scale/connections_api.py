"""API Gateway: one budget of requests for everything, and the connections that ``@connections`` posts to."""

import itertools
import math
import random
from collections import Counter, OrderedDict
from collections.abc import Callable

from benchmarks.scale import constants
from benchmarks.scale.clock import Bucket, Clock
from benchmarks.scale.viewers import Channel, Frame, Page

OK, NO_CONTENT, FORBIDDEN, GONE, TOO_MANY_REQUESTS = 200, 204, 403, 410, 429
# Frames that are remembered as read: pages of one frame come one after the other.
_REMEMBERED = 1_000


class ConnectionsApi:
    """The account's API Gateway in one Region."""

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        *,
        quota: float = 1.0,
    ) -> None:
        self._clock = clock
        self.budget = Bucket(clock, constants.BUDGET * quota, constants.BUDGET_BURST * quota)
        self.new_connections = Bucket(clock, constants.NEW_CONNECTIONS, constants.NEW_CONNECTIONS)
        latencies = [
            constants.POST_SECONDS * math.exp(rng.gauss(0.0, constants.POST_SPREAD)) for _ in range(1 << 14)
        ]
        self._latency = itertools.cycle(latencies).__next__
        self.pages: dict[str, Page] = {}
        self._frames: OrderedDict[tuple[Channel, bytes], Frame] = OrderedDict()
        # When nobody may post.
        self.forbidden_from = self.forbidden_until = math.inf
        # Called with a page whose connection was deleted.
        self.on_dropped: Callable[[Page], None] = lambda page: None
        # Posts by second, other requests, and those of either that were refused for the budget.
        self.posts: Counter[int] = Counter()
        self.throttled: Counter[int] = Counter()
        self.requests: Counter[int] = Counter()
        self.refused: Counter[int] = Counter()
        # Posts to viewers whose buffer was full.
        self.to_full = 0

    def request(self) -> bool:
        """An HTTP or WebSocket request that is no post; whether it is served."""
        second = int(self._clock.now)
        if not self.budget.take():
            self.refused[second] += 1
            return False
        self.requests[second] += 1
        return True

    def open(self, page: Page, connection_id: str, opens_at: float) -> None:
        """A connection, which posts reach from ``opens_at`` on."""
        page.connection_id = connection_id
        page.opens_at = opens_at
        page.closed_at = math.inf
        self.pages[connection_id] = page

    def close(self, page: Page) -> None:
        """The connection is no more."""
        if self.pages.pop(page.connection_id, None):
            page.closed_at = self._clock.now

    def delete(self, connection_id: str) -> tuple[int, float]:
        """DELETE @connections: the status, and after how many seconds it comes."""
        if not self.request():
            return TOO_MANY_REQUESTS, self._latency()
        page = self.pages.get(connection_id)
        if page is None:
            return GONE, self._latency()
        self.close(page)
        self.on_dropped(page)
        return NO_CONTENT, self._latency()

    def post(self, connection_id: str, body: bytes) -> tuple[int, float]:
        """POST @connections: the status, and after how many seconds it comes."""
        now = self._clock.now
        latency = self._latency()
        if not self.budget.take():
            self.throttled[int(now)] += 1
            return TOO_MANY_REQUESTS, latency
        self.posts[int(now)] += 1
        if self.forbidden_from <= now < self.forbidden_until:
            return FORBIDDEN, latency
        page = self.pages.get(connection_id)
        if page is None or now < page.opens_at:
            return GONE, latency
        if page.full_from <= now < page.full_until:
            self.to_full += 1
            return TOO_MANY_REQUESTS, latency
        frame = self._read(page.channel, body)
        at = now + latency
        if frame.events:
            page.got(frame.events, at)
        if frame.is_marked:
            page.marks += 1
            self.catch_up(page, at)
        if frame.version is not None:
            page.topics.append(frame.version)
        return OK, latency

    def catch_up(self, page: Page, at: float) -> None:
        """The page reads the record now, and again when it is certainly told of everything."""
        for after in constants.CATCH_UP_AFTER:
            self._clock.at(at + after, page.reads, at + after)

    def _read(self, channel: Channel, body: bytes) -> Frame:
        frame = self._frames.get((channel, body))
        if frame is None:
            if len(body) > 32 * 1024:
                raise ValueError("a frame of more than 32 KB")
            frame = self._frames[channel, body] = Frame(channel, body)
            if len(self._frames) > _REMEMBERED:
                self._frames.popitem(last=False)
        return frame
