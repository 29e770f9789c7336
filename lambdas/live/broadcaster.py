"""What becomes of a batch: a small audience is told at once, a large one by whoever serves its parts."""

import dataclasses
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from lambdas.common import connections
from lambdas.common.aws import AwsError, Client
from lambdas.common.observability import logger
from lambdas.live.batch import Batch, Call, sort_out
from lambdas.live.clock import Clock
from lambdas.live.inboxes import Inboxes
from lambdas.live.news import News, combine, frames
from lambdas.live.pacing import Pacing
from lambdas.live.parts import SMALL_AUDIENCE, number_of_parts, parts
from lambdas.live.posting import ForbiddenError, Poster, Posting
from lambdas.live.serving import Serving
from lambdas.live.stragglers import Stragglers

# How long it is remembered in how many parts an audience is, so that not every event reads the registry.
REMEMBERED_SECONDS = 5.0
REMEMBERED = 10_000
# More than all events of a batch take.
FRAMES_AT_ONCE = 10
# A message that failed comes again after 2 seconds, 4, 8, and then as often as this.
MOST_SECONDS_BEFORE_NEXT_TRY = 16
# What the last posts may take after the time is up.
LAST_POSTS_SECONDS = 1.0


@dataclasses.dataclass(slots=True)
class Report:
    """What became of a batch: the messages that must come again, what is wrong with some, its events."""

    failed: list[str] = dataclasses.field(default_factory=list)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)
    event_ids: list[str] = dataclasses.field(default_factory=list)


class Broadcaster:
    """Tells the connections in the registry what comes from the queues ``broadcast`` and ``fan-out``."""

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
        self._stragglers = Stragglers(
            dynamodb, poster, self._inboxes, self._send, connections_table=connections_table, clock=clock
        )
        self._pacing = Pacing()
        # In how many parts the audience of a channel is (0 if it is small), and until when that is believed.
        self._parts: dict[str, tuple[int, float]] = {}

    def broadcast(self, records: list[dict[str, Any]], until: float) -> Report:
        """Tell what is in an SQS event's records, until ``until`` (``time.monotonic``) or a little longer.

        A message that comes again reaches its viewers again. Browsers merge by event id: that is harmless.
        """
        self._poster.begin()
        batch = sort_out(records)
        report = Report(refused=batch.refused)
        try:
            self._tell(batch, until, report)
            for message_id, call in batch.calls.items():
                self._serve(message_id, call, until, report)
        except ForbiddenError as error:
            logger.exception("API Gateway refuses the broadcaster's posts.", extra={"problem": str(error)})
            report.failed = [
                record["messageId"] for record in records if record["messageId"] not in batch.refused
            ]
        self._come_again_soon([record for record in records if record["messageId"] in report.failed])
        return report

    def _tell(self, batch: Batch, until: float, report: Report) -> None:
        """Tell all channels their news, or have it told; each for itself, but for a silent DynamoDB."""
        is_silent = False
        for streamer_id, received in batch.news.items():
            message_ids = batch.message_ids[streamer_id]
            report.event_ids += [event.id for news in received for event in news.events]
            if is_silent or self._clock.monotonic() >= until:
                report.failed += message_ids
                continue
            try:
                news = combine(received, self._clock.time())
                self._tell_channel(streamer_id, news, token=message_ids[0], until=until)
            except AwsError as error:
                logger.exception("Viewers were not reached.", extra={"streamer_id": streamer_id})
                report.failed += message_ids
                is_silent = error.code == "Unreachable"
        self._poster.finish(max(until, self._clock.monotonic() + LAST_POSTS_SECONDS))
        try:
            self._settle()
        except AwsError:
            logger.exception("Viewers who were left are told again.")
            report.failed = [id_ for message_ids in batch.message_ids.values() for id_ in message_ids]

    def _tell_channel(self, streamer_id: str, news: News, *, token: str, until: float) -> None:
        """Post to a small audience; else put the news into the inboxes and call who serves them.

        ``token`` is for the leases. A message that comes again has the same, so what it took is its own.
        """
        now = self._clock.monotonic()
        is_quiet = self._pacing.is_quiet(streamer_id, now)
        number, believed_until = self._parts.get(streamer_id, (0, 0.0))
        if now >= believed_until or (is_quiet and number == 0):
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
                told = frames(news, FRAMES_AT_ONCE)
                postings = [Posting(streamer_id, connection, told) for connection in found]
                self._poster.leave(postings[self._poster.deliver(postings, until) :])
                return
        audience = parts(streamer_id, max(number, 1))
        self._inboxes.put(audience, news.to_dict())
        for part in audience:
            if self._inboxes.take(part, token):
                self._send(Call(part, token))

    def _serve(self, message_id: str, call: Call, until: float, report: Report) -> None:
        """Serve a part of an audience that somebody called for."""
        serving = Serving(
            call,
            dynamodb=self._dynamodb,
            poster=self._poster,
            inboxes=self._inboxes,
            those_left=self._stragglers,
            send=self._send,
            connections_table=self._table,
            clock=self._clock,
        )
        try:
            serving.serve(call.token or message_id, until)
            # Connections that are being closed.
            self._poster.finish(self._clock.monotonic() + LAST_POSTS_SECONDS)
            self._settle()
        except AwsError:
            logger.exception("The part is not served.", extra={"streamer_id": call.part.streamer_id})
            report.failed.append(message_id)
        report.event_ids += serving.event_ids

    def _settle(self) -> None:
        """See to those who were not served, and once more to those who are closed for that."""
        until = self._clock.monotonic() + LAST_POSTS_SECONDS
        self._stragglers.settle(until)
        if self._poster.under_way():
            self._poster.finish(until)
            self._stragglers.settle(until)

    def _remember(self, streamer_id: str, number_of_parts: int, now: float) -> None:
        if len(self._parts) >= REMEMBERED:
            self._parts = {id_: known for id_, known in self._parts.items() if known[1] > now}
        self._parts[streamer_id] = number_of_parts, now + REMEMBERED_SECONDS

    def _come_again_soon(self, records: Iterable[dict[str, Any]]) -> None:
        """Let messages that failed come again before the visibility timeout has passed."""
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
                logger.exception("Messages come again later.")

    def _send(self, call: Call, delay_seconds: int = 0) -> None:
        """Call for a part to be served."""
        self._sqs.call(
            "SendMessage",
            {
                "QueueUrl": self._fan_out_queue_url,
                "MessageBody": call.to_json(),
                "DelaySeconds": delay_seconds,
            },
        )


def _seconds_before_next_try(record: dict[str, Any]) -> int:
    received = int(record["attributes"]["ApproximateReceiveCount"])
    return min(int(2**received), MOST_SECONDS_BEFORE_NEXT_TRY)
