"""Twitch's Helix API, the part that Fanfare uses, with an app access token.

https://dev.twitch.tv/docs/api/reference/ · https://dev.twitch.tv/docs/authentication/getting-tokens-oauth/
"""

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

import urllib3

from lambdas.common.observability import logger
from lambdas.subscriptions.model import Channel, Subscription
from lambdas.subscriptions.points import COMMON, URGENT

T = TypeVar("T")

# A token is renewed this long before it expires: it does not expire during a request then, and if Twitch
# cannot issue one, there is time to try again.
RENEWAL_MARGIN_SECONDS = 10 * 60
# How long to wait when Twitch does not say.
DEFAULT_RETRY_SECONDS = 5
# How long a call may take, all its requests together: nobody waits longer for Twitch.
PATIENCE_SECONDS = 1.8
CONNECT_SECONDS = 1.0
# A hundred subscriptions each: more than there are for one user.
MOST_PAGES_OF_A_USER = 20
# Twitch's rate limit is for a minute: no answer makes anybody wait longer.
LONGEST_RETRY_SECONDS = 60
# What an answer raises when it is read that is not what Twitch documents.
UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
# When to ask for a point again, after all were used up.
POINTS_RETRY_SECONDS = 5


class CredentialsRefusedError(Exception):
    """Twitch does not know the application, or its secret is wrong: an operator must correct that."""


class HelixError(Exception):
    """Twitch refused or failed; ``reason`` is a short code, the message is Twitch's."""

    reason = "refused_by_twitch"


class InvalidRequestError(HelixError):
    """400 or 410: for example a user or a type's version that does not exist (any more)."""

    reason = "invalid"


class ForbiddenError(HelixError):
    """403: the subscription type needs a grant that was never given."""

    reason = "forbidden"


class ConflictError(HelixError):
    """409: the subscription exists already, and is live."""

    reason = "conflict"


class LimitExceededError(HelixError):
    """429, not for the rate: there are three subscriptions with this type and condition already."""

    reason = "limit_exceeded"


class BudgetExceededError(HelixError):
    """429, not for the rate: the cost of all subscriptions would exceed ``max_total_cost``."""

    reason = "limited"


class TransientError(HelixError):
    """The same request may succeed later; ``retry_after`` is in seconds."""

    def __init__(self, message: str, retry_after: int = DEFAULT_RETRY_SECONDS) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimitedError(TransientError):
    """429: the rate limit allows no request before ``retry_after``."""

    reason = "rate_limited"


class PointsUsedUpError(RateLimitedError):
    """The request was not made, since Fanfare has used up its share of the rate limit for now."""


class TwitchUnavailableError(TransientError):
    """Twitch answered with an unexpected status, not at all, or what cannot be understood."""

    reason = "twitch_unavailable"


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """The registered Twitch application."""

    client_id: str
    client_secret: str = dataclasses.field(repr=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read ``{"client_id", "client_secret"}``."""
        fields = json.loads(text)
        return cls(fields["client_id"], fields["client_secret"])


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """One page of the list of subscriptions, with how much of the cost budget all of them use.

    ``cursor`` leads to the next page; it is None on the last.
    """

    subscriptions: list[Subscription]
    total_cost: int
    max_total_cost: int
    cursor: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Token:
    value: str = dataclasses.field(repr=False)
    client_id: str
    expires_at: float


def connection_pool() -> urllib3.PoolManager:
    """Connections to Twitch, kept open between invocations."""
    # As many as there are subscription types: a channel's are created side by side.
    return urllib3.PoolManager(maxsize=32, retries=False)


class Helix:
    """A client of Helix; threads may share it, and its app access token.

    Every function instance fetches a token of its own, once: a token is valid for two months, and storing a
    shared one would cost more calls than it saves. ``load_credentials`` is called whenever a new token is
    needed, so it may return a rotated secret.

    ``take_point`` is called with the rank of each request (``points``), and returns whether it may be made.
    """

    def __init__(
        self,
        pool: urllib3.PoolManager,
        load_credentials: Callable[[], Credentials],
        api_url: str,
        auth_url: str,
        *,
        take_point: Callable[[int], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._load_credentials = load_credentials
        self._api_url = api_url
        self._auth_url = auth_url
        self._take_point = take_point
        self._clock = clock
        self._token: _Token | None = None
        self._token_lock = threading.Lock()

    def get_user(self, login: str) -> Channel | None:
        """The channel with this login; None if there is none. Raises TransientError."""
        return self._get_user({"login": login}, rank=URGENT)

    def get_user_by_id(self, user_id: str, *, rank: int = COMMON) -> Channel | None:
        """The channel with this id; None if it does not exist (any more). Raises TransientError."""
        return self._get_user({"id": user_id}, rank=rank)

    def create_subscription(
        self,
        event_type: str,
        version: str,
        condition: Mapping[str, str],
        callback: str,
        secret: str,
        *,
        rank: int = COMMON,
    ) -> Subscription:
        """Ask Twitch to deliver events to ``callback``, signed with ``secret``.

        The answer's status is "pending" until the callback has answered Twitch's challenge.
        Raises InvalidRequestError, ForbiddenError, ConflictError, LimitExceededError, BudgetExceededError,
        TransientError.
        """
        transport = {"method": "webhook", "callback": callback, "secret": secret}
        body = {"type": event_type, "version": version, "condition": condition, "transport": transport}
        response = self._request("POST", "/eventsub/subscriptions", body=body, rank=rank)
        # 429 has three meanings: only the rate limit leaves no requests, the other two differ in the message.
        if response.status == 429 and response.headers.get("Ratelimit-Remaining", "0") != "0":
            message = _message(response)
            error = BudgetExceededError if "cost" in message else LimitExceededError
            raise error(f"429: {message}")
        _raise_for_status(response, self._clock())
        return _read(response, lambda answer: Subscription.from_dict(answer["data"][0]))

    def client_id(self) -> str:
        """The application's id. Raises TransientError."""
        return self._current_token(time.monotonic() + PATIENCE_SECONDS).client_id

    def delete_subscription(self, subscription_id: str, *, rank: int = COMMON) -> None:
        """Delete a subscription; it is no error if there is none. Raises TransientError."""
        response = self._request("DELETE", "/eventsub/subscriptions", {"id": subscription_id}, rank=rank)
        if response.status != 404:
            _raise_for_status(response, self._clock())

    def read_page(self, cursor: str | None = None, user_id: str | None = None, *, rank: int = COMMON) -> Page:
        """A page of the application's subscriptions, dead ones included: the first, or that of a cursor.

        With ``user_id``, only those with this user in their condition. Raises TransientError, and
        InvalidRequestError if Twitch does not know the cursor.
        """
        query = {**({"user_id": user_id} if user_id else {}), **({"after": cursor} if cursor else {})}
        return self._get("/eventsub/subscriptions", query, _page, rank=rank)

    def list_subscriptions(self, user_id: str, *, rank: int = COMMON) -> list[Subscription]:
        """The application's subscriptions with this user in their condition. Raises TransientError."""
        listed: list[Subscription] = []
        cursor, cursors = None, set[str | None]()
        while cursor not in cursors and len(cursors) < MOST_PAGES_OF_A_USER:
            cursors.add(cursor)
            page = self.read_page(cursor, user_id, rank=rank)
            listed += page.subscriptions
            if page.cursor is None:
                return listed
            cursor = page.cursor
        raise TwitchUnavailableError("Twitch's list of a user's subscriptions does not end")

    def _get_user(self, query: Mapping[str, str], *, rank: int) -> Channel | None:
        def read(answer: dict[str, Any]) -> Channel | None:
            return next((Channel.from_dict(one) for one in answer["data"]), None)

        try:
            return self._get("/users", query, read, rank=rank)
        except InvalidRequestError:
            # Twitch refuses some logins that no user can have.
            return None

    def _get(
        self, path: str, query: Mapping[str, str], read: Callable[[dict[str, Any]], T], *, rank: int
    ) -> T:
        response = self._request("GET", path, query, rank=rank)
        _raise_for_status(response, self._clock())
        return _read(response, read)

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        *,
        rank: int = COMMON,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request; a token that Twitch refuses is replaced once."""
        url = self._api_url + path + (f"?{urlencode(query)}" if query else "")
        until = time.monotonic() + PATIENCE_SECONDS
        token = self._current_token(until)
        response = self._send(method, url, token, body, until=until, rank=rank)
        if response.status == 401:
            token = self._current_token(until, refused=token)
            response = self._send(method, url, token, body, until=until, rank=rank)
        return response

    def _send(
        self, method: str, url: str, token: _Token, body: Any, *, until: float, rank: int
    ) -> urllib3.BaseHTTPResponse:
        if not self._take_point(rank):
            raise PointsUsedUpError("the share of Twitch's rate limit is used up", POINTS_RETRY_SECONDS)
        headers = {"Authorization": f"Bearer {token.value}", "Client-Id": token.client_id}
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = None if body is None else json.dumps(body).encode()
        return self._ask(method, url, until, headers=headers, body=content)

    def _ask(self, method: str, url: str, until: float, **options: Any) -> urllib3.BaseHTTPResponse:
        """Make a request until ``until``; once more if the connection breaks.

        Twitch may have closed the idle connection. Every request here may be repeated: a repeated creation is
        a conflict, a repeated deletion finds nothing.
        """
        for is_last in (False, True):
            left = max(until - time.monotonic(), 0.001)
            timeout = urllib3.Timeout(total=left, connect=CONNECT_SECONDS)
            try:
                return self._pool.request(
                    method, url, timeout=timeout, retries=False, redirect=False, **options
                )
            except urllib3.exceptions.ProtocolError as error:
                if is_last:
                    raise TwitchUnavailableError(f"no answer from Twitch: {type(error).__name__}") from error
            except urllib3.exceptions.HTTPError as error:
                raise TwitchUnavailableError(f"no answer from Twitch: {type(error).__name__}") from error
        raise AssertionError

    def _current_token(self, until: float, refused: _Token | None = None) -> _Token:
        """The token to use; ``refused`` is one that Twitch no longer accepts."""
        with self._token_lock:
            token, now = self._token, self._clock()
            if token is None or token is refused or now >= token.expires_at:
                token = self._token = self._fetch_token(until)
            elif now >= token.expires_at - RENEWAL_MARGIN_SECONDS:
                # The old one is still valid, so it is used if Twitch cannot issue another one now.
                with contextlib.suppress(TransientError):
                    token = self._token = self._fetch_token(until)
            return token

    def _fetch_token(self, until: float) -> _Token:
        # https://dev.twitch.tv/docs/authentication/getting-tokens-oauth/#client-credentials-grant-flow
        credentials = self._load_credentials()
        fields = {
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret,
            "grant_type": "client_credentials",
        }
        url = self._auth_url + "/token"
        response = self._ask("POST", url, until, fields=fields, encode_multipart=False)
        if response.status in (400, 401, 403):
            raise CredentialsRefusedError(_message(response))
        _raise_for_status(response, self._clock())
        value, lifetime = _read(
            response, lambda answer: (str(answer["access_token"]), int(answer["expires_in"]))
        )
        return _Token(value, credentials.client_id, expires_at=self._clock() + lifetime)


def _read(response: urllib3.BaseHTTPResponse, read: Callable[[dict[str, Any]], T]) -> T:
    """What ``read`` finds in the JSON of a successful answer."""
    try:
        return read(response.json())
    except UNREADABLE as error:
        raise TwitchUnavailableError("Twitch's answer cannot be understood") from error


def _page(answer: dict[str, Any]) -> Page:
    return Page(
        [one for fields in answer["data"] if (one := _listed(fields)) is not None],
        int(answer["total_cost"]),
        int(answer["max_total_cost"]),
        # Twitch leaves the cursor out at the end.
        str((answer.get("pagination") or {}).get("cursor") or "") or None,
    )


def _listed(fields: Any) -> Subscription | None:
    """A subscription in a list; None for one that cannot be read, which must not hide the others."""
    try:
        return Subscription.from_dict(fields)
    except UNREADABLE:
        logger.warning("A subscription in Twitch's list cannot be read", extra={"subscription": fields})
        return None


def _raise_for_status(response: urllib3.BaseHTTPResponse, now: float) -> None:
    """Raise the error for a status. https://dev.twitch.tv/docs/api/guide/#twitch-rate-limits"""
    status = response.status
    if status < 300:
        return
    message = f"{status}: {_message(response)}"
    if status == 429:
        raise RateLimitedError(message, _seconds_until_reset(response, now))
    errors = {400: InvalidRequestError, 403: ForbiddenError, 409: ConflictError, 410: InvalidRequestError}
    # Any other status is none that Twitch documents for these requests, such as a proxy's: it will pass.
    raise errors.get(status, TwitchUnavailableError)(message)


def _message(response: urllib3.BaseHTTPResponse) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return "(no message)"


def _seconds_until_reset(response: urllib3.BaseHTTPResponse, now: float) -> int:
    try:
        reset = int(response.headers["Ratelimit-Reset"])
    except (KeyError, ValueError):
        return DEFAULT_RETRY_SECONDS
    return min(max(1, round(reset - now)), LONGEST_RETRY_SECONDS)
