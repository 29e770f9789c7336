"""Messages to webhooks: the challenge, notifications and revocations, signed as Twitch signs them.

https://dev.twitch.tv/docs/eventsub/handling-webhook-events/
"""

import asyncio
import hashlib
import hmac
import json
import secrets
import socket
import ssl
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from local.twitch.settings import Clock, Settings
from local.twitch.state import (
    ENABLED,
    FAILURES_EXCEEDED,
    PENDING,
    VERIFICATION_FAILED,
    Delivery,
    State,
    Subscription,
    timestamp,
)

CONCURRENT_DELIVERIES = 16
ANSWER_CHARACTERS_KEPT = 500


class Courier:
    """Sends messages to callbacks and remembers how each went."""

    def __init__(self, settings: Settings, state: State, clock: Clock, tls: ssl.SSLContext | bool) -> None:
        self._settings = settings
        self._state = state
        self._clock = clock
        self._tls = tls
        self._slots = asyncio.Semaphore(CONCURRENT_DELIVERIES)
        self._challenges: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession

    async def running(self, _app: object) -> AsyncIterator[None]:
        """Hold connections open while the server runs; what is under way at its end is dropped."""
        connector = aiohttp.TCPConnector(
            ssl=self._tls, resolver=LocalhostResolver(), family=socket.AF_INET, limit=0
        )
        timeout = aiohttp.ClientTimeout(total=self._settings.delivery_timeout)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self._session:
            yield
            for task in self._challenges:
                task.cancel()
            await asyncio.gather(*self._challenges, return_exceptions=True)

    def start_challenge(self, subscription: Subscription) -> None:
        """Challenge the callback without waiting for it, as Twitch does."""
        task = asyncio.create_task(self._challenge(subscription))
        self._challenges.add(task)
        task.add_done_callback(self._challenges.discard)

    async def _challenge(self, subscription: Subscription) -> None:
        challenge = secrets.token_urlsafe(32)
        body = {"challenge": challenge, "subscription": subscription.to_dict()}
        delivery = self._log(subscription, "webhook_callback_verification", str(uuid.uuid4()))
        content_type = await self._attempt(subscription, delivery, json.dumps(body))
        proven = delivery.status == 200 and delivery.answer == challenge and content_type == "text/plain"
        if subscription.status == PENDING:
            subscription.status = ENABLED if proven else VERIFICATION_FAILED

    async def notify(
        self, subscription: Subscription, event: dict[str, Any], message_id: str | None = None
    ) -> Delivery:
        """Deliver an event, again and again if need be, and say how it went in the end.

        A subscription with too many failed notifications in a row is given up, and told so.
        """
        body = json.dumps({"subscription": subscription.to_dict(), "event": event})
        delivery = self._log(subscription, "notification", message_id or str(uuid.uuid4()))
        await self._deliver(subscription, delivery, body)
        subscription.failures = 0 if delivery.succeeded else subscription.failures + 1
        if (
            subscription.status == ENABLED
            and subscription.failures >= self._settings.failures_before_revocation
        ):
            await self.revoke(subscription, FAILURES_EXCEEDED)
        return delivery

    async def revoke(self, subscription: Subscription, reason: str) -> Delivery:
        """End a subscription for Twitch's reason, which becomes its status, and tell the callback."""
        subscription.status = reason
        body = json.dumps({"subscription": subscription.to_dict()})
        delivery = self._log(subscription, "revocation", str(uuid.uuid4()))
        await self._deliver(subscription, delivery, body)
        return delivery

    def _log(self, subscription: Subscription, message_type: str, message_id: str) -> Delivery:
        delivery = Delivery(
            subscription_id=subscription.id,
            message_id=message_id,
            message_type=message_type,
            event_type=subscription.topic.type,
            callback=subscription.callback,
            sent_at=timestamp(self._clock()),
        )
        self._state.deliveries.append(delivery)
        return delivery

    async def _deliver(self, subscription: Subscription, delivery: Delivery, body: str) -> None:
        """Try until the callback takes the message, the delays are used up or the subscription is deleted."""
        async with self._slots:
            await self._attempt(subscription, delivery, body)
        for delay in self._settings.retry_delays:
            if delivery.succeeded:
                return
            await asyncio.sleep(delay)
            if subscription.id not in self._state.subscriptions:
                return
            async with self._slots:
                await self._attempt(subscription, delivery, body)

    async def _attempt(self, subscription: Subscription, delivery: Delivery, body: str) -> str:
        """Post the message once, note the answer, and return its content type."""
        headers = {
            "Content-Type": "application/json",
            "Twitch-Eventsub-Message-Id": delivery.message_id,
            "Twitch-Eventsub-Message-Retry": str(delivery.attempts),
            "Twitch-Eventsub-Message-Type": delivery.message_type,
            "Twitch-Eventsub-Message-Signature": sign(
                subscription.secret, delivery.message_id, delivery.sent_at, body
            ),
            "Twitch-Eventsub-Message-Timestamp": delivery.sent_at,
            "Twitch-Eventsub-Subscription-Type": subscription.topic.type,
            "Twitch-Eventsub-Subscription-Version": subscription.topic.version,
        }
        content_type = ""
        delivery.attempts += 1
        started = time.perf_counter()
        try:
            async with self._session.post(
                subscription.callback, data=body.encode(), headers=headers, allow_redirects=False
            ) as response:
                answer = await response.text(errors="replace")
                delivery.status, content_type = response.status, response.content_type
        except (aiohttp.ClientError, TimeoutError) as error:
            delivery.status, answer = None, f"no answer: {error!r}"
        delivery.answer = answer[:ANSWER_CHARACTERS_KEPT]
        delivery.milliseconds = round((time.perf_counter() - started) * 1000, 1)
        return content_type


def sign(secret: str, message_id: str, message_timestamp: str, body: str) -> str:
    """The value of ``Twitch-Eventsub-Message-Signature``."""
    message = message_id + message_timestamp + body
    return "sha256=" + hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()


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
