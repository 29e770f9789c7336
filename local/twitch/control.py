"""What Twitch does not have: levers for tests and for the control page, at ``/simulator``."""

import asyncio
import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler

from local.twitch.delivery import Courier
from local.twitch.events import Event, Scene
from local.twitch.settings import Clock, Settings
from local.twitch.state import (
    AUTHORIZATION_REVOKED,
    ENABLED,
    REVOCATION_REASONS,
    Delivery,
    Fault,
    State,
    Subscription,
)
from local.twitch.topics import MODERATOR, TOPIC_BY_TYPE, TOPICS, Topic
from local.twitch.users import User

FAULT_PATHS = ("/helix", "/oauth2")
# Who raids, follows and cheers when an order does not say.
VIEWERS = ("nightowl_nina", "pixelpaul", "chessmaster_cleo", "speedy_sam", "cozy_kim")
MOST_EVENTS = 100_000

_T = TypeVar("_T", bound=int | float | str)


class BadOrderError(Exception):
    """An order that makes no sense; the message says why."""


class Control:
    """The endpoints below ``/simulator``."""

    def __init__(self, settings: Settings, state: State, courier: Courier, clock: Clock) -> None:
        self._settings = settings
        self._state = state
        self._courier = courier
        self._clock = clock
        self._events_made = 0

    def app(self) -> web.Application:
        """The endpoints as an application to be mounted."""
        app = web.Application(middlewares=[_answer_errors])
        app.add_routes(
            [
                web.get("/state", self._show),
                web.post("/events", self._send_events),
                web.post("/revoke", self._revoke),
                web.post("/faults", self._add_fault),
                web.delete("/faults", self._clear_faults),
            ]
        )
        return app

    @web.middleware
    async def make_trouble(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Strike requests with the faults that were ordered for their path."""
        for fault in list(self._state.faults):
            if not request.path.startswith(fault.path) or not (fault.latency_ms or fault.status):
                continue
            if not fault.strike():
                continue
            await asyncio.sleep(fault.latency_ms / 1000)
            if fault.status is not None:
                return self._refusal(fault.status)
        return await handler(request)

    def _refusal(self, status: int) -> web.Response:
        body = {"error": "Injected fault", "status": status, "message": "ordered at /simulator/faults"}
        headers = {}
        if status == 429:
            reset = self._clock() // 10**9 + 1
            limit = str(self._settings.rate_limit)
            headers = {
                "Ratelimit-Limit": limit,
                "Ratelimit-Remaining": "0",
                "Ratelimit-Reset": str(reset),
            }
        return web.json_response(body, status=status, headers=headers)

    async def _show(self, _request: web.Request) -> web.Response:
        """Everything there is to see, newest deliveries first."""
        state = self._state
        client_id = self._settings.client_id
        return web.json_response(
            {
                "topics": [
                    {"type": topic.type, "version": topic.version, "scope": topic.scope} for topic in TOPICS
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
                    {"client_id": client_id, "user_id": user_id, "scopes": sorted(scopes)}
                    for (client_id, user_id), scopes in state.grants.items()
                ],
                "deliveries": [dataclasses.asdict(delivery) for delivery in reversed(state.deliveries)],
                "faults": [dataclasses.asdict(fault) for fault in state.faults],
                "total_cost": state.total_cost(client_id),
                "max_total_cost": self._settings.max_total_cost,
            }
        )

    async def _send_events(self, request: web.Request) -> web.Response:
        """Send made-up events to every enabled, matching subscription; answer when all are settled.

        The same ``message_id`` for several messages makes them redeliveries of each other.
        """
        order = await _read_order(request)
        topic = _read_topic(order)
        channel = self._read_user(order)
        count = _read(order, "count", int, 1, least=1, most=MOST_EVENTS)
        per_second = _read(order, "per_second", float, 0.0, most=1e6)
        message_id = _read(order, "message_id", str, "")
        overrides = order.get("event", {})
        if not isinstance(overrides, dict):
            raise BadOrderError("event must be an object")

        loop = asyncio.get_running_loop()
        started = loop.time()
        tasks: list[asyncio.Task[list[Delivery]]] = []
        for number in range(count):
            if per_second:
                await asyncio.sleep(started + number / per_second - loop.time())
            event = self._make_event(topic, channel, overrides)
            tasks += [
                loop.create_task(self._deliver(subscription, event, message_id or None))
                for subscription in self._state.subscriptions.values()
                if _wants(subscription, topic, event)
            ]
        deliveries = [delivery for batch in await asyncio.gather(*tasks) for delivery in batch]
        return _answer(deliveries)

    def _make_event(self, topic: Topic, channel: User, overrides: Event) -> Event:
        """An event in the channel; a login among the overrides brings its id and name along.

        A raid goes to the channel, unless the overrides say where it goes: then the channel raids.
        """
        self._events_made += 1
        viewer = self._state.users.by_login(VIEWERS[self._events_made % len(VIEWERS)])
        if viewer is None:
            raise LookupError("the made-up viewers exist")
        now = datetime.fromtimestamp(self._clock() / 10**9, tz=UTC)
        target = {"to_broadcaster_user_login", "to_broadcaster_user_id"}
        if topic.type == "channel.raid" and target & overrides.keys():
            scene = Scene(channel=viewer, viewer=channel, now=now)
        else:
            scene = Scene(channel=channel, viewer=viewer, now=now)
        event = topic.make_event(scene)
        for name, value in overrides.items():
            prefix, is_login, _ = name.rpartition("user_login")
            user = self._state.users.by_login(value) if is_login and isinstance(value, str) else None
            if user is not None:
                event |= user.fields(prefix)
        return event | overrides

    async def _deliver(
        self, subscription: Subscription, event: Event, message_id: str | None
    ) -> list[Delivery]:
        """Deliver once, and as often again as the faults say, under the same message id."""
        deliveries = [await self._courier.notify(subscription, event, message_id)]
        for fault in self._state.faults:
            if fault.duplicates and fault.strike():
                for _ in range(fault.duplicates):
                    again = await self._courier.notify(subscription, event, deliveries[0].message_id)
                    deliveries.append(again)
        return deliveries

    async def _revoke(self, request: web.Request) -> web.Response:
        """Revoke one subscription, or a channel's live ones of a type.

        With ``authorization_revoked`` the users concerned also take back what they granted.
        """
        order = await _read_order(request)
        reason = _read(order, "reason", str, AUTHORIZATION_REVOKED)
        if reason not in REVOCATION_REASONS:
            raise BadOrderError(f"reason must be one of {', '.join(REVOCATION_REASONS)}")
        if "subscription_id" in order:
            subscription = self._state.subscriptions.get(_read(order, "subscription_id", str, ""))
            revoked = [subscription] if subscription is not None else []
        else:
            topic, channel = _read_topic(order), self._read_user(order)
            revoked = [
                subscription
                for subscription in self._state.subscriptions.values()
                if subscription.topic is topic and channel.id in subscription.user_ids()
            ]
        revoked = [subscription for subscription in revoked if subscription.live]
        if not revoked:
            raise BadOrderError("no live subscription matches")
        if reason == AUTHORIZATION_REVOKED:
            for subscription in revoked:
                for user_id in subscription.user_ids():
                    self._state.grants.pop((subscription.client_id, user_id), None)
        deliveries = await asyncio.gather(
            *(self._courier.revoke(subscription, reason) for subscription in revoked)
        )
        return _answer(deliveries)

    async def _add_fault(self, request: web.Request) -> web.Response:
        """Add a fault; without ``count`` it strikes until the faults are cleared with DELETE."""
        order = await _read_order(request)
        status = _read(order, "status", int, 0, least=400, most=599)
        fault = Fault(
            path=_read(order, "path", str, "/helix"),
            status=status or None,
            latency_ms=_read(order, "latency_ms", int, 0, most=600_000),
            duplicates=_read(order, "duplicates", int, 0, most=100),
            remaining=_read(order, "count", int, 0, least=1, most=1_000_000) or None,
        )
        if not fault.path.startswith(FAULT_PATHS):
            raise BadOrderError(f"path must begin with one of {', '.join(FAULT_PATHS)}")
        if not (fault.status or fault.latency_ms or fault.duplicates):
            raise BadOrderError("a fault needs a status, latency_ms or duplicates")
        self._state.faults.append(fault)
        return self._show_faults()

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        self._state.faults.clear()
        return self._show_faults()

    def _show_faults(self) -> web.Response:
        return web.json_response({"faults": [dataclasses.asdict(fault) for fault in self._state.faults]})

    def _read_user(self, order: Mapping[str, Any]) -> User:
        login = order.get("login")
        user = self._state.users.by_login(login) if isinstance(login, str) else None
        if user is None:
            raise BadOrderError(f"nobody has the login {login!r}")
        return user

    def _users_of(self, subscription: Subscription) -> list[User]:
        found = (self._state.users.by_id(user_id) for user_id in sorted(subscription.user_ids()))
        return [user for user in found if user is not None]

    def _subscribed_users(self) -> list[User]:
        return list(
            dict.fromkeys(
                user
                for subscription in self._state.subscriptions.values()
                for user in self._users_of(subscription)
            )
        )


def _wants(subscription: Subscription, topic: Topic, event: Event) -> bool:
    """Whether the event fulfils the condition; which moderator asked says nothing about the event."""
    return (
        subscription.topic is topic
        and subscription.status == ENABLED
        and all(
            event.get(field) == value
            for field, value in subscription.condition.items()
            if value and field != MODERATOR
        )
    )


def _answer(deliveries: list[Delivery]) -> web.Response:
    shown = ("subscription_id", "message_id", "status", "attempts", "milliseconds")
    return web.json_response(
        {"deliveries": [{name: getattr(delivery, name) for name in shown} for delivery in deliveries]}
    )


async def _read_order(request: web.Request) -> dict[str, Any]:
    try:
        order = await request.json()
    except ValueError as error:
        raise BadOrderError(f"the body is not JSON: {error}") from error
    if not isinstance(order, dict):
        raise BadOrderError("the body must be a JSON object")
    return order


def _read_topic(order: Mapping[str, Any]) -> Topic:
    topic = TOPIC_BY_TYPE.get(str(order.get("event_type")))
    if topic is None:
        raise BadOrderError(
            f"no such event_type: {order.get('event_type')!r}; there are {', '.join(TOPIC_BY_TYPE)}"
        )
    return topic


def _read(
    order: Mapping[str, Any], name: str, kind: type[_T], default: _T, *, least: float = 0, most: float = 0
) -> _T:
    """A field of an order, between ``least`` and ``most`` if it is a number."""
    value = order.get(name)
    if value is None:
        return default
    is_right = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
    if not is_right:
        raise BadOrderError(f"{name} must be a {'string' if kind is str else 'number'}")
    if not isinstance(value, str) and not least <= value <= most:
        raise BadOrderError(f"{name} must be between {least:g} and {most:g}")
    return kind(value)


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadOrderError as error:
        return web.json_response({"error": {"code": "bad_order", "message": str(error)}}, status=400)
