"""A thousand WebSockets: half of them watch one channel, and each of these gets every event of it.

And one that is not read any more: it slows nobody.
"""

import asyncio
import contextlib
import functools
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from lambdas.common import tickets
from lambdas.common.aws import AwsError, Client
from tests.e2e.clients import Cloud, Viewer, eventually, request

pytestmark = pytest.mark.measured  # `make load`

VIEWERS, LATE, STRANGERS, CHANNELS = 480, 20, 500, 10
EVENTS, PER_SECOND = 200, int(os.environ.get("FANFARE_LOAD_PER_SECOND", "20"))
ABORTED = 100
# Handshakes at the same time: each invokes two functions, one after the other.
HANDSHAKES = 16
JOIN_SECONDS = 60
# How a frame ends that says that events are missing: they are in the record.
MARK = '"missed":true}'
# The site reads the record so long after a connection was opened.
CATCH_UP_SECONDS = 15
# Those who read beside one who does not. Some megabytes fill the buffers between it and the server.
READERS, LARGE_EVENT = 20, {"title": "x" * 20_000}
LARGE_EVENTS, LARGE_PER_SECOND, MOST_SERIES = 20, 4, 30


@functools.lru_cache(maxsize=256)
def events(frame: str) -> list[tuple[str, float]]:
    """The ids of a frame's events, and when Twitch sent them (Unix time). All viewers get the same frames."""
    content = json.loads(frame)
    return [
        (event["id"], datetime.fromisoformat(event["occurred_at"]).timestamp())
        for event in content.get("events", [])
    ]


class ViewerSocket:
    """One viewer's WebSocket, and what was received."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seconds: dict[str, float] = {}
        """By event id, the seconds from Twitch's timestamp to the viewer."""
        self.frames = self.copies = self.marks = 0
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for frame in self.socket:
                assert isinstance(frame, str)
                now = time.time()
                for event_id, sent_at in events(frame):
                    self.copies += event_id in self.seconds
                    self.seconds.setdefault(event_id, now - sent_at)
                self.frames += 1
                self.marks += frame.endswith(MARK)


class Crowd:
    """Opens WebSockets with tickets that it writes itself: a thousand calls of `watch` take too long."""

    def __init__(self, cloud: Cloud, websocket_url: str) -> None:
        self.refused = 0
        self._url = websocket_url
        self._environment = {
            "AWS_ENDPOINT_URL": cloud.aws_endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        self._turn = asyncio.Semaphore(HANDSHAKES)

    async def stall(self, streamer_id: str) -> ClientConnection:
        """Open a WebSocket that nobody reads: it takes a few frames, then its buffers are full."""
        address = urlsplit(self._url)
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.connect((address.hostname, address.port))
        return await self._connect(streamer_id, sock=small, max_queue=1)

    async def join(self, count: int, streamer_ids: list[str]) -> list[ViewerSocket]:
        """Open ``count`` WebSockets, for each of the channels in turn."""
        joining = [self._join(streamer_ids[number % len(streamer_ids)]) for number in range(count)]
        return await asyncio.gather(*joining)

    async def _join(self, streamer_id: str) -> ViewerSocket:
        """Open a WebSocket, and try again with a new ticket if it is refused, as the site does."""
        deadline = time.monotonic() + JOIN_SECONDS
        while True:
            try:
                async with self._turn:
                    return ViewerSocket(await self._connect(streamer_id))
            except (AwsError, InvalidStatus, TimeoutError):
                self.refused += 1
                if time.monotonic() > deadline:
                    raise

    async def _connect(self, streamer_id: str, **options: Any) -> ClientConnection:
        ticket = await asyncio.to_thread(
            tickets.issue,
            Client("dynamodb", self._environment),
            "fanfare-local-tickets",
            tickets.Claim(secrets.token_hex(4), streamer_id, "of_many"),
            now=datetime.now(UTC),
        )
        url = f"{self._url}?{urlencode({'ticket': ticket.value})}"
        return await connect(url, proxy=None, compression=None, ping_interval=None, **options)


def recorded(cloud: Cloud, login: str) -> set[str]:
    """The ids of all recorded events of a channel, read page by page."""
    ids: set[str] = set()
    before: str | None = None
    while True:
        query = urlencode({"limit": 100} | ({"before": before} if before else {}))
        page = request("GET", f"{cloud.api.rstrip('/')}/api/channels/{login}/events?{query}").json()
        ids |= {event["id"] for event in page["events"]}
        before = page["next"]
        if before is None:
            return ids


def send(cloud: Cloud, login: str) -> list[dict[str, Any]]:
    """Let the simulated Twitch send the events; returns the deliveries."""
    at_once = min(EVENTS, 20 * PER_SECOND)
    return [
        delivery
        for _ in range(0, EVENTS, at_once)
        for delivery in cloud.simulate("channel.update", login, count=at_once, per_second=PER_SECOND)
    ]


def percentile(seconds: Iterable[float], part: float) -> float:
    ordered = sorted(seconds)
    return ordered[round(part * (len(ordered) - 1))]


def percentiles(seconds: Iterable[float]) -> str:
    p50, p99, most = (percentile(seconds, part) * 1000 for part in (0.5, 0.99, 1.0))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, at most {most:.0f} ms"


async def test_a_thousand_viewers_get_every_event_of_their_channel_and_no_other(
    cloud: Cloud, viewer: Viewer, channel: str
) -> None:
    answer = await asyncio.to_thread(viewer.watch, channel)
    assert answer.status == 200, answer.data
    streamer_id = answer.json()["channel"]["id"]
    await asyncio.to_thread(cloud.until_subscribed, channel)

    crowd = Crowd(cloud, answer.json()["websocket_url"])
    started = time.monotonic()
    early, strangers = await asyncio.gather(
        crowd.join(VIEWERS, [streamer_id]),
        crowd.join(STRANGERS, [f"9{number:09}" for number in range(CHANNELS)]),
    )
    seconds = time.monotonic() - started
    print(f"\n{VIEWERS + STRANGERS} WebSockets opened in {seconds:.0f} s, {crowd.refused} refused")

    sending = asyncio.create_task(asyncio.to_thread(send, cloud, channel))
    # Viewers who come later read the events from before in the record.
    await until("a part of the events is there", lambda: len(early[0].seconds) >= EVENTS // 4, 120)
    late = await crowd.join(LATE, [streamer_id])
    joined = time.monotonic()
    deliveries = await sending
    assert [delivery["status"] for delivery in deliveries] == [204] * EVENTS
    sent = {delivery["message_id"] for delivery in deliveries}
    assert len(sent) == EVENTS

    # An overloaded machine is too slow for some, who are told to read the record.
    await until(
        "all have all, or are told what is missing",
        lambda: all(len(each.seconds) == EVENTS or each.marks for each in early),
        90,
    )
    await asyncio.sleep(max(joined + CATCH_UP_SECONDS - time.monotonic(), 0))
    caught_up = await asyncio.to_thread(recorded, cloud, channel)
    assert caught_up == sent
    for each in late:
        assert set(each.seconds) < sent, "late viewers need the record"
        assert set(each.seconds) | caught_up == sent
    assert [each.frames for each in strangers] == [0] * STRANGERS
    everybody = [*early, *late]
    print(
        f"{EVENTS} events at {PER_SECOND}/s to {len(everybody)} viewers: "
        f"{percentiles([seconds for each in early for seconds in each.seconds.values()])} to the viewer; "
        f"{sum(each.frames for each in early) / len(early):.1f} frames and "
        f"{sum(each.copies for each in early) / len(early):.2f} repeated events a viewer; "
        f"{sum(len(each.seconds) < EVENTS for each in early)} were told to read the record"
    )
    assert not any(each.reader.done() for each in [*everybody, *strangers]), "no connection was lost"

    for each in everybody[:ABORTED]:
        each.socket.transport.abort()
    await asyncio.to_thread(cloud.simulate, "channel.raid", channel)
    await asyncio.to_thread(
        eventually,
        "only the aborted connections are removed",
        lambda: len(cloud.connections(channel)) == len(everybody) - ABORTED,
        60,
    )
    alive = everybody[ABORTED:]
    await until(
        "the others get the next event",
        lambda: all(len(set(each.seconds) - sent) == 1 or each.marks for each in alive),
    )
    await asyncio.gather(*(each.socket.close() for each in [*alive, *strangers]))


async def test_a_viewer_who_does_not_read_slows_nobody_and_is_dropped(cloud: Cloud, viewer: Viewer) -> None:
    login = "stalled_channel"
    answer = await asyncio.to_thread(viewer.watch, login)
    assert answer.status == 200, answer.data
    streamer_id = answer.json()["channel"]["id"]
    await asyncio.to_thread(cloud.until_subscribed, login)
    crowd = Crowd(cloud, answer.json()["websocket_url"])
    readers = await crowd.join(READERS, [streamer_id])

    async def series() -> list[float]:
        """Send large events; returns how late each reader had each of those that came in a frame."""
        known = set(readers[0].seconds)
        marks = [each.marks for each in readers]
        sent = await asyncio.to_thread(
            cloud.simulate,
            "channel.update",
            login,
            event=LARGE_EVENT,
            count=LARGE_EVENTS,
            per_second=LARGE_PER_SECOND,
        )
        last = sent[-1]["message_id"]
        # An overloaded machine is too slow for some, who are told to read the record.
        await until(
            "all have the last, or are told so",
            lambda: all(
                last in each.seconds or each.marks > earlier
                for each, earlier in zip(readers, marks, strict=True)
            ),
            90,
        )
        return [late for each in readers for id_, late in each.seconds.items() if id_ not in known]

    before = await series()
    there = set(await asyncio.to_thread(cloud.connections, login))
    stalled = await crowd.stall(streamer_id)
    stalled_id = set(await asyncio.to_thread(cloud.connections, login)) - there
    assert len(stalled_id) == 1
    meanwhile: list[float] = []
    for _ in range(MOST_SERIES):
        meanwhile += await series()
        if stalled_id.isdisjoint(await asyncio.to_thread(cloud.connections, login)):
            break
    else:
        pytest.fail("the viewer who does not read is still there")
    print(
        f"\n{READERS} readers: {percentiles(before)}; beside one who does not read and was dropped after "
        f"{len(meanwhile) // len(before)} times as many events: {percentiles(meanwhile)}; "
        f"{sum(each.marks for each in readers)} times a reader was told to read the record"
    )
    # On a machine that does other things, too.
    assert percentile(meanwhile, 0.5) <= 2 * percentile(before, 0.5) + 1.0
    assert not any(each.reader.done() for each in readers), "no reader's connection was lost"
    for queue in ("broadcast", "fan-out"):
        url = cloud.outputs["BroadcastQueueUrl"].replace("-broadcast", f"-{queue}-dead-letters")
        attributes = cloud.aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert attributes["ApproximateNumberOfMessages"] == "0"
    stalled.transport.abort()
    await asyncio.gather(*(each.socket.close() for each in readers))


async def until(what: str, probe: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until the probe is true, while the WebSockets are read."""
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)
