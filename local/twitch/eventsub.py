"""EventSub subscriptions: create, list, delete.

https://dev.twitch.tv/docs/api/reference/#create-eventsub-subscription
"""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeGuard

from local.twitch.messages import Message
from local.twitch.responses import RefusedError, Response, web_url
from local.twitch.settings import Clock
from local.twitch.state import State, Subscription, Token, Transport
from local.twitch.subscription_types import (
    BROADCASTER,
    DISCONNECTION,
    MODERATOR,
    SUBSCRIPTION_TYPE_BY_NAME,
    SubscriptionType,
)

PAGE_SIZE = 100
SAME_SUBSCRIPTION_LIMIT = 3
FILTERS = ("status", "type", "user_id", "subscription_id", "conduit_id")


class EventSub:
    """The application's subscriptions. ``send`` is called with each message to a callback."""

    def __init__(self, client_id: str, state: State, clock: Clock, send: Callable[[Message], None]) -> None:
        self._client_id = client_id
        self._state = state
        self._clock = clock
        self._send = send

    def create(self, content: bytes, token: Token) -> Response:
        """Create a subscription and send the challenge: 202. Raises RefusedError: 400, 403, 409 or 429."""
        body = json_object(content)
        subscription_type, condition = self._read_subscription_type(body)
        transport, secret = self._read_transport(body.get("transport"), token)
        self._check_grant(subscription_type, condition)
        named = next(value for value in condition.values() if value)
        same = [
            entry
            for entry in self._state.of_user(named)
            if entry.live and entry.subscription_type is subscription_type and entry.condition == condition
        ]
        if any(entry.transport == transport for entry in same):
            raise RefusedError(409, "subscription already exists")
        if len(same) >= SAME_SUBSCRIPTION_LIMIT:
            raise RefusedError(429, "maximum subscriptions with type and condition exceeded")
        cost = self._state.cost(subscription_type, condition)
        if cost and self._state.total_cost + cost > self._state.max_total_cost:
            raise RefusedError(429, "total cost of subscriptions exceeded")
        now = self._clock()
        subscription = self._state.subscribe(subscription_type, condition, transport, secret, now)
        if subscription.callback:
            self._send(Message.verification(subscription, now))
        return Response(202, {"data": [subscription.to_dict()], **self._totals()})

    def list(self, query: Mapping[str, str], token: Token) -> Response:
        """A page of subscriptions, oldest first, also those that have ended. Raises RefusedError (400).

        A user's token shows those with WebSockets, an application's the others.
        """
        filters = {name: query[name] for name in FILTERS if name in query}
        if len(filters) > 1:
            raise RefusedError(400, f"{', '.join(FILTERS)} exclude each other")
        try:
            after = int(query.get("after", "0"))
        except ValueError:
            raise RefusedError(400, "invalid cursor") from None
        self._state.delete_old(self._clock())
        matching = (
            entry
            for entry in self._filtered(filters)
            if entry.number > after and ("session_id" in entry.transport) == (token.user_id is not None)
        )
        page = list(itertools.islice(matching, PAGE_SIZE + 1))
        more, page = page[PAGE_SIZE:], page[:PAGE_SIZE]
        pagination = {"cursor": str(page[-1].number)} if more else {}
        return Response(
            200, {"data": [entry.to_dict() for entry in page], **self._totals(), "pagination": pagination}
        )

    def delete(self, query: Mapping[str, str]) -> Response:
        """Delete a subscription: 204. Raises RefusedError (400 or 404)."""
        if "id" not in query:
            raise RefusedError(400, "The id query parameter is required")
        if not self._state.delete(query["id"]):
            raise RefusedError(404, "subscription not found")
        return Response(204)

    def _filtered(self, filters: Mapping[str, str]) -> Iterable[Subscription]:
        every = self._state.subscriptions
        match [*filters.items()]:
            case [("subscription_id", value)]:
                return [every[value]] if value in every else []
            case [("user_id", value)]:
                return self._state.of_user(value)
            case [("status", value)]:
                return (entry for entry in every.values() if entry.status == value)
            case [("type", value)]:
                return (entry for entry in every.values() if entry.subscription_type.name == value)
            case [("conduit_id", value)]:
                return (entry for entry in every.values() if entry.transport.get("conduit_id") == value)
            case _:
                return every.values()

    def _read_subscription_type(self, body: Mapping[str, Any]) -> tuple[SubscriptionType, dict[str, str]]:
        known = {**SUBSCRIPTION_TYPE_BY_NAME, DISCONNECTION.name: DISCONNECTION}
        subscription_type = known.get(str(body.get("type")))
        if subscription_type is None or body.get("version") != subscription_type.version:
            raise RefusedError(400, "invalid subscription type and version")
        given = body.get("condition")
        condition = subscription_type.condition(given) if _is_strings(given) else None
        if condition is None:
            raise RefusedError(400, "invalid condition")
        if subscription_type is DISCONNECTION:
            if condition["client_id"] != self._client_id:
                raise RefusedError(403, "client_id must be that of the token")
        elif any(value and self._state.users.by_id(value) is None for value in condition.values()):
            raise RefusedError(400, "invalid condition: no such user")
        return subscription_type, condition

    def _check_grant(self, subscription_type: SubscriptionType, condition: Mapping[str, str]) -> None:
        """Check that the user has granted the scope to the application, and, if asked for, is a moderator.

        Streamers are moderators of their own channel. No user token is needed.
        """
        if subscription_type.scope is None:
            return
        user_id, channel_id = condition[subscription_type.granted_by], condition[BROADCASTER]
        granted = subscription_type.scope in self._state.grants.get(user_id, ())
        moderates = user_id == channel_id or user_id in self._state.moderators.get(channel_id, ())
        if not granted or (subscription_type.granted_by == MODERATOR and not moderates):
            raise RefusedError(403, "subscription missing proper authorization")

    def _read_transport(self, given: Any, token: Token) -> tuple[Transport, str]:
        """The transport, and the secret of a webhook. Unlike Twitch, this accepts http."""
        transport: dict[str, Any] = given if isinstance(given, dict) else {}
        method, secret = transport.get("method"), ""
        if (method == "websocket") != (token.user_id is not None):
            raise RefusedError(400, "invalid transport and auth combination")
        if method == "websocket":
            return self._state.session(transport), secret
        if method == "conduit":
            if transport.get("conduit_id") not in self._state.conduits:
                raise RefusedError(400, "invalid conduit_id")
            return {"method": "conduit", "conduit_id": transport["conduit_id"]}, secret
        if method != "webhook":
            raise RefusedError(400, "invalid transport")
        callback, secret = transport.get("callback"), transport.get("secret", "")
        if web_url(callback) is None:
            raise RefusedError(400, "invalid callback url")
        if not isinstance(secret, str) or not secret.isascii() or not 10 <= len(secret) <= 100:
            raise RefusedError(400, "invalid secret: must be 10 to 100 ASCII characters")
        return {"method": "webhook", "callback": str(callback)}, secret

    def _totals(self) -> dict[str, int]:
        return {
            "total": len(self._state.subscriptions),
            "total_cost": self._state.total_cost,
            "max_total_cost": self._state.max_total_cost,
        }


def json_object(content: bytes) -> dict[str, Any]:
    """The body of a request. Raises RefusedError (400) if it is not a JSON object."""
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise RefusedError(400, "the body must be a JSON object")
    return body


def _is_strings(value: Any) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and all(isinstance(entry, str) for entry in value.values())
