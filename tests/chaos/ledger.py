"""What was accepted, and what became of it. It shares no code with the product.

A *delivery* is accepted when the webhook answered it with 204. From then on it must be recorded and counted
once, and every watcher must see it.
"""

import dataclasses
import hashlib
import hmac
import json
import queue
import random
import threading
import time
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import urllib3

from tests.e2e.clients import Cloud

ATTEMPT_SECONDS = 5
#: Between attempts, as long as it is not accepted. Twitch waits longer.
RETRY_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Channel:
    """A channel that events are sent for."""

    id: str
    login: str


@dataclasses.dataclass(frozen=True)
class Delivery:
    """A notification as Twitch signs it; each attempt is the same message."""

    id: str
    channel: Channel
    body: bytes
    headers: dict[str, str]


def timestamp(ago: timedelta = timedelta(0)) -> str:
    """A time as Twitch writes it."""
    return (datetime.now(UTC) - ago).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def sign(
    secret: str,
    body: bytes,
    *,
    id_: str | None = None,
    stamp: str | None = None,
    message_type: str = "notification",
) -> dict[str, str]:
    """The headers of a message.

    https://dev.twitch.tv/docs/eventsub/handling-webhook-events/#verifying-the-event-message
    """
    id_ = str(uuid.uuid4()) if id_ is None else id_
    stamp = timestamp() if stamp is None else stamp
    digest = hmac.new(secret.encode(), id_.encode() + stamp.encode() + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "Twitch-Eventsub-Message-Id": id_,
        "Twitch-Eventsub-Message-Retry": "0",
        "Twitch-Eventsub-Message-Type": message_type,
        "Twitch-Eventsub-Message-Signature": f"sha256={digest}",
        "Twitch-Eventsub-Message-Timestamp": stamp,
    }


def notify(
    channel: Channel, secret: str, event_type: str, event: dict[str, Any], field: str = "broadcaster_user_id"
) -> Delivery:
    """A new delivery of an event of the channel, which ``field`` of the subscription's condition names."""
    id_ = str(uuid.uuid4())
    subscription = {
        "id": str(uuid.uuid4()),
        "type": event_type,
        "version": "1",
        "status": "enabled",
        "cost": 0,
        "condition": {field: channel.id},
        "transport": {"method": "webhook", "callback": "https://example.com/"},
        "created_at": "2026-01-01T00:00:00Z",
    }
    body = json.dumps({"subscription": subscription, "event": event}).encode()
    return Delivery(id_, channel, body, sign(secret, body, id_=id_))


def raid(channel: Channel, secret: str, viewers: int) -> Delivery:
    """A new delivery that tells of a raid of the channel."""
    event = {
        "from_broadcaster_user_id": "7",
        "from_broadcaster_user_login": "wren",
        "from_broadcaster_user_name": "Wren",
        "to_broadcaster_user_id": channel.id,
        "to_broadcaster_user_login": channel.login,
        "to_broadcaster_user_name": channel.login.title(),
        "viewers": viewers,
    }
    return notify(channel, secret, "channel.raid", event, "to_broadcaster_user_id")


class Traffic:
    """Sends deliveries to the webhook at a steady rate, each until it is accepted, and keeps the ledger."""

    def __init__(self, cloud: Cloud, channels: list[Channel], secret: str, *, per_second: float) -> None:
        self.cloud, self.channels, self.secret = cloud, channels, secret
        self.accepted: dict[str, Channel] = {}
        self.tries = 0
        self.refused: Counter[int] = Counter()
        """Valid deliveries answered 4xx, by status: there must be none."""
        self._per_second = per_second
        self._waiting: queue.Queue[Delivery] = queue.Queue()
        self._sending, self._ended = threading.Event(), threading.Event()
        self._unfinished = 0
        self._lock = threading.Lock()
        self._pool = urllib3.PoolManager(retries=False, timeout=ATTEMPT_SECONDS, maxsize=16)
        for work in (self._generate, *[self._deliver] * 8):
            threading.Thread(target=work, daemon=True).start()

    def begin(self) -> None:
        """Send from now on."""
        self._sending.set()

    def pause(self, within: float) -> int:
        """Send nothing new, and wait until what was begun is accepted; returns how many are not."""
        self._sending.clear()
        deadline = time.monotonic() + within
        while self._unfinished and time.monotonic() < deadline:
            time.sleep(0.05)
        return self._unfinished

    def send(self, delivery: Delivery) -> int | None:
        """Make one attempt; returns the status, None if there was no answer in time."""
        try:
            answer = self._pool.request(
                "POST", self.cloud.webhook, body=delivery.body, headers=delivery.headers
            )
        except urllib3.exceptions.HTTPError:
            status = None
        else:
            status = answer.status
        with self._lock:
            self.tries += 1
            if status == 204:
                self.accepted[delivery.id] = delivery.channel
            elif status is not None and 400 <= status < 500 and status != 429:
                self.refused[status] += 1
        return status

    def repeat(self, delivery: Delivery) -> None:
        """Send it, in the background, until it is accepted."""
        with self._lock:
            self._unfinished += 1
        self._waiting.put(delivery)

    def end(self) -> None:
        """End the threads."""
        self._ended.set()

    def _generate(self) -> None:
        chance, number = random.Random(1), 0
        while not self._ended.is_set():
            if self._sending.wait(0.1):
                self.repeat(raid(self.channels[number % len(self.channels)], self.secret, number))
                number += 1
                time.sleep(chance.expovariate(self._per_second))

    def _deliver(self) -> None:
        while not self._ended.is_set():
            try:
                delivery = self._waiting.get(timeout=0.1)
            except queue.Empty:
                continue
            while not self._ended.is_set():
                status = self.send(delivery)
                if status is not None and status < 500 and status != 429:
                    break
                self._ended.wait(RETRY_SECONDS)
            with self._lock:
                self._unfinished -= 1


@dataclasses.dataclass
class Books:
    """What the store holds of the traffic's channels."""

    recorded: Counter[str]
    """By event id, how many rows."""
    counted: int
    """The sum of the counts that the API answers; -1 if it does not answer."""

    @classmethod
    def empty(cls) -> "Books":
        """Books of a store that does not answer."""
        return cls(Counter(), -1)

    @classmethod
    def read(cls, cloud: Cloud, channels: list[Channel]) -> "Books":
        """Read the events from PostgreSQL, and the counts from the API, as the page does."""
        with psycopg.connect(cloud.database, autocommit=True, connect_timeout=5) as database:
            rows = database.execute(
                "select id::text from events where streamer_id = any(%s)",
                [[channel.id for channel in channels]],
            )
            recorded = Counter(id_ for (id_,) in rows)
        counted = 0
        for channel in channels:
            answer = cloud.get(f"api/channels/{channel.login}/counts")
            if answer.status != 200:
                return cls(recorded, -1)
            counted += answer.json()["total"]
        return cls(recorded, counted)
