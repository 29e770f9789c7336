"""Serving a part of an audience: the holder of its lease takes what is in the inbox round, page by page."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from lambdas.common import connections
from lambdas.common.aws import AwsError, Client
from lambdas.live import stragglers
from lambdas.live.batch import Call
from lambdas.live.carousel import Carousel
from lambdas.live.clock import Clock
from lambdas.live.inboxes import Entry, Inboxes
from lambdas.live.news import News, combine, frames
from lambdas.live.pacing import INTERVAL_SECONDS
from lambdas.live.posting import Poster, Posting
from lambdas.live.stragglers import Stragglers

# Connections that get the same frame. News joins before a page.
PAGE_CONNECTIONS = 500
# A round takes as long as its posts. So only few viewers have the time for more than one frame with events.
FRAMES_OF_SMALL_PARTS, FRAMES_OF_LARGE_PARTS = 4, 1
# A look costs a read unit for each 4 KB of the inbox, of which DynamoDB serves 3,000 a second.
LOOK_SECONDS = 0.1
# What the last posts may take after the time is up.
LAST_POSTS_SECONDS = 1.0


class Serving:
    """One part, served by one invocation."""

    def __init__(
        self,
        call: Call,
        *,
        dynamodb: Client,
        poster: Poster,
        inboxes: Inboxes,
        those_left: Stragglers,
        send: Callable[[Call, int], None],
        connections_table: str,
        clock: Clock,
    ) -> None:
        self.event_ids: list[str] = []
        """The events that were taken out of the inbox."""
        self._part = call.part
        self._per_second = call.per_second
        self._carousel = Carousel(call.part, **call.carousel)
        self._dynamodb = dynamodb
        self._poster = poster
        self._inboxes = inboxes
        self._stragglers = those_left
        self._send = send
        self._table = connections_table
        self._clock = clock
        self._pages = 0
        self._looked_at = 0.0
        # Entries that were taken in and are still in the inbox.
        self._known: set[str] = set()
        # Entries that everybody has been passed with, and with which page that was so.
        self._passed: list[tuple[int, str]] = []
        # Connections that are put off.
        self._behind: set[str] = set()

    def serve(self, token: str, until: float) -> None:
        """Serve the part as the holder of its lease, or do nothing if somebody else is that.

        At ``until`` (``monotonic``) what is left is handed over. Raises AwsError and ForbiddenError.
        """
        if not self._inboxes.take(self._part, token):
            return
        if self._per_second:
            self._poster.rate.go_on(self._per_second)
        while self._serve_all(until):
            self._inboxes.release(self._part, token)
            # Somebody may have put something in and found the lease taken.
            if not self._look() or not self._inboxes.take(self._part, token):
                return
        self._hand_over(token)

    def _serve_all(self, until: float) -> bool:
        """Serve until nothing is left; returns False if the time is up before."""
        round_began = self._clock.monotonic()
        while self._clock.monotonic() < until:
            self._take_in(until)
            if self._carousel.is_empty():
                self._poster.finish(max(until, self._clock.monotonic() + LAST_POSTS_SECONDS))
                self._clean_up(until)
                self._rest(min(round_began + INTERVAL_SECONDS, until))
                round_began = self._clock.monotonic()
                if not self._look():
                    return True
            elif self._serve_page(until):
                self._rest(min(round_began + INTERVAL_SECONDS, until))
                round_began = self._clock.monotonic()
        return False

    def _look(self) -> list[Entry]:
        """What is new in the inbox and can be served now."""
        self._looked_at = self._clock.monotonic()
        entries = self._inboxes.look(self._part, self._known)
        behind = {entry.id for entry in entries if "behind" in entry.content}
        waiting = [e for e in entries if e.id in behind and not self._stragglers.is_due(e.content)]
        self._behind = {id_ for entry in waiting for id_ in stragglers.ids(entry.content)}
        return [entry for entry in entries if entry not in waiting]

    def _take_in(self, until: float) -> None:
        """Let what is new join, and take out what everybody has got."""
        if not self._carousel.is_empty() and self._clock.monotonic() < self._looked_at + LOOK_SECONDS:
            return
        for entry in self._look():
            self._known.add(entry.id)
            if "behind" in entry.content:
                self._pages += 1
                marks = stragglers.marks(self._part.streamer_id, entry.content, self._pages)
                self._poster.leave(self._post(marks, until))
                self._passed.append((self._pages, entry.id))
            else:
                news = News.from_dict(entry.content)
                self._carousel.join(entry.id, news)
                self.event_ids += [event.id for event in news.events]
        self._clean_up(until)

    def _clean_up(self, until: float) -> None:
        """See to those who were not served, and remove what is settled with everybody."""
        self._behind |= self._stragglers.settle(until, self._part)
        first_under_way = min((each.page for each in self._poster.under_way()), default=self._pages + 1)
        settled = [entry_id for page, entry_id in self._passed if page < first_under_way]
        self._inboxes.remove(self._part, settled)
        self._known.difference_update(settled)
        self._passed = [(page, id_) for page, id_ in self._passed if page >= first_under_way]

    def _serve_page(self, until: float) -> bool:
        """Post what rides to the next page of connections; returns whether that was the last of the part."""
        most = FRAMES_OF_SMALL_PARTS if self._part.of == 1 else FRAMES_OF_LARGE_PARTS
        now = self._clock.time()
        told = frames(combine(self._carousel.news(), now), most)
        page_end = self._carousel.page_end()
        found, after = connections.read(
            self._dynamodb,
            self._table,
            self._part.streamer_id,
            datetime.fromtimestamp(now, UTC),
            after=self._carousel.place,
            until=page_end,
            limit=PAGE_CONNECTIONS,
        )
        self._pages += 1
        postings = [
            Posting(self._part.streamer_id, connection, told, page=self._pages)
            for connection in found
            if connection.id not in self._behind
        ]
        place = after or page_end
        if late := self._post(postings, until):
            # The next page begins with them.
            served = [each for each in found if each.place < late[0].connection.place]
            place = served[-1].place if served else self._carousel.place
        self._passed += [(self._pages, entry_id) for entry_id in self._carousel.move(place)]
        return self._carousel.place == self._part.begin

    def _post(self, postings: Sequence[Posting], until: float) -> Sequence[Posting]:
        """Start the postings in this order; returns those that were not started in time.

        While an earlier one to the same connection is under way, that counts as having been left.
        """
        under_way = {posting.connection.id: posting for posting in self._poster.under_way()}
        free = []
        for posting in postings:
            if earlier := under_way.get(posting.connection.id):
                earlier.overtaken = True
            else:
                free.append(posting)
        return free[self._poster.deliver(free, until) :]

    def _rest(self, until: float) -> None:
        """Let what is under way go on until ``until`` (``monotonic``)."""
        self._poster.wait(until)
        self._clock.sleep(max(until - self._clock.monotonic(), 0.0))

    def _hand_over(self, token: str) -> None:
        """Let another invocation go on where this one is. A message that comes twice does not bring two."""
        until = self._clock.monotonic() + LAST_POSTS_SECONDS
        self._poster.finish(until)
        self._clean_up(until)
        next_token = f"{random.getrandbits(64):016x}"
        if not self._inboxes.take(self._part, next_token, token):
            return
        try:
            place = self._carousel.handed_over()
            self._send(Call(self._part, next_token, place, self._poster.rate.per_second), 0)
        except AwsError:
            # The message of this invocation comes again.
            self._inboxes.take(self._part, token, next_token)
            raise
