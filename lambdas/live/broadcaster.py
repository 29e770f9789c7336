"""Broadcasting a batch of messages.

If a channel is quiet and has few viewers, this invocation posts its update to them at once. Otherwise it puts
the update into the inbox of each part of the audience, and requests that the parts are served.
"""

import dataclasses
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from lambdas.common import connections
from lambdas.common.aws import AwsError, Client
from lambdas.common.observability import logger
from lambdas.live.batch import Batch, ServePart, parse_batch
from lambdas.live.clock import Clock
from lambdas.live.frequency_limit import FrequencyLimit
from lambdas.live.inboxes import Inboxes
from lambdas.live.parts import SMALL_AUDIENCE, number_of_parts, parts
from lambdas.live.posting import ForbiddenError, Poster, Posting
from lambdas.live.serving import Serving
from lambdas.live.unserved import Unserved
from lambdas.live.update import Update, combine, frames

# A channel that has events more often than this, apart from a few in a row, is busy: a frame for each would
# cost a post for each event and viewer, so they go into the inboxes and gather in one frame
# (docs/adr/0024-one-frame-in-flight.md).
QUIET_INTERVAL_SECONDS, QUIET_IN_A_ROW = 0.5, 3
# The number of parts of an audience is remembered for so long, so that not every event reads the registry.
REMEMBERED_SECONDS = 5.0
REMEMBERED = 10_000
# All events of a batch fit into fewer frames.
FRAMES_AT_ONCE = 10
# A message that failed is received again after 2 seconds, 4, and from then on after this many: so long after
# the cause is gone, the live feed is right again.
MOST_SECONDS_BEFORE_NEXT_TRY = 8
# How long the last posts may take after the time is up.
LAST_POSTS_SECONDS = 1.0


@dataclasses.dataclass(slots=True)
class Report:
    """What became of a batch, by message id: ``failed`` messages must be received again, ``refused`` ones are
    malformed, for the reason given. ``event_ids`` are those of its events.
    """

    failed: list[str] = dataclasses.field(default_factory=list)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)
    event_ids: list[str] = dataclasses.field(default_factory=list)


class Broadcaster:
    """Sends what the queues ``broadcast`` and ``fan-out`` bring to the connections in the registry."""

    def __init__(
        self,
        dynamodb: Client,
        sqs: Client,
        poster: Poster,
        *,
        connections_table: str,
        inboxes_table: str,
        broadcast_queue_url: str,
        fan_out_queue_url: str,
        clock: Clock = time,
    ) -> None:
        self._dynamodb = dynamodb
        self._sqs = sqs
        self._poster = poster
        self._table = connections_table
        self._fan_out_queue_url = fan_out_queue_url
        self._queue_urls = {url.rpartition("/")[2]: url for url in (broadcast_queue_url, fan_out_queue_url)}
        self._clock = clock
        self._inboxes = Inboxes(dynamodb, inboxes_table, clock)
        self._unserved = Unserved(
            dynamodb,
            poster,
            self._inboxes,
            self._send_request,
            connections_table=connections_table,
            clock=clock,
        )
        self._quiet_channels = FrequencyLimit(QUIET_INTERVAL_SECONDS, QUIET_IN_A_ROW)
        # For each channel the number of its audience's parts (0: a small audience), and until when to use it.
        self._parts: dict[str, tuple[int, float]] = {}

    def broadcast(self, records: list[dict[str, Any]], until: float) -> Report:
        """Broadcast an SQS event's records, until ``until`` (``time.monotonic``) or a little longer.

        A message that is received twice is sent to the viewers twice; browsers merge events by their ids.
        """
        self._poster.begin()
        batch = parse_batch(records)
        report = Report(refused=batch.refused)
        try:
            self._send_updates(batch, until, report)
            for message_id, request in batch.requests.items():
                self._serve(message_id, request, until, report)
        except ForbiddenError as error:
            logger.exception("API Gateway refuses the broadcaster's posts.", extra={"problem": str(error)})
            report.failed = [
                record["messageId"] for record in records if record["messageId"] not in batch.refused
            ]
        self._retry_soon([record for record in records if record["messageId"] in report.failed])
        return report

    def _send_updates(self, batch: Batch, until: float, report: Report) -> None:
        """Send the updates of all channels.

        A channel that fails does not stop the others, but if DynamoDB does not answer, the rest fails.
        """
        is_silent = False
        for streamer_id, received in batch.updates.items():
            message_ids = batch.message_ids[streamer_id]
            report.event_ids += [event.id for update in received for event in update.events]
            if is_silent or self._clock.monotonic() >= until:
                report.failed += message_ids
                continue
            try:
                update = combine(received, self._clock.time())
                self._send_update(streamer_id, update, token=message_ids[0], until=until)
            except AwsError as error:
                logger.exception("Viewers were not reached.", extra={"streamer_id": streamer_id})
                report.failed += message_ids
                is_silent = error.code == "Unreachable"
        self._poster.finish(max(until, self._clock.monotonic() + LAST_POSTS_SECONDS))
        try:
            self._handle_unserved()
        except AwsError:
            logger.exception("Viewers who were not served could not be noted; the batch is sent again.")
            report.failed = [id_ for message_ids in batch.message_ids.values() for id_ in message_ids]

    def _send_update(self, streamer_id: str, update: Update, *, token: str, until: float) -> None:
        """Post to a small audience; otherwise fill the parts' inboxes and request that they are served.

        ``token`` is for the leases. It is the same when a message is received again, which then holds the
        leases that it took before.
        """
        now = self._clock.monotonic()
        is_quiet = self._quiet_channels.allows(streamer_id, now)
        number, known_until = self._parts.get(streamer_id, (0, 0.0))
        if now >= known_until or (is_quiet and number == 0):
            found, after = connections.read(
                self._dynamodb,
                self._table,
                streamer_id,
                datetime.fromtimestamp(self._clock.time(), UTC),
                limit=SMALL_AUDIENCE + 1,
            )
            number = number_of_parts(SMALL_AUDIENCE + 1, after) if after else 0
            self._remember(streamer_id, number, now)
            if is_quiet and number == 0:
                to_post = frames(update, FRAMES_AT_ONCE)
                postings = [Posting(streamer_id, connection, to_post) for connection in found]
                self._poster.give_up(postings[self._poster.deliver(postings, until) :])
                return
        audience = parts(streamer_id, max(number, 1))
        self._inboxes.put(audience, update.to_dict())
        for part in audience:
            if self._clock.monotonic() >= until + LAST_POSTS_SECONDS:
                raise AwsError("dynamodb:UpdateItem", "Slow", "some parts' leases were not tried in time")
            if self._inboxes.take_lease(part, token):
                self._send_request(ServePart(part, token))

    def _serve(self, message_id: str, request: ServePart, until: float, report: Report) -> None:
        """Serve a part of an audience, as requested."""
        serving = Serving(
            request,
            dynamodb=self._dynamodb,
            poster=self._poster,
            inboxes=self._inboxes,
            unserved=self._unserved,
            send_request=self._send_request,
            connections_table=self._table,
            clock=self._clock,
        )
        try:
            serving.serve(message_id, until)
            # Finish closing connections.
            self._poster.finish(self._clock.monotonic() + LAST_POSTS_SECONDS)
            self._handle_unserved()
        except AwsError:
            logger.exception("The part is not served.", extra={"streamer_id": request.part.streamer_id})
            report.failed.append(message_id)
        report.event_ids += serving.event_ids

    def _handle_unserved(self) -> None:
        """Handle connections that were not served; if that closes some, wait for it and handle these, too."""
        until = self._clock.monotonic() + LAST_POSTS_SECONDS
        self._unserved.handle(until)
        if self._poster.under_way():
            self._poster.finish(until)
            self._unserved.handle(until)

    def _remember(self, streamer_id: str, number_of_parts: int, now: float) -> None:
        if len(self._parts) >= REMEMBERED:
            self._parts = {id_: known for id_, known in self._parts.items() if known[1] > now}
        self._parts[streamer_id] = number_of_parts, now + REMEMBERED_SECONDS

    def _retry_soon(self, records: Iterable[dict[str, Any]]) -> None:
        """Shorten the visibility timeout of messages that failed, so that they are received again soon."""
        by_queue: dict[str, list[dict[str, Any]]] = {}
        for record in records:
            by_queue.setdefault(record["eventSourceARN"].rpartition(":")[2], []).append(record)
        for queue, failed in by_queue.items():
            entries = [
                {
                    "Id": str(number),
                    "ReceiptHandle": record["receiptHandle"],
                    "VisibilityTimeout": _seconds_before_next_try(record),
                }
                for number, record in enumerate(failed)
            ]
            try:
                self._sqs.call(
                    "ChangeMessageVisibilityBatch", {"QueueUrl": self._queue_urls[queue], "Entries": entries}
                )
            except AwsError:
                logger.exception("Messages are received again only after the queue's visibility timeout.")

    def _send_request(self, request: ServePart, delay_seconds: int = 0) -> None:
        """Request that a part is served."""
        self._sqs.call(
            "SendMessage",
            {
                "QueueUrl": self._fan_out_queue_url,
                "MessageBody": request.to_json(),
                "DelaySeconds": delay_seconds,
            },
        )


def _seconds_before_next_try(record: dict[str, Any]) -> int:
    received = int(record["attributes"]["ApproximateReceiveCount"])
    return min(int(2**received), MOST_SECONDS_BEFORE_NEXT_TRY)
