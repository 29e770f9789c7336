"""Sends messages: to webhooks, with retries as Twitch makes them, and to WebSockets.

https://dev.twitch.tv/docs/eventsub/handling-webhook-events/
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterable

import aiohttp

from local.twitch.messages import Message
from local.twitch.simulator import Simulator
from local.twitch.sockets import Sockets
from local.twitch.state import Delivery

CONCURRENT_DELIVERIES = 16
# Challenges come many at once, when functions have not started: each would start further processes.
CONCURRENT_CHALLENGES = 3
ANSWER_CHARACTERS_KEPT = 500


class Sender:
    """Sends messages to callbacks and WebSockets and logs the answers."""

    def __init__(self, simulator: Simulator, sockets: Sockets, tls: ssl.SSLContext | bool) -> None:
        self._simulator = simulator
        self._settings = simulator.settings
        self._sockets = sockets
        self._tls = tls
        self._delivery_slots = asyncio.Semaphore(CONCURRENT_DELIVERIES)
        self._challenge_slots = asyncio.Semaphore(CONCURRENT_CHALLENGES)
        self._under_way: set[asyncio.Task[list[Delivery]]] = set()
        self._session: aiohttp.ClientSession

    async def running(self, _app: object) -> AsyncIterator[None]:
        """Keep an HTTP client while the server runs; at the end, cancel the deliveries that are under way."""
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        timeout = aiohttp.ClientTimeout(total=self._settings.delivery_timeout)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self._session:
            yield
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    def start(self) -> asyncio.Task[list[Delivery]]:
        """Send the simulator's messages. The task returns the deliveries, after the last retries."""
        task = asyncio.create_task(self._deliver_all(self._simulator.take_messages()))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _deliver_all(self, messages: Iterable[Message]) -> list[Delivery]:
        return list(await asyncio.gather(*(self._deliver(message) for message in messages)))

    async def _deliver(self, message: Message) -> Delivery:
        """Try until the callback accepts the message, no retry is left or the subscription is deleted."""
        type_ = message.subscription.subscription_type.name
        about = message.subscription.id, message.id, message.type, type_, message.subscription.callback
        delivery = Delivery(*about, message.sent_at)
        self._simulator.state.deliveries.append(delivery)
        if not delivery.callback:
            delivery.attempts, was_read = await self._sockets.deliver(message)
            delivery.status = 200 if was_read else None
            return delivery
        slots = self._challenge_slots if message.challenge else self._delivery_slots
        async with slots:
            content_type = await self._attempt(message, delivery)
        # A challenge is not retried.
        for delay in () if message.challenge else self._settings.retry_delays:
            if delivery.succeeded:
                break
            await asyncio.sleep(delay)
            if message.subscription.id not in self._simulator.state.subscriptions:
                break
            async with slots:
                content_type = await self._attempt(message, delivery)
        self._simulator.answered(message, delivery.status, delivery.answer, content_type)
        # The failure may have caused a revocation.
        await self._deliver_all(self._simulator.take_messages())
        return delivery

    async def _attempt(self, message: Message, delivery: Delivery) -> str:
        """Post the message once, log the answer, and return its content type."""
        content_type = ""
        headers = message.headers(retry=delivery.attempts)
        delivery.attempts += 1
        started = time.perf_counter()
        try:
            async with self._session.post(
                delivery.callback, data=message.body.encode(), headers=headers, allow_redirects=False
            ) as response:
                answer = await response.text(errors="replace")
                delivery.status, content_type = response.status, response.content_type
        except (aiohttp.ClientError, TimeoutError) as error:
            delivery.status, answer = None, f"no answer: {error!r}"
        delivery.answer = answer[:ANSWER_CHARACTERS_KEPT]
        delivery.milliseconds = round((time.perf_counter() - started) * 1000, 1)
        return content_type
