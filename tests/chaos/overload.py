"""More and more deliveries, and more and more viewers, until something gives; then all is well again."""

import asyncio
import contextlib
import json
import secrets
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tests.chaos.laboratory import Laboratory
from tests.chaos.ledger import Channel, raid
from tests.e2e.clients import eventually

AT_ONCE = (10, 25, 50, 100, 200)
VIEWERS = (25, 50, 100, 200, 400)
#: What says clearly that somebody should come again: Twitch and the site do.
SHED = {429, 500, 502, 503, 504}
RAMP_SECONDS = 60
AGAIN_SECONDS = 30
EVENTS = 20


def ramp_of_deliveries(laboratory: Laboratory) -> None:
    """Ever more deliveries at once: what is too much is answered so that Twitch sends it again."""
    traffic = laboratory.traffic
    began = time.monotonic()
    for at_once in AT_ONCE:
        deliveries = [raid(traffic.channels[0], traffic.secret, number) for number in range(4 * at_once)]
        started = time.monotonic()
        with ThreadPoolExecutor(at_once) as pool:
            statuses = Counter(pool.map(traffic.send, deliveries))
        seconds = time.monotonic() - started
        laboratory.notes.append(
            f"{at_once} deliveries at once: {statuses[204] / seconds:.0f} accepted a second, {dict(statuses)}"
        )
        if unclear := statuses.keys() - {204, *SHED}:
            laboratory.problems.append(f"of {at_once} at once some were answered {unclear}")
        for delivery in deliveries:
            if delivery.id not in traffic.accepted:
                traffic.repeat(delivery)
        if time.monotonic() - began > RAMP_SECONDS:
            break


def ramp_of_viewers(laboratory: Laboratory) -> None:
    """Ever more viewers who connect at once and stay: those who are not refused get every event."""
    asyncio.run(_ramp(laboratory))
    ended = time.monotonic()
    eventually("a newcomer watches", lambda: _watches(laboratory), AGAIN_SECONDS)
    # A try that began in time may have ended too late.
    after = time.monotonic() - ended
    said = laboratory.notes if after <= AGAIN_SECONDS else laboratory.problems
    said.append(f"a newcomer watches {after:.1f} s after it")


def _watches(laboratory: Laboratory) -> bool:
    try:
        with laboratory.viewer.connect(laboratory.traffic.channels[0].login):
            return True
    except (OSError, InvalidHandshake, AssertionError):
        return False


async def _ramp(laboratory: Laboratory) -> None:
    channel = laboratory.traffic.channels[0]
    began = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        crowd: list[_Socket] = []
        for count in VIEWERS:
            started = time.monotonic()
            opened = await asyncio.gather(*(_open(laboratory, channel) for _ in range(count)))
            seconds = time.monotonic() - started
            came = [one for one in opened if isinstance(one, ClientConnection)]
            for socket in came:
                stack.push_async_callback(socket.close)
                crowd.append(_Socket(socket))
            refused = Counter(one for one in opened if not isinstance(one, ClientConnection))
            # 403: the ticket's use was not answered in time, and asked for again. A page gets a new one.
            if unclear := refused.keys() - {403, *SHED}:
                laboratory.problems.append(f"of {count} at once some were answered {unclear}")
            laboratory.tries += count
            late = await _lateness(laboratory, channel, crowd)
            laboratory.notes.append(
                f"{count} more viewers at once: {len(came)} came in {seconds:.0f} s, refused: "
                f"{dict(refused)}; {len(crowd)} have {EVENTS} events after {late:.1f} s"
            )
            if time.monotonic() - began > RAMP_SECONDS:
                break


class _Socket:
    """A viewer's connection, and the ids of the events that came over it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.seen: set[str] = set()
        self.missed = False
        self._socket = socket
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in self._socket:
                frame = json.loads(text)
                self.seen.update(event["id"] for event in frame.get("events", ()))
                self.missed = self.missed or frame.get("missed", False)


async def _open(laboratory: Laboratory, channel: Channel) -> ClientConnection | int | None:
    """Open a WebSocket with a ticket that is written here.

    If it is refused, returns the status, or None without an answer.
    """
    ticket = secrets.token_urlsafe(32)
    await asyncio.to_thread(laboratory.write_ticket, ticket, channel, 60)
    try:
        return await connect(f"{laboratory.websocket_url}?ticket={ticket}", proxy=None, open_timeout=30)
    except InvalidStatus as error:
        return error.response.status_code
    except (OSError, InvalidHandshake, TimeoutError):
        return None


async def _lateness(laboratory: Laboratory, channel: Channel, crowd: list[_Socket]) -> float:
    """Send events; returns the seconds until everybody has them, or is told to read the record."""
    for one in crowd:
        one.missed = False
    deliveries = [raid(channel, laboratory.traffic.secret, number) for number in range(EVENTS)]
    started = time.monotonic()
    for delivery in deliveries:
        laboratory.traffic.repeat(delivery)
    wanted = {delivery.id for delivery in deliveries}
    while time.monotonic() < started + RAMP_SECONDS:
        if all(one.missed or wanted <= one.seen for one in crowd):
            return time.monotonic() - started
        await asyncio.sleep(0.1)
    laboratory.problems.append(f"not all of {len(crowd)} viewers have all events after {RAMP_SECONDS} s")
    return RAMP_SECONDS
