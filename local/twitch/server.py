"""The simulated Twitch as one web application."""

import asyncio
import ssl
import time

from aiohttp import web
from aiohttp.typedefs import Handler

from local.twitch import pages
from local.twitch.control import Control
from local.twitch.oidc import OidcProvider
from local.twitch.responses import Response
from local.twitch.sender import Sender
from local.twitch.settings import Clock, Settings
from local.twitch.simulator import Simulator


def create_app(
    settings: Settings, *, clock: Clock = time.time_ns, callback_tls: ssl.SSLContext | bool = True
) -> web.Application:
    """The whole simulator, with a state of its own, to be served at ``settings.base_url``.

    ``callback_tls`` says which certificates callbacks may have; True is those that the system trusts.
    """
    simulator = Simulator(settings, clock)
    sender = Sender(simulator, callback_tls)
    api = Api(simulator, sender)
    app = web.Application(middlewares=[api.make_trouble])
    app.cleanup_ctx.append(sender.running)
    app.add_routes(pages.routes())
    app.add_routes([web.route("*", "/helix/{path:.*}", api.answer), web.post("/oauth2/token", api.answer)])
    app.add_subapp("/oauth2", OidcProvider(simulator, clock).app())
    app.add_subapp("/simulator", Control(simulator, sender).app())
    return app


class Api:
    """What programs ask: Helix and tokens."""

    def __init__(self, simulator: Simulator, sender: Sender) -> None:
        self._simulator = simulator
        self._sender = sender

    async def answer(self, request: web.Request) -> web.Response:
        """Answer, and send meanwhile what the request caused."""
        answer = self._simulator.answer(request.method, request.url, request.headers, await request.read())
        self._sender.start()
        return _response(answer)

    @web.middleware
    async def make_trouble(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Strike requests with the faults that were ordered for them."""
        trouble = self._simulator.state.trouble(request.method, request.path)
        response: web.StreamResponse = web.Response()
        if trouble.status is not None:
            response = _response(self._simulator.refusal(trouble.status))
        elif trouble.lost != "request":
            response = await handler(request)
        await asyncio.sleep(trouble.latency)
        if trouble.lost is not None and request.transport is not None:
            request.transport.abort()
        return response


def _response(answer: Response) -> web.Response:
    if answer.body is None:
        return web.Response(status=answer.status, headers=answer.headers)
    return web.json_response(answer.body, status=answer.status, headers=answer.headers)
