"""The part of Helix that Fanfare uses: authentication, the rate limit, users, subscriptions and conduits.

https://dev.twitch.tv/docs/api/guide/
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from multidict import MultiMapping

from local.twitch.conduits import Conduits
from local.twitch.eventsub import EventSub
from local.twitch.responses import RefusedError, Response, helix_error
from local.twitch.settings import Clock, Settings
from local.twitch.state import State, Token
from local.twitch.tokens import Tokens
from local.twitch.users import LOGIN, USER_ID, User

USERS_PER_REQUEST = 100


class Helix:
    """Answers the registered application's requests."""

    def __init__(
        self, settings: Settings, state: State, tokens: Tokens, eventsub: EventSub, clock: Clock
    ) -> None:
        self._settings = settings
        self._users = state.users
        self._tokens = tokens
        self._eventsub = eventsub
        self._conduits = Conduits(state, clock)
        self._clock = clock
        self._bucket = Bucket(settings.rate_limit, settings.rate_limit, self._now())

    def answer(
        self, method: str, path: str, query: MultiMapping[str], headers: Mapping[str, str], body: bytes
    ) -> Response:
        """Answer a request for the ``path`` below ``/helix``; the names of its headers ignore case."""
        now = self._now()
        try:
            token = self._authenticate(headers)
            self._bucket.take(now)
            answer = self._route(method, path, query, body, token)
        except RefusedError as error:
            answer = helix_error(error)
        return dataclasses.replace(answer, headers=self._bucket.headers(now))

    def _route(self, method: str, path: str, query: MultiMapping[str], body: bytes, token: Token) -> Response:
        if path.startswith("/eventsub/conduits"):
            if token.user_id is not None:
                raise RefusedError(401, "an app access token is required")
            return self._conduits.answer(method, path, query, body)
        match method, path:
            case "GET", "/users":
                return self._get_users(query)
            case "POST", "/eventsub/subscriptions":
                return self._eventsub.create(body, token)
            case "GET", "/eventsub/subscriptions":
                return self._eventsub.list(query, token)
            case "DELETE", "/eventsub/subscriptions":
                return self._eventsub.delete(query)
        raise RefusedError(404, f"{method} {path} is not simulated")

    def _authenticate(self, headers: Mapping[str, str]) -> Token:
        scheme, _, value = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not value:
            raise RefusedError(401, "OAuth token is missing")
        token = self._tokens.find(value)
        if token is None:
            raise RefusedError(401, "Invalid OAuth token")
        client_id = headers.get("Client-Id")
        if client_id is None:
            raise RefusedError(401, "Client ID is missing")
        if client_id != self._settings.client_id:
            raise RefusedError(401, "Client ID and OAuth token do not match")
        return token

    def _get_users(self, query: MultiMapping[str]) -> Response:
        """https://dev.twitch.tv/docs/api/reference/#get-users"""
        logins = [login.lower() for login in query.getall("login", [])]
        ids = query.getall("id", [])
        if not 1 <= len(logins) + len(ids) <= USERS_PER_REQUEST:
            raise RefusedError(400, "The number of id and login query parameters must be between 1 and 100")
        if not all(map(LOGIN.fullmatch, logins)) or not all(map(USER_ID.fullmatch, ids)):
            raise RefusedError(400, "Invalid login names, emails or IDs in request")
        found = [self._users.by_login(login) for login in logins]
        found += [self._users.by_id(user_id) for user_id in ids]
        users = dict.fromkeys(user for user in found if user is not None)
        return Response(200, {"data": [self._describe(user) for user in users]})

    def _describe(self, user: User) -> dict[str, Any]:
        return {
            "id": user.id,
            "login": user.login,
            "display_name": user.display_name,
            "type": "",
            "broadcaster_type": "partner",
            "description": f"{user.display_name} lives in the simulated Twitch.",
            "profile_image_url": f"{self._settings.base_url}/avatars/{user.login}.svg",
            "offline_image_url": "",
            "view_count": 0,
            "created_at": "2016-12-14T20:32:28Z",
        }

    def _now(self) -> float:
        return self._clock() / 10**9


@dataclasses.dataclass(slots=True)
class Bucket:
    """The rate limit: a bucket of points that is refilled evenly within a minute. Times are epoch seconds."""

    capacity: int
    points: float
    filled_at: float

    def take(self, now: float) -> None:
        """Take a point. Raises RefusedError (429) if there is none."""
        self._fill(now)
        if self.points < 1:
            raise RefusedError(429, "Too Many Requests")
        self.points -= 1

    def headers(self, now: float) -> dict[str, str]:
        """Twitch's rate-limit headers; ``Ratelimit-Reset`` is the time at which the bucket is full."""
        self._fill(now)
        reset = now + (self.capacity - self.points) * 60 / self.capacity
        return {
            "Ratelimit-Limit": str(self.capacity),
            "Ratelimit-Remaining": str(int(self.points)),
            "Ratelimit-Reset": str(math.ceil(reset)),
        }

    def _fill(self, now: float) -> None:
        refill = max(0.0, now - self.filled_at) * self.capacity / 60
        self.points = min(self.capacity, self.points + refill)
        self.filled_at = now
