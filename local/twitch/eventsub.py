"""EventSub subscriptions: create, list, delete.

https://dev.twitch.tv/docs/api/reference/#create-eventsub-subscription
"""

import base64
import binascii
from typing import Any, TypeGuard

from aiohttp import web

from local.twitch.answers import RefusedError, web_url
from local.twitch.delivery import Courier
from local.twitch.settings import Clock, Settings
from local.twitch.state import State, Subscription
from local.twitch.topics import TOPIC_BY_TYPE, Topic

PAGE_SIZE = 100
SAME_SUBSCRIPTION_LIMIT = 3
FILTERS = ("status", "type", "user_id", "subscription_id")


class EventSub:
    """The application's webhook subscriptions."""

    def __init__(self, settings: Settings, state: State, courier: Courier, clock: Clock) -> None:
        self._settings = settings
        self._state = state
        self._courier = courier
        self._clock = clock

    async def create(self, request: web.Request) -> web.Response:
        """202, and the callback is challenged meanwhile; else 400, 403, 409 or 429."""
        body = await _json_object(request)
        topic, condition = self._read_topic(body)
        callback, secret = _read_transport(body)
        client_id = self._settings.client_id
        self._check_grant(topic, condition)
        same = [
            entry
            for entry in self._state.of_client(client_id)
            if entry.live and entry.topic is topic and entry.condition == condition
        ]
        if any(entry.callback == callback for entry in same):
            raise RefusedError(409, "subscription already exists")
        if len(same) >= SAME_SUBSCRIPTION_LIMIT:
            raise RefusedError(429, "maximum subscriptions with type and condition exceeded")
        cost = self._cost(topic, condition)
        if self._state.total_cost(client_id) + cost > self._settings.max_total_cost:
            raise RefusedError(429, "total cost of subscriptions exceeded")
        subscription = self._state.subscribe(
            client_id=client_id,
            topic=topic,
            condition=condition,
            callback=callback,
            secret=secret,
            cost=cost,
            now=self._clock(),
        )
        self._courier.start_challenge(subscription)
        return web.json_response({"data": [subscription.to_dict()], **self._totals()}, status=202)

    async def list(self, request: web.Request) -> web.Response:
        """A page of subscriptions, oldest first, dead ones included."""
        filters = {name: request.query[name] for name in FILTERS if name in request.query}
        if len(filters) > 1:
            raise RefusedError(400, "status, type, user_id and subscription_id exclude each other")
        after = _decode_cursor(request.query["after"]) if "after" in request.query else 0
        matching = [
            entry
            for entry in self._state.of_client(self._settings.client_id)
            if entry.number > after and all(_matches(entry, *item) for item in filters.items())
        ]
        page, rest = matching[:PAGE_SIZE], matching[PAGE_SIZE:]
        pagination = {"cursor": _encode_cursor(page[-1].number)} if rest else {}
        answer = {"data": [entry.to_dict() for entry in page], **self._totals(), "pagination": pagination}
        return web.json_response(answer)

    async def delete(self, request: web.Request) -> web.Response:
        """204, or 404 if there is no such subscription."""
        if "id" not in request.query:
            raise RefusedError(400, "The id query parameter is required")
        if self._state.subscriptions.pop(request.query["id"], None) is None:
            raise RefusedError(404, "subscription not found")
        return web.Response(status=204)

    def _read_topic(self, body: dict[str, Any]) -> tuple[Topic, dict[str, str]]:
        topic = TOPIC_BY_TYPE.get(str(body.get("type")))
        if topic is None or body.get("version") != topic.version:
            raise RefusedError(400, "invalid subscription type and version")
        given = body.get("condition")
        condition = topic.condition(given) if _is_strings(given) else None
        if condition is None:
            raise RefusedError(400, "invalid condition")
        if any(value and self._state.users.by_id(value) is None for value in condition.values()):
            raise RefusedError(400, "invalid condition: no such user")
        return topic, condition

    def _check_grant(self, topic: Topic, condition: dict[str, str]) -> None:
        """The grant sticks to the application and the user; no token of theirs is asked for."""
        if topic.scope is None:
            return
        granted = self._state.grants.get((self._settings.client_id, condition[topic.granted_by]), set())
        if topic.scope not in granted:
            raise RefusedError(403, "subscription missing proper authorization")

    def _cost(self, topic: Topic, condition: dict[str, str]) -> int:
        """https://dev.twitch.tv/docs/eventsub/manage-subscriptions/#subscription-limits"""
        authorized = any(
            (self._settings.client_id, user_id) in self._state.grants for user_id in condition.values()
        )
        return 0 if topic.scope is not None or authorized else 1

    def _totals(self) -> dict[str, int]:
        client_id = self._settings.client_id
        return {
            "total": len(self._state.of_client(client_id)),
            "total_cost": self._state.total_cost(client_id),
            "max_total_cost": self._settings.max_total_cost,
        }


def _read_transport(body: dict[str, Any]) -> tuple[str, str]:
    """The callback and its secret. Unlike Twitch, plain http is fine: the local cloud speaks nothing else."""
    transport = body.get("transport")
    if not isinstance(transport, dict) or transport.get("method") != "webhook":
        raise RefusedError(400, "invalid transport: only the method webhook is simulated")
    callback, secret = transport.get("callback"), transport.get("secret")
    if web_url(callback) is None:
        raise RefusedError(400, "invalid callback url")
    if not isinstance(secret, str) or not secret.isascii() or not 10 <= len(secret) <= 100:
        raise RefusedError(400, "invalid secret: must be 10 to 100 ASCII characters")
    return str(callback), secret


async def _json_object(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise RefusedError(400, "the body must be a JSON object")
    return body


def _is_strings(value: Any) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and all(isinstance(entry, str) for entry in value.values())


def _matches(subscription: Subscription, name: str, value: str) -> bool:
    match name:
        case "status":
            return subscription.status == value
        case "type":
            return subscription.topic.type == value
        case "user_id":
            return value in subscription.user_ids()
        case _:
            return subscription.id == value


def _encode_cursor(number: int) -> str:
    return base64.urlsafe_b64encode(str(number).encode()).decode()


def _decode_cursor(cursor: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor))
    except (ValueError, binascii.Error):
        raise RefusedError(400, "invalid cursor") from None
