"""The simulator and a webhook, fresh for every test."""

import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.integration.twitch.support import Twitch, Webhook, serve, simulated_twitch


@pytest.fixture
async def twitch() -> AsyncIterator[Twitch]:
    """A simulator with nothing in it."""
    async with simulated_twitch() as running:
        yield running


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    """A callback that behaves, unless told otherwise."""
    webhook = Webhook()
    app = web.Application()
    app.router.add_post("/webhooks/twitch", webhook.handle)
    async with serve(app, socket.create_server(("127.0.0.1", 0))) as base:
        webhook.url = f"{base}/webhooks/twitch"
        yield webhook
