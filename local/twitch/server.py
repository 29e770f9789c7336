"""The simulated Twitch as one web application."""

import ssl
import time

from aiohttp import web

from local.twitch import pages
from local.twitch.control import Control
from local.twitch.delivery import Courier
from local.twitch.eventsub import EventSub
from local.twitch.helix import Helix
from local.twitch.oidc import OidcProvider
from local.twitch.settings import Clock, Settings
from local.twitch.state import State


def create_app(
    settings: Settings, *, clock: Clock = time.time_ns, callback_tls: ssl.SSLContext | bool = True
) -> web.Application:
    """The whole simulator, with a state of its own, to be served at ``settings.base_url``.

    ``callback_tls`` says which certificates callbacks may have; True is those that the system trusts.
    """
    state = State()
    courier = Courier(settings, state, clock, callback_tls)
    control = Control(settings, state, courier, clock)
    helix = Helix(settings, state, EventSub(settings, state, courier, clock), clock)
    app = web.Application(middlewares=[control.make_trouble])
    app.cleanup_ctx.append(courier.running)
    app.add_routes(pages.routes())
    app.add_subapp("/oauth2", OidcProvider(settings, state, clock).app())
    app.add_subapp("/helix", helix.app())
    app.add_subapp("/simulator", control.app())
    return app
