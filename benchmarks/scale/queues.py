"""SQS queues, and the event sources by which Lambda serves them."""

import itertools
import random
from collections import deque
from typing import Any

from benchmarks.scale import constants
from benchmarks.scale.clock import Clock
from benchmarks.scale.functions import Function

Parameters = dict[str, Any]


class Message:
    """One message; ``receipt`` is that of the newest time that it was received."""

    __slots__ = ("body", "id", "receipt", "received", "sent_at", "visible_at")

    def __init__(self, id_: str, body: str, sent_at: float) -> None:
        self.id = id_
        self.body = body
        self.sent_at = sent_at
        self.received = 0
        self.receipt = ""
        # When it is seen again, while it is being handled.
        self.visible_at = 0.0


class Queue:
    """One standard queue with its dead letters."""

    def __init__(self, clock: Clock, name: str, *, visibility_timeout: float, max_receive_count: int) -> None:
        self.name = name
        self._clock = clock
        self._visibility_timeout = visibility_timeout
        self._max_receive_count = max_receive_count
        self._numbers = itertools.count(1)
        self.visible: deque[Message] = deque()
        self._received: dict[str, Message] = {}
        self.dead_letters: list[Message] = []
        self.source: EventSource | None = None
        self.sent = 0
        # How many there were at the most, those that wait for their time included.
        self.most = 0
        self._delayed = 0

    def __len__(self) -> int:
        """How many messages there are, whether they can be seen or not."""
        return len(self.visible) + len(self._received) + self._delayed

    def send(self, body: str, delay: float = 0.0) -> str:
        """Put a message there."""
        self.sent += 1
        message = Message(f"{self.name}-{next(self._numbers)}", body, self._clock.now)
        self._delayed += 1
        self._clock.at(self._clock.now + delay, self._appear, message)
        self.most = max(self.most, len(self))
        return message.id

    def receive(self, most: int) -> list[Message]:
        """Take messages, which nobody sees until their visibility timeout has passed."""
        taken: list[Message] = []
        while self.visible and len(taken) < most:
            message = self.visible.popleft()
            if message.received >= self._max_receive_count:
                self.dead_letters.append(message)
                continue
            message.received += 1
            message.receipt = f"{message.id}#{message.received}"
            self._received[message.receipt] = message
            self._hide(message, self._visibility_timeout)
            taken.append(message)
        return taken

    def delete(self, receipt: str) -> None:
        """The message has been handled."""
        self._received.pop(receipt, None)

    def change_visibility(self, receipt: str, seconds: float) -> None:
        """Show the message again after so long. Ignored for one that has been deleted or received anew."""
        if message := self._received.get(receipt):
            self._hide(message, seconds)

    def _hide(self, message: Message, seconds: float) -> None:
        message.visible_at = self._clock.now + seconds
        self._clock.at(message.visible_at, self._reappear, message, message.receipt)

    def _reappear(self, message: Message, receipt: str) -> None:
        if receipt in self._received and message.visible_at <= self._clock.now:
            del self._received[receipt]
            self._delayed += 1
            self._appear(message)

    def _appear(self, message: Message) -> None:
        self._delayed -= 1
        self.visible.append(message)
        if self.source:
            self.source.look()


class EventSource:
    """Lambda's pollers of one queue: batches to a function."""

    def __init__(
        self,
        clock: Clock,
        queue: Queue,
        function: Function,
        *,
        batch_size: int,
        max_concurrency: int,
        window: float = 0.0,
    ) -> None:
        self._clock = clock
        self._queue = queue
        self._function = function
        self._batch_size = batch_size
        self._window = window
        self._max_concurrency = max_concurrency
        self._pollers = float(constants.POLLERS)
        self._running = 0
        self._is_gathering = False
        queue.source = self
        clock.at(1.0, self._scale)

    def look(self) -> None:
        """Take what can be seen, if there is a poller for it."""
        while self._queue.visible and self._running < min(self._pollers, self._max_concurrency):
            if self._window and len(self._queue.visible) < self._batch_size:
                if not self._is_gathering:
                    self._is_gathering = True
                    self._clock.at(self._clock.now + self._window, self._gathered)
                return
            self._invoke()

    def _gathered(self) -> None:
        self._is_gathering = False
        if self._queue.visible and self._running < min(self._pollers, self._max_concurrency):
            self._invoke()
        self.look()

    def _invoke(self) -> None:
        if not self._function.has_room():
            # Lambda says that there is no room, and the poller tries again.
            self._clock.at(self._clock.now + 0.1, self.look)
            return
        messages = self._queue.receive(self._batch_size)
        if not messages:
            return
        self._running += 1
        epoch = self._function.world_time()
        records = [
            {
                "messageId": message.id,
                "receiptHandle": message.receipt,
                "body": message.body,
                "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{self._queue.name}",
                "attributes": {
                    "ApproximateReceiveCount": str(message.received),
                    "SentTimestamp": str(int((epoch + message.sent_at - self._clock.now) * 1000)),
                },
            }
            for message in messages
        ]
        receipts = {message.id: message.receipt for message in messages}
        self._function.invoke({"Records": records}, self._ended, receipts)

    def _ended(self, answer: dict[str, Any] | None, receipts: dict[str, str]) -> None:
        self._running -= 1
        if answer is not None:
            failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
            for id_, receipt in receipts.items():
                if id_ not in failed:
                    self._queue.delete(receipt)
        self.look()

    def _scale(self) -> None:
        # Whoever waits now was not served by the pollers there are.
        more = constants.MORE_POLLERS_A_SECOND if self._queue.visible else -constants.MORE_POLLERS_A_SECOND
        # A poller that waits for its batch does not end.
        least = max(constants.POLLERS, self._running)
        self._pollers = min(max(self._pollers + more, least), self._max_concurrency)
        self._clock.at(self._clock.now + 1.0, self._scale)
        self.look()


class SQS:
    """The service: actions by name. A queue's URL is its name."""

    def __init__(self, queues: dict[str, Queue], rng: random.Random) -> None:
        self.queues = queues
        self.rng = rng

    def call(self, action: str, parameters: Parameters) -> tuple[Parameters, int]:
        """What the action answers."""
        queue = self.queues[parameters["QueueUrl"]]
        match action:
            case "SendMessage":
                id_ = queue.send(parameters["MessageBody"], parameters.get("DelaySeconds", 0))
                return {"MessageId": id_}, 1
            case "SendMessageBatch":
                sent = [
                    {
                        "Id": entry["Id"],
                        "MessageId": queue.send(entry["MessageBody"], entry.get("DelaySeconds", 0)),
                    }
                    for entry in parameters["Entries"]
                ]
                return {"Successful": sent, "Failed": []}, len(sent)
            case "ChangeMessageVisibility":
                queue.change_visibility(parameters["ReceiptHandle"], parameters["VisibilityTimeout"])
                return {}, 1
            case "ChangeMessageVisibilityBatch":
                for entry in parameters["Entries"]:
                    queue.change_visibility(entry["ReceiptHandle"], entry["VisibilityTimeout"])
                return {
                    "Successful": [{"Id": entry["Id"]} for entry in parameters["Entries"]],
                    "Failed": [],
                }, 1
        raise ValueError(f"the model does not know {action}")
