"""A new simulator and a new webhook for each test."""

import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.integration.twitch.support import Twitch, Webhook, serve, simulated_twitch


@pytest.fixture
async def twitch() -> AsyncIterator[Twitch]:
    """A simulator without subscriptions."""
    async with simulated_twitch() as running:
        yield running


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    """A callback that answers correctly, unless a test prepares other answers."""
    webhook = Webhook()
    app = web.Application()
    app.router.add_post("/webhooks/twitch", webhook.handle)
    async with serve(app, socket.create_server(("127.0.0.1", 0))) as base:
        webhook.url = f"{base}/webhooks/twitch"
        yield webhook
