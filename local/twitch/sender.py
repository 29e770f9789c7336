"""Takes messages to webhooks, again and again if need be, as Twitch does.

https://dev.twitch.tv/docs/eventsub/handling-webhook-events/
"""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterable

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from local.twitch.messages import Message
from local.twitch.simulator import Simulator
from local.twitch.state import Delivery

CONCURRENT_DELIVERIES = 16
ANSWER_CHARACTERS_KEPT = 500


class Sender:
    """Sends messages to callbacks and remembers how each went."""

    def __init__(self, simulator: Simulator, tls: ssl.SSLContext | bool) -> None:
        self._simulator = simulator
        self._settings = simulator.settings
        self._tls = tls
        self._slots = asyncio.Semaphore(CONCURRENT_DELIVERIES)
        self._under_way: set[asyncio.Task[list[Delivery]]] = set()
        self._session: aiohttp.ClientSession

    async def running(self, _app: object) -> AsyncIterator[None]:
        """Hold connections open while the server runs; what is under way at its end is dropped."""
        connector = aiohttp.TCPConnector(
            ssl=self._tls, resolver=LocalhostResolver(), family=socket.AF_INET, limit=0
        )
        timeout = aiohttp.ClientTimeout(total=self._settings.delivery_timeout)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self._session:
            yield
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    def start(self) -> asyncio.Task[list[Delivery]]:
        """Send what the simulator has to tell; the task ends, with what was sent, when all is settled."""
        task = asyncio.create_task(self._deliver_all(self._simulator.take_messages()))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _deliver_all(self, messages: Iterable[Message]) -> list[Delivery]:
        return list(await asyncio.gather(*(self._deliver(message) for message in messages)))

    async def _deliver(self, message: Message) -> Delivery:
        """Try until the callback takes the message, the delays are used up or the subscription is deleted."""
        delivery = self._log(message)
        async with self._slots:
            content_type = await self._attempt(message, delivery)
        # A challenge is sent once.
        for delay in () if message.challenge else self._settings.retry_delays:
            if delivery.succeeded:
                break
            await asyncio.sleep(delay)
            if message.subscription.id not in self._simulator.state.subscriptions:
                break
            async with self._slots:
                content_type = await self._attempt(message, delivery)
        self._simulator.answered(message, delivery.status, delivery.answer, content_type)
        # Giving a subscription up is told, too.
        await self._deliver_all(self._simulator.take_messages())
        return delivery

    def _log(self, message: Message) -> Delivery:
        delivery = Delivery(
            subscription_id=message.subscription.id,
            message_id=message.id,
            message_type=message.type,
            event_type=message.subscription.subscription_type.name,
            callback=message.subscription.callback,
            sent_at=message.sent_at,
        )
        self._simulator.state.deliveries.append(delivery)
        return delivery

    async def _attempt(self, message: Message, delivery: Delivery) -> str:
        """Post the message once, note the answer, and return its content type."""
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


class LocalhostResolver(AbstractResolver):
    """Resolves ``*.localhost`` to this machine (RFC 6761), which not every C library does."""

    def __init__(self) -> None:
        self._others = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host."""
        here = host == "localhost" or host.endswith(".localhost")
        return await self._others.resolve("127.0.0.1" if here else host, port, family)

    async def close(self) -> None:
        """Nothing is held open."""
        await self._others.close()
