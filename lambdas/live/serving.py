"""Serving a part of an audience, by the holder of its lease.

Round after round it reads the part's connections page by page, and posts to each page the updates in the
part's inbox that this page has not got. This limits the frames a second: a viewer gets at most one frame with
events in a round (four if the audience has one part only), and a round takes ``ROUND_SECONDS`` or, if there
are many viewers, as long as its posts.
"""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from lambdas.common import connections
from lambdas.common.aws import AwsError, Client
from lambdas.common.observability import logger
from lambdas.live.batch import ServePart
from lambdas.live.clock import Clock
from lambdas.live.inboxes import Entry, Inboxes
from lambdas.live.posting import Poster, Posting
from lambdas.live.rotation import Rotation
from lambdas.live.unserved import Unserved, connection_ids, is_unserved, marks
from lambdas.live.update import Update, combine, frames

# A round takes at least this, so that events gather in one frame.
ROUND_SECONDS = 0.5
# Connections that get the same frame. The inbox is read before each page.
PAGE_CONNECTIONS = 500
# Most frames with events in a round. In a large part more would make the round longer.
FRAMES_OF_SMALL_PARTS, FRAMES_OF_LARGE_PARTS = 4, 1
# How long a page waits, at most, for the answers to earlier posts to its connections.
CATCH_UP_SECONDS = 1.0
# The inbox is not read more often than this. A read costs a read unit for each 4 KB of it, of which DynamoDB
# serves 3,000 a second.
INBOX_SECONDS = 0.1
# How long the last posts may take when the time is up.
LAST_POSTS_SECONDS = 1.0


class Serving:
    """One part, served by one invocation."""

    def __init__(
        self,
        request: ServePart,
        *,
        dynamodb: Client,
        poster: Poster,
        inboxes: Inboxes,
        unserved: Unserved,
        send_request: Callable[[ServePart, int], None],
        connections_table: str,
        clock: Clock,
    ) -> None:
        self.event_ids: list[str] = []
        """The events that were read from the inbox."""
        self._part = request.part
        self._requested_with = request.token
        self._per_second = request.per_second
        self._rotation = Rotation(request.part, **request.rotation)
        self._dynamodb = dynamodb
        self._poster = poster
        self._inboxes = inboxes
        self._unserved = unserved
        self._send_request = send_request
        self._table = connections_table
        self._clock = clock
        self._pages = 0
        self._inbox_read_at = 0.0
        # The ids of the entries that were read and are still in the inbox.
        self._known: set[str] = set()
        # The entries whose last page was started, with that page's number.
        self._last_pages: list[tuple[int, str]] = []
        # The ids of the connections that wait for the mark, and get nothing else until then.
        self._waiting: set[str] = set()

    def serve(self, token: str, until: float) -> None:
        """Serve the part if ``token`` holds or can take its lease; do nothing if another holds it.

        ``token`` takes the place of the request's, so of two equal requests only one is served. At ``until``
        (``monotonic``) the rest is handed over to another invocation. Raises AwsError and ForbiddenError.
        """
        if not self._inboxes.take_lease(self._part, token, self._requested_with):
            return
        self._poster.rate.share(self._part.of)
        if self._per_second:
            self._poster.rate.go_on(self._per_second)
        while self._serve_all(until):
            self._inboxes.release_lease(self._part, token)
            # Another invocation may have put in an entry and found the lease taken.
            if not self._read_inbox() or not self._inboxes.take_lease(self._part, token):
                return
        self._hand_over(token)

    def _serve_all(self, until: float) -> bool:
        """Serve until the inbox is empty; returns False if the time is up before."""
        # A round begins with its first page.
        round_ends = 0.0
        while self._clock.monotonic() < until:
            self._add_updates(until)
            if self._rotation.is_empty():
                self._finish(max(until, self._clock.monotonic() + LAST_POSTS_SECONDS))
                self._wait(min(round_ends, until))
                round_ends = 0.0
                if not self._read_inbox():
                    return True
                continue
            round_ends = round_ends or self._clock.monotonic() + ROUND_SECONDS
            if self._serve_page(until):
                self._wait(min(round_ends, until))
                round_ends = 0.0
        return False

    def _read_inbox(self) -> list[Entry]:
        """The new entries that can be served now."""
        self._inbox_read_at = self._clock.monotonic()
        entries = self._inboxes.read(self._part, self._known)
        waiting = [
            entry
            for entry in entries
            if is_unserved(entry.content) and not self._unserved.is_due(entry.content)
        ]
        self._waiting = {id_ for entry in waiting for id_ in connection_ids(entry.content)}
        return [entry for entry in entries if entry not in waiting]

    def _add_updates(self, until: float) -> None:
        """Add the new updates in the inbox to the rotation, post the marks that are due, and clean up."""
        if not self._rotation.is_empty() and self._clock.monotonic() < self._inbox_read_at + INBOX_SECONDS:
            return
        for entry in self._read_inbox():
            self._known.add(entry.id)
            if is_unserved(entry.content):
                self._pages += 1
                postings = marks(self._part.streamer_id, entry.content, self._pages)
                self._poster.give_up(self._post(postings, until))
                self._last_pages.append((self._pages, entry.id))
            else:
                update = Update.from_dict(entry.content)
                self._rotation.add(entry.id, update)
                self.event_ids += [event.id for event in update.events]
        self._clean_up(until)

    def _finish(self, until: float) -> None:
        """Wait for the last answers, and clean up; if that closes connections, wait for it, too."""
        self._poster.finish(until)
        self._clean_up(until)
        if self._poster.under_way():
            self._poster.finish(until)
            self._clean_up(until)

    def _clean_up(self, until: float) -> None:
        """Handle connections that were not served, and remove the entries that need no more posts."""
        self._waiting |= self._unserved.handle(until, self._part)
        first_under_way = min((each.page for each in self._poster.under_way()), default=self._pages + 1)
        done = [entry_id for page, entry_id in self._last_pages if page < first_under_way]
        try:
            self._inboxes.remove(self._part, done)
        except AwsError as error:
            if error.code == "Unreachable":
                raise
            # An error here would send all updates again. The next call removes the entries.
            logger.warning("DynamoDB is too busy to remove what was sent: %s", error)
            return
        self._known.difference_update(done)
        self._last_pages = [(page, id_) for page, id_ in self._last_pages if page >= first_under_way]

    def _serve_page(self, until: float) -> bool:
        """Post the updates to the next page of connections; returns whether it was the last of the round."""
        most = FRAMES_OF_SMALL_PARTS if self._part.of == 1 else FRAMES_OF_LARGE_PARTS
        now = self._clock.time()
        to_post = frames(combine(self._rotation.updates(), now), most)
        page_end = self._rotation.page_end()
        found, after = connections.read(
            self._dynamodb,
            self._table,
            self._part.streamer_id,
            datetime.fromtimestamp(now, UTC),
            after=self._rotation.place,
            until=page_end,
            limit=PAGE_CONNECTIONS,
        )
        self._pages += 1
        postings = [
            Posting(self._part.streamer_id, connection, to_post, page=self._pages)
            for connection in found
            if connection.id not in self._waiting
        ]
        place = after or page_end
        if late := self._post(postings, until):
            # The next page begins with them.
            served = [each for each in found if each.place < late[0].connection.place]
            place = served[-1].place if served else self._rotation.place
        self._last_pages += [(self._pages, entry_id) for entry_id in self._rotation.move(place)]
        return self._rotation.place == self._part.begin

    def _post(self, postings: Sequence[Posting], until: float) -> Sequence[Posting]:
        """Start the postings in this order; returns those that were not started in time.

        A connection with an earlier posting under way gets no other; the earlier one is ``overtaken``.
        """
        self._poster.take_answers()
        ids = {posting.connection.id for posting in postings}
        self._poster.catch_up(ids, min(until, self._clock.monotonic() + CATCH_UP_SECONDS))
        under_way = {posting.connection.id: posting for posting in self._poster.under_way()}
        free = []
        for posting in postings:
            if earlier := under_way.get(posting.connection.id):
                earlier.overtaken = True
            else:
                free.append(posting)
        return free[self._poster.deliver(free, until) :]

    def _wait(self, until: float) -> None:
        """Wait until ``until`` (``monotonic``), and continue the posts that are under way."""
        self._poster.wait(until)
        self._clock.sleep(max(until - self._clock.monotonic(), 0.0))

    def _hand_over(self, token: str) -> None:
        """Let another invocation continue from here. If it gets the request twice, only one continues."""
        self._finish(self._clock.monotonic() + LAST_POSTS_SECONDS)
        next_token = f"{random.getrandbits(64):016x}"
        if not self._inboxes.take_lease(self._part, next_token, token):
            return
        rotation = self._rotation.handed_over()
        try:
            self._send_request(ServePart(self._part, next_token, rotation, self._poster.rate.per_second), 0)
        except AwsError:
            # The request of this invocation is received again, and needs the lease.
            self._inboxes.take_lease(self._part, token, next_token)
            raise
