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
from local.twitch.sockets import Sockets


def create_app(
    settings: Settings, *, clock: Clock = time.time_ns, callback_tls: ssl.SSLContext | bool = True
) -> web.Application:
    """A new simulator, to be served at ``settings.base_url``.

    ``callback_tls`` verifies the callbacks' certificates; True trusts those that the system trusts.
    """
    simulator = Simulator(settings, clock)
    sockets = Sockets(simulator, clock)
    sender = Sender(simulator, sockets, callback_tls)
    api = Api(simulator, sender)
    app = web.Application(middlewares=[api.apply_faults])
    app.cleanup_ctx.append(sender.running)
    app.add_routes(pages.routes())
    app.add_routes([web.get("/ws", sockets.connect)])
    app.add_routes([web.route("*", "/helix/{path:.*}", api.answer), web.post("/oauth2/token", api.answer)])
    app.add_subapp("/oauth2", OidcProvider(simulator, clock).app())
    app.add_subapp("/simulator", Control(simulator, sender, sockets).app())
    return app


class Api:
    """The routes for programs: Helix and the token endpoint."""

    def __init__(self, simulator: Simulator, sender: Sender) -> None:
        self._simulator = simulator
        self._sender = sender

    async def answer(self, request: web.Request) -> web.Response:
        """Answer, and send the messages that the request has caused."""
        answer = self._simulator.answer(request.method, request.url, request.headers, await request.read())
        self._sender.start()
        return _response(answer)

    @web.middleware
    async def apply_faults(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Handle a request with the faults that apply to it."""
        effect = self._simulator.state.use_faults(request.method, request.path)
        response: web.StreamResponse = web.Response()
        if effect.status is not None:
            response = _response(self._simulator.refusal(effect.status))
        elif effect.body is not None:
            response = web.Response(text=effect.body, content_type="application/json")
        elif effect.lost != "request":
            response = await handler(request)
        await asyncio.sleep(effect.latency_ms / 1000)
        if effect.lost is not None and request.transport is not None:
            request.transport.abort()
        return response


def _response(answer: Response) -> web.Response:
    if answer.body is None:
        return web.Response(status=answer.status, headers=answer.headers)
    return web.json_response(answer.body, status=answer.status, headers=answer.headers)
