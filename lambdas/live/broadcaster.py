"""Who gets which frames now, who gets them from another invocation, and what is done about the rest."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from lambdas.common import connections
from lambdas.common.aws import AwsError, Client
from lambdas.common.observability import logger
from lambdas.live import frames
from lambdas.live.batch import Batch, Message, gathered
from lambdas.live.coalescing import Coalescer
from lambdas.live.fanout import CHUNK_CONNECTIONS, Chunk, Remainder
from lambdas.live.posting import Outcome, Poster, Posting

# Connections that are hard to reach do not hold up new events for longer: they are handed over.
PATIENCE_SECONDS = 5.0
# What is left waits so long in the queue: whatever is wrong has been wrong for seconds already.
LEFT_DELAY_SECONDS = 2


class Broadcaster:
    """Sends frames to the connections in the registry, directly or by way of the fan-out queue."""

    def __init__(
        self,
        dynamodb: Client,
        sqs: Client,
        poster: Poster,
        *,
        table: str,
        gather_queue_url: str,
        fan_out_queue_url: str,
    ) -> None:
        self._dynamodb = dynamodb
        self._sqs = sqs
        self._courier = poster
        self._table = table
        self._gather_queue_url = gather_queue_url
        self._fan_out_queue_url = fan_out_queue_url
        self._pace = Coalescer()

    def broadcast(self, batch: Batch, until: float) -> tuple[Outcome, list[str]]:
        """Send what is in the batch, until ``until`` (``time.monotonic``) at the latest.

        Returns what came of it, and the ids of the messages that must come again as they are. Whatever else
        could not be sent has been handed to another invocation.
        """
        if not batch.chunks:
            until = min(until, time.monotonic() + PATIENCE_SECONDS)
        failed: list[str] = []
        deliveries = [
            delivery
            for message_id, chunk in batch.chunks.items()
            for delivery in _deliveries([message_id], chunk)
        ]
        for message_ids, audience in self._audiences(batch, failed):
            try:
                deliveries += self._reach(message_ids, audience, until)
            except AwsError:
                # One channel's trouble is not the others'.
                logger.exception("Viewers were not reached.", extra={"streamer_id": audience.streamer_id})
                failed += self._put_off(message_ids, audience, batch.remainders)
        outcome = self._courier.deliver(deliveries, until)
        for streamer_id in {delivery.streamer_id for delivery in deliveries}:
            self._pace.served(streamer_id, time.monotonic())
        self._forget(outcome.gone)
        failed += self._hand_back(outcome.left, batch.chunks)
        return outcome, list(dict.fromkeys(failed))

    def _audiences(self, batch: Batch, failed: list[str]) -> Iterator[tuple[list[str], Remainder]]:
        """What is to be sent now, with the ids of its messages. Events of busy channels are put off."""
        busy: list[Message] = []
        for streamer_id, messages in batch.channels.items():
            if self._pace.is_quiet(streamer_id, time.monotonic()):
                yield _everybody(streamer_id, messages)
            else:
                busy += messages
        if busy:
            try:
                self._send(self._gather_queue_url, gathered(message.event for message in busy))
            except AwsError:
                logger.exception("Events could not be gathered.")
                failed += [message.id for message in busy]
        for streamer_id, messages in batch.gathered.items():
            yield _everybody(streamer_id, messages)
        for message_id, remainder in batch.remainders.items():
            yield [message_id], remainder

    def _reach(self, message_ids: list[str], audience: Remainder, until: float) -> list[Posting]:
        """The deliveries to a small audience; a large one is handed over, chunk by chunk while it is read.

        Raises AwsError if that is not possible.
        """
        chunk, after = self._read(audience)
        if not after:
            return _deliveries(message_ids, chunk)
        self._hand_over(chunk)
        while after and time.monotonic() < until:
            try:
                chunk, after = self._read(Remainder(audience.streamer_id, audience.frames, after))
            except AwsError:
                logger.exception(
                    "Another invocation is to read on.", extra={"streamer_id": audience.streamer_id}
                )
                break
            self._hand_over(chunk)
        if after:
            self._hand_over(Remainder(audience.streamer_id, audience.frames, after))
        return []

    def _put_off(
        self, message_ids: list[str], audience: Remainder, remainders: dict[str, Remainder]
    ) -> list[str]:
        """Hand an audience over that was not reached: the queue would bring the message again much later.

        Returns the ids of the messages that must come again: what has been put off before does, so that the
        queue counts how often that happens.
        """
        if message_ids[0] in remainders:
            return message_ids
        try:
            self._hand_over(audience, LEFT_DELAY_SECONDS)
        except AwsError:
            logger.exception("What was not reached comes again.", extra={"streamer_id": audience.streamer_id})
            return message_ids
        return []

    def _read(self, audience: Remainder) -> tuple[Chunk, str]:
        """The next connections of an audience, and the place in the registry after which there are more."""
        found, after = connections.read(
            self._dynamodb,
            self._table,
            audience.streamer_id,
            datetime.now(UTC),
            after=audience.after,
            limit=CHUNK_CONNECTIONS,
        )
        return Chunk(audience.streamer_id, audience.frames, found), after

    def _forget(self, gone: list[Posting]) -> None:
        """Remove connections from the registry. One that stays is found gone again, or expires."""
        by_channel: dict[str, list[str]] = {}
        for delivery in gone:
            by_channel.setdefault(delivery.streamer_id, []).append(delivery.connection.id)
        for streamer_id, ids in by_channel.items():
            try:
                connections.remove_all(self._dynamodb, self._table, streamer_id, ids)
            except AwsError:
                logger.exception("Connections that are gone stay.", extra={"streamer_id": streamer_id})

    def _hand_back(self, left: list[Posting], chunks: dict[str, Chunk]) -> list[str]:
        """Hand over what is left: these connections, with the frames that they have not got yet.

        Returns the ids of the messages that must come again instead: those of chunks of which nothing has
        arrived, so that the queue counts how often that happens and puts them aside in the end.
        """
        groups: dict[tuple[int, int], list[Posting]] = {}
        for delivery in left:
            groups.setdefault((id(delivery.frames), delivery.posted), []).append(delivery)
        failed: list[str] = []
        for (_, posted), deliveries in groups.items():
            first = deliveries[0]
            origin = chunks.get(first.message_ids[0])
            if origin and not posted and len(deliveries) == len(origin.connections):
                failed += first.message_ids
                continue
            chunk = Chunk(
                first.streamer_id, first.frames[posted:], [delivery.connection for delivery in deliveries]
            )
            try:
                self._hand_over(chunk, LEFT_DELAY_SECONDS)
            except AwsError:
                logger.exception("What is left comes again.", extra={"streamer_id": first.streamer_id})
                failed += first.message_ids
        return failed

    def _hand_over(self, work: Chunk | Remainder, delay_seconds: int = 0) -> None:
        for message in work.messages():
            self._send(self._fan_out_queue_url, message, delay_seconds)

    def _send(self, queue_url: str, message: str, delay_seconds: int = 0) -> None:
        self._sqs.call(
            "SendMessage", {"QueueUrl": queue_url, "MessageBody": message, "DelaySeconds": delay_seconds}
        )


def _everybody(streamer_id: str, messages: list[Message]) -> tuple[list[str], Remainder]:
    packed = list(frames.pack(message.event for message in messages))
    return [message.id for message in messages], Remainder(streamer_id, packed, after="")


def _deliveries(message_ids: Sequence[str], chunk: Chunk) -> list[Posting]:
    return [
        Posting(message_ids, chunk.streamer_id, connection, chunk.frames) for connection in chunk.connections
    ]
