"""The routes at ``/simulator``, with which tests and the control page make things happen."""

import asyncio
import dataclasses
from typing import Annotated, Any, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from local.twitch.sender import Sender
from local.twitch.simulator import Simulator
from local.twitch.sockets import CLOSES, Sockets
from local.twitch.state import (
    AUTHORIZATION_REVOKED,
    REVOCATION_REASONS,
    Delivery,
    Fault,
    Subscription,
)
from local.twitch.subscription_types import SUBSCRIPTION_TYPE_BY_NAME, SUBSCRIPTION_TYPES, SubscriptionType
from local.twitch.users import User

SOCKET_ACTS = ("reconnect", "cut", "silent", "disabled")

_T = TypeVar("_T")


class BadRequestError(Exception):
    """The body of a request is wrong; the message says why."""


class _Body(BaseModel):
    model_config = ConfigDict(strict=True)


class _OfUser(_Body):
    login: str


class _Events(_OfUser):
    event_type: str
    event: dict[str, Any] = {}
    count: Annotated[int, Field(ge=1, le=100_000)] = 1
    per_second: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    message_id: str | None = None


class _Revocation(_Body):
    reason: str = AUTHORIZATION_REVOKED
    subscription_id: str | None = None
    event_type: str = ""
    login: str = ""


class _Moderators(_OfUser):
    moderators: list[str]


class _NewLogin(_OfUser):
    to: str


class _Limits(_Body):
    max_total_cost: Annotated[int, Field(ge=0, le=1_000_000)]


class _Disturbance(_Body):
    do: str | int


class Control:
    """The endpoints below ``/simulator``."""

    def __init__(self, simulator: Simulator, sender: Sender, sockets: Sockets) -> None:
        self._simulator = simulator
        self._state = simulator.state
        self._sender = sender
        self._sockets = sockets

    def app(self) -> web.Application:
        """The endpoints as an application to be mounted."""
        app = web.Application(middlewares=[_answer_errors])
        app.add_routes(
            [
                web.get("/state", self._show),
                web.post("/events", self._send_events),
                web.post("/revoke", self._revoke),
                web.post("/disconnect", self._disconnect),
                web.post("/moderators", self._set_moderators),
                web.post("/rename", self._rename),
                web.post("/delete", self._delete_user),
                web.post("/limits", self._set_limits),
                web.post("/sockets", self._disturb_sockets),
                web.post("/faults", self._add_fault),
                web.delete("/faults", self._delete_faults),
            ]
        )
        return app

    async def _show(self, _request: web.Request) -> web.Response:
        """The state, with the newest deliveries first."""
        state = self._state
        return web.json_response(
            {
                "topics": [
                    {"type": each.name, "version": each.version, "scope": each.scope}
                    for each in SUBSCRIPTION_TYPES
                ],
                "channels": [
                    {"id": user.id, "login": user.login, "display_name": user.display_name}
                    for user in self._subscribed_users()
                ],
                "subscriptions": [
                    subscription.to_dict() | {"logins": [user.login for user in self._users_of(subscription)]}
                    for subscription in state.subscriptions.values()
                ],
                "grants": [
                    {"user_id": user_id, "login": self._login(user_id), "scopes": sorted(scopes)}
                    for user_id, scopes in state.grants.items()
                ],
                "user_tokens": sum(token.user_id is not None for token in state.tokens.values()),
                "moderators": {
                    self._login(channel_id): sorted(map(self._login, moderators))
                    for channel_id, moderators in state.moderators.items()
                },
                "deliveries": [dataclasses.asdict(delivery) for delivery in reversed(state.deliveries)],
                "faults": [dataclasses.asdict(fault) for fault in state.faults],
                "conduits": [dataclasses.asdict(conduit) for conduit in state.conduits.values()],
                "total_cost": state.total_cost,
                "max_total_cost": state.max_total_cost,
            }
        )

    async def _send_events(self, request: web.Request) -> web.Response:
        """Send example events to the enabled, matching subscriptions; answer after the last retries.

        With a ``message_id``, all messages have the same id, as redeliveries have.
        """
        body = await _read(_Events, request)
        subscription_type, channel = _subscription_type(body.event_type), self._user(body.login)
        loop = asyncio.get_running_loop()
        started = loop.time()
        tasks = []
        for number in range(body.count):
            if body.per_second:
                await asyncio.sleep(started + number / body.per_second - loop.time())
            self._simulator.notify(subscription_type, channel, body.event, body.message_id)
            tasks.append(self._sender.start())
        return _answer([delivery for batch in await asyncio.gather(*tasks) for delivery in batch])

    async def _revoke(self, request: web.Request) -> web.Response:
        """Revoke one subscription, or a channel's live subscriptions of a type.

        With ``authorization_revoked`` their users disconnect the application, which also ends the other
        subscriptions that need these users' grants.
        """
        body = await _read(_Revocation, request)
        if body.reason not in REVOCATION_REASONS:
            raise BadRequestError(f"reason must be one of {', '.join(REVOCATION_REASONS)}")
        if body.subscription_id is not None:
            subscription = self._state.subscriptions.get(body.subscription_id)
            revoked = [subscription] if subscription is not None else []
        else:
            subscription_type, channel = _subscription_type(body.event_type), self._user(body.login)
            revoked = [
                entry
                for entry in self._state.of_user(channel.id)
                if entry.subscription_type is subscription_type
            ]
        revoked = [subscription for subscription in revoked if subscription.live]
        if not revoked:
            raise BadRequestError("no live subscription matches")
        self._simulator.revoke(revoked, body.reason)
        if body.reason == AUTHORIZATION_REVOKED:
            for user in {user for subscription in revoked for user in self._users_of(subscription)}:
                self._simulator.disconnect(user)
        return _answer(await self._sender.start())

    async def _disconnect(self, request: web.Request) -> web.Response:
        """Let a user disconnect the application: ``{"login"}``."""
        self._simulator.disconnect(self._user((await _read(_OfUser, request)).login))
        return _answer(await self._sender.start())

    async def _set_moderators(self, request: web.Request) -> web.Response:
        """Set a channel's moderators: ``{"login", "moderators": [login, …]}``."""
        body = await _read(_Moderators, request)
        self._simulator.set_moderators(self._user(body.login), [self._user(each) for each in body.moderators])
        return _answer(await self._sender.start())

    async def _rename(self, request: web.Request) -> web.Response:
        """Change a user's login: ``{"login", "to"}``."""
        body = await _read(_NewLogin, request)
        try:
            self._simulator.rename(self._user(body.login), body.to.lower())
        except ValueError as error:
            raise BadRequestError(str(error)) from None
        return _answer(await self._sender.start())

    async def _delete_user(self, request: web.Request) -> web.Response:
        """Delete a user: ``{"login"}``."""
        self._simulator.delete_user(self._user((await _read(_OfUser, request)).login))
        return _answer(await self._sender.start())

    async def _set_limits(self, request: web.Request) -> web.Response:
        """Change the application's cost limit: ``{"max_total_cost"}``."""
        state = self._state
        state.max_total_cost = (await _read(_Limits, request)).max_total_cost
        return web.json_response({"total_cost": state.total_cost, "max_total_cost": state.max_total_cost})

    async def _disturb_sockets(self, request: web.Request) -> web.Response:
        """Disturb every WebSocket: ``{"do"}`` is one of SOCKET_ACTS or a code to close with."""
        act = (await _read(_Disturbance, request)).do
        if act not in SOCKET_ACTS and act not in CLOSES:
            raise BadRequestError(f"do must be one of {', '.join(map(str, (*SOCKET_ACTS, *CLOSES)))}")
        await self._sockets.disturb(act)
        return web.json_response({"sockets": len(self._state.sessions)})

    async def _add_fault(self, request: web.Request) -> web.Response:
        """Add a fault, which applies ``count`` times, or until the faults are deleted."""
        fault = await _read(Fault, request)
        if fault.body is None and not (fault.status or fault.latency_ms or fault.lost or fault.duplicates):
            raise BadRequestError("a fault needs a status, a body, latency_ms, lost or duplicates")
        self._state.faults.append(fault)
        return self._show_faults()

    async def _delete_faults(self, _request: web.Request) -> web.Response:
        self._state.faults.clear()
        return self._show_faults()

    def _show_faults(self) -> web.Response:
        return web.json_response({"faults": [dataclasses.asdict(fault) for fault in self._state.faults]})

    def _user(self, login: str) -> User:
        if (user := self._state.users.by_login(login)) is None:
            raise BadRequestError(f"nobody has the login {login!r}")
        return user

    def _login(self, user_id: str) -> str:
        """A user's login, or the id of a deleted user."""
        user = self._state.users.by_id(user_id)
        return user_id if user is None else user.login

    def _users_of(self, subscription: Subscription) -> list[User]:
        found = (self._state.users.by_id(user_id) for user_id in sorted(subscription.user_ids()))
        return [user for user in found if user is not None]

    def _subscribed_users(self) -> list[User]:
        subscriptions = self._state.subscriptions.values()
        return list(dict.fromkeys(user for each in subscriptions for user in self._users_of(each)))


def _answer(deliveries: list[Delivery]) -> web.Response:
    shown = ("subscription_id", "message_id", "status", "attempts", "milliseconds")
    return web.json_response(
        {"deliveries": [{name: getattr(delivery, name) for name in shown} for delivery in deliveries]}
    )


async def _read(kind: type[_T], request: web.Request) -> _T:
    """The body of a request. Raises ValidationError."""
    return TypeAdapter(kind).validate_json(await request.read(), strict=True)


def _subscription_type(name: str) -> SubscriptionType:
    if name not in SUBSCRIPTION_TYPE_BY_NAME:
        known = ", ".join(SUBSCRIPTION_TYPE_BY_NAME)
        raise BadRequestError(f"no such event_type: {name!r}; there are {known}")
    return SUBSCRIPTION_TYPE_BY_NAME[name]


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        message = "; ".join(wrong)
    except BadRequestError as error:
        message = str(error)
    return web.json_response({"error": {"code": "bad_request", "message": message}}, status=400)
