"""The routes at ``/simulator``, with which tests and the control page make things happen."""

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler

from local.twitch.sender import Sender
from local.twitch.simulator import Simulator
from local.twitch.sockets import CLOSES, Sockets
from local.twitch.state import (
    AUTHORIZATION_REVOKED,
    LOST,
    REVOCATION_REASONS,
    Delivery,
    Fault,
    Subscription,
)
from local.twitch.subscription_types import SUBSCRIPTION_TYPE_BY_NAME, SUBSCRIPTION_TYPES, SubscriptionType
from local.twitch.users import User

FAULT_PATHS = ("/helix", "/oauth2")
FAULT_METHODS = ("GET", "POST", "DELETE")
SOCKET_ACTS = ("reconnect", "cut", "silent", "disabled")
MOST_EVENTS = 100_000

_T = TypeVar("_T", bound=int | float | str)


class BadRequestError(Exception):
    """The body of a request is wrong; the message says why."""


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
        body = await _read_body(request)
        subscription_type = _read_subscription_type(body)
        channel = self._read_user(body)
        count = _read(body, "count", int, 1, least=1, most=MOST_EVENTS)
        per_second = _read(body, "per_second", float, 0.0, most=1e6)
        message_id = _read(body, "message_id", str, "")
        overrides = body.get("event", {})
        if not isinstance(overrides, dict):
            raise BadRequestError("event must be an object")

        loop = asyncio.get_running_loop()
        started = loop.time()
        tasks = []
        for number in range(count):
            if per_second:
                await asyncio.sleep(started + number / per_second - loop.time())
            self._simulator.notify(subscription_type, channel, overrides, message_id or None)
            tasks.append(self._sender.start())
        return _answer([delivery for batch in await asyncio.gather(*tasks) for delivery in batch])

    async def _revoke(self, request: web.Request) -> web.Response:
        """Revoke one subscription, or a channel's live subscriptions of a type.

        With ``authorization_revoked`` their users disconnect the application, which also ends the other
        subscriptions that need these users' grants.
        """
        body = await _read_body(request)
        reason = _read(body, "reason", str, AUTHORIZATION_REVOKED)
        if reason not in REVOCATION_REASONS:
            raise BadRequestError(f"reason must be one of {', '.join(REVOCATION_REASONS)}")
        if "subscription_id" in body:
            subscription = self._state.subscriptions.get(_read(body, "subscription_id", str, ""))
            revoked = [subscription] if subscription is not None else []
        else:
            subscription_type, channel = _read_subscription_type(body), self._read_user(body)
            revoked = [
                entry
                for entry in self._state.of_user(channel.id)
                if entry.subscription_type is subscription_type
            ]
        revoked = [subscription for subscription in revoked if subscription.live]
        if not revoked:
            raise BadRequestError("no live subscription matches")
        self._simulator.revoke(revoked, reason)
        if reason == AUTHORIZATION_REVOKED:
            for user in {user for subscription in revoked for user in self._users_of(subscription)}:
                self._simulator.disconnect(user)
        return _answer(await self._sender.start())

    async def _disconnect(self, request: web.Request) -> web.Response:
        """Let a user disconnect the application: ``{"login"}``."""
        self._simulator.disconnect(self._read_user(await _read_body(request)))
        return _answer(await self._sender.start())

    async def _set_moderators(self, request: web.Request) -> web.Response:
        """Set a channel's moderators: ``{"login", "moderators": [login, …]}``."""
        body = await _read_body(request)
        moderators = body.get("moderators")
        if not isinstance(moderators, list):
            raise BadRequestError("moderators must be a list of logins")
        self._simulator.set_moderators(
            self._read_user(body), [self._read_user({"login": login}) for login in moderators]
        )
        return _answer(await self._sender.start())

    async def _rename(self, request: web.Request) -> web.Response:
        """Change a user's login: ``{"login", "to"}``."""
        body = await _read_body(request)
        try:
            self._simulator.rename(self._read_user(body), _read(body, "to", str, "").lower())
        except ValueError as error:
            raise BadRequestError(str(error)) from None
        return _answer(await self._sender.start())

    async def _delete_user(self, request: web.Request) -> web.Response:
        """Delete a user: ``{"login"}``."""
        self._simulator.delete_user(self._read_user(await _read_body(request)))
        return _answer(await self._sender.start())

    async def _set_limits(self, request: web.Request) -> web.Response:
        """Change the application's cost limit: ``{"max_total_cost"}``."""
        body = await _read_body(request)
        state = self._state
        state.max_total_cost = _read(body, "max_total_cost", int, state.max_total_cost, most=1_000_000)
        return web.json_response({"total_cost": state.total_cost, "max_total_cost": state.max_total_cost})

    async def _disturb_sockets(self, request: web.Request) -> web.Response:
        """Disturb every WebSocket: ``{"do"}`` is one of SOCKET_ACTS or a code to close with."""
        act = (await _read_body(request)).get("do")
        if act not in SOCKET_ACTS and act not in CLOSES:
            raise BadRequestError(f"do must be one of {', '.join(map(str, (*SOCKET_ACTS, *CLOSES)))}")
        await self._sockets.disturb(act)
        return web.json_response({"sockets": len(self._state.sessions)})

    async def _add_fault(self, request: web.Request) -> web.Response:
        """Add a fault, which applies ``count`` times, or until the faults are deleted."""
        body = await _read_body(request)
        status = _read(body, "status", int, 0, least=400, most=599)
        fault = Fault(
            path=_read(body, "path", str, "/helix"),
            method=_read(body, "method", str, "") or None,
            status=status or None,
            body=_read(body, "body", str, "") if "body" in body else None,
            latency_ms=_read(body, "latency_ms", int, 0, most=600_000),
            lost=next((lost for lost in LOST if lost == body.get("lost")), None),
            duplicates=_read(body, "duplicates", int, 0, most=100),
            remaining=_read(body, "count", int, 0, least=1, most=1_000_000) or None,
        )
        if not fault.path.startswith(FAULT_PATHS):
            raise BadRequestError(f"path must begin with one of {', '.join(FAULT_PATHS)}")
        if fault.method not in (None, *FAULT_METHODS):
            raise BadRequestError(f"method must be one of {', '.join(FAULT_METHODS)}")
        if body.get("lost") != fault.lost:
            raise BadRequestError(f"lost must be one of {', '.join(LOST)}")
        does_something = fault.status or fault.latency_ms or fault.lost or fault.duplicates
        if not does_something and fault.body is None:
            raise BadRequestError("a fault needs a status, a body, latency_ms, lost or duplicates")
        self._state.faults.append(fault)
        return self._show_faults()

    async def _delete_faults(self, _request: web.Request) -> web.Response:
        self._state.faults.clear()
        return self._show_faults()

    def _show_faults(self) -> web.Response:
        return web.json_response({"faults": [dataclasses.asdict(fault) for fault in self._state.faults]})

    def _read_user(self, body: Mapping[str, Any]) -> User:
        login = body.get("login")
        user = self._state.users.by_login(login) if isinstance(login, str) else None
        if user is None:
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


async def _read_body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise BadRequestError(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadRequestError("the body must be a JSON object")
    return body


def _read_subscription_type(body: Mapping[str, Any]) -> SubscriptionType:
    subscription_type = SUBSCRIPTION_TYPE_BY_NAME.get(str(body.get("event_type")))
    if subscription_type is None:
        raise BadRequestError(
            f"no such event_type: {body.get('event_type')!r}; "
            f"there are {', '.join(SUBSCRIPTION_TYPE_BY_NAME)}"
        )
    return subscription_type


def _read(
    body: Mapping[str, Any], name: str, kind: type[_T], default: _T, *, least: float = 0, most: float = 0
) -> _T:
    """A field of a body, between ``least`` and ``most`` if it is a number."""
    value = body.get(name)
    if value is None:
        return default
    is_right = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
    if not is_right:
        raise BadRequestError(f"{name} must be a {'string' if kind is str else 'number'}")
    if not isinstance(value, str) and not least <= value <= most:
        raise BadRequestError(f"{name} must be between {least:g} and {most:g}")
    return kind(value)


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadRequestError as error:
        return web.json_response({"error": {"code": "bad_request", "message": str(error)}}, status=400)
