"""Twitch's Helix API, the part that Fanfare uses, with an app access token.

https://dev.twitch.tv/docs/api/reference/ · https://dev.twitch.tv/docs/authentication/getting-tokens-oauth/
"""

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self
from urllib.parse import urlencode

import urllib3

from lambdas.subscriptions.model import Channel, Subscription

# A token is renewed this long before it expires: it does not expire during a request then, and if Twitch
# cannot issue one, there is time to try again.
RENEWAL_MARGIN_SECONDS = 10 * 60
# How long to wait when Twitch does not say.
DEFAULT_RETRY_SECONDS = 5
# How long one attempt of a request waits for a connection, and then for the answer.
CONNECT_SECONDS, READ_SECONDS = 1, 2.5


class CredentialsRefusedError(Exception):
    """Twitch does not know the application, or its secret is wrong: an operator must correct that."""


class HelixError(Exception):
    """Twitch refused or failed; ``reason`` is a short code, the message is Twitch's."""

    reason = "refused_by_twitch"


class NoSuchChannelError(HelixError):
    """No user has this login."""

    reason = "no_such_channel"


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


class TwitchUnavailableError(TransientError):
    """Twitch answered 5xx, not at all, or not in JSON."""

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
    """One page of the list of subscriptions, with how much of the cost budget all of them use."""

    subscriptions: list[Subscription]
    total_cost: int
    max_total_cost: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Token:
    value: str = dataclasses.field(repr=False)
    client_id: str
    expires_at: float


def connection_pool() -> urllib3.PoolManager:
    """Connections to Twitch, kept open between invocations; a request takes at most some 10 seconds.

    A request without an answer, or with a 5xx, is repeated twice: at once, since Twitch may have closed the
    idle connection, and then after a short, random wait. Every request here may be repeated: a repeated
    creation is a conflict, a repeated deletion finds nothing.
    """
    return urllib3.PoolManager(
        # As many as there are subscription types: a channel's are created side by side.
        maxsize=32,
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        retries=urllib3.Retry(
            2,
            redirect=0,
            allowed_methods=None,
            status_forcelist={500, 502, 503, 504},
            backoff_factor=0.1,
            backoff_jitter=0.3,
            raise_on_status=False,
            respect_retry_after_header=False,
        ),
    )


class Helix:
    """A client of Helix; threads may share it, and its app access token.

    Every function instance fetches a token of its own, once: a token is valid for two months, and storing a
    shared one would cost more calls than it saves. ``load_credentials`` is called whenever a new token is
    needed, so it may return a rotated secret.
    """

    def __init__(
        self,
        pool: urllib3.PoolManager,
        load_credentials: Callable[[], Credentials],
        api_url: str,
        auth_url: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._load_credentials = load_credentials
        self._api_url = api_url
        self._auth_url = auth_url
        self._clock = clock
        self._token: _Token | None = None
        self._token_lock = threading.Lock()

    def get_user(self, login: str) -> Channel:
        """The channel with this login. Raises NoSuchChannelError, TransientError."""
        try:
            users = self._get("/users", {"login": login})["data"]
        except InvalidRequestError:
            # Twitch refuses some logins that no user can have.
            users = []
        if not users:
            raise NoSuchChannelError(f"Twitch knows no channel {login!r}.")
        return Channel.from_dict(users[0])

    def get_user_by_id(self, user_id: str) -> Channel | None:
        """The channel with this id; None if it does not exist (any more). Raises TransientError."""
        users = self._get("/users", {"id": user_id})["data"]
        return Channel.from_dict(users[0]) if users else None

    def create_subscription(
        self, event_type: str, version: str, condition: Mapping[str, str], callback: str, secret: str
    ) -> Subscription:
        """Ask Twitch to deliver events to ``callback``, signed with ``secret``.

        The answer's status is "pending" until the callback has answered Twitch's challenge.
        Raises InvalidRequestError, ForbiddenError, ConflictError, LimitExceededError, BudgetExceededError,
        TransientError.
        """
        transport = {"method": "webhook", "callback": callback, "secret": secret}
        body = {"type": event_type, "version": version, "condition": condition, "transport": transport}
        response = self._request("POST", "/eventsub/subscriptions", body=body)
        # 429 has three meanings: only the rate limit leaves no requests, the other two differ in the message.
        if response.status == 429 and response.headers.get("Ratelimit-Remaining", "0") != "0":
            message = _message(response)
            error = BudgetExceededError if "cost" in message else LimitExceededError
            raise error(f"429: {message}")
        _raise_for_status(response, self._clock())
        return Subscription.from_dict(_parse(response)["data"][0])

    def client_id(self) -> str:
        """The application's id. Raises TransientError."""
        return self._current_token().client_id

    def delete_subscription(self, subscription_id: str) -> None:
        """Delete a subscription; it is no error if there is none. Raises TransientError."""
        response = self._request("DELETE", "/eventsub/subscriptions", {"id": subscription_id})
        if response.status != 404:
            _raise_for_status(response, self._clock())

    def list_subscriptions(self, user_id: str | None = None) -> Iterator[Page]:
        """The application's subscriptions, dead ones included, page by page.

        With ``user_id``, only those with this user in their condition. Raises TransientError.
        """
        query = {} if user_id is None else {"user_id": user_id}
        while True:
            answer = self._get("/eventsub/subscriptions", query)
            yield Page(
                [Subscription.from_dict(fields) for fields in answer["data"]],
                answer["total_cost"],
                answer["max_total_cost"],
            )
            cursor = answer.get("pagination", {}).get("cursor")
            if not cursor:
                return
            query["after"] = cursor

    def _get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        response = self._request("GET", path, query)
        _raise_for_status(response, self._clock())
        return _parse(response)

    def _request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None
    ) -> urllib3.BaseHTTPResponse:
        """Send a request; a token that Twitch refuses is replaced once."""
        url = self._api_url + path + (f"?{urlencode(query)}" if query else "")
        token = self._current_token()
        response = self._send(method, url, token, body)
        if response.status == 401:
            response = self._send(method, url, self._current_token(refused=token), body)
        return response

    def _send(self, method: str, url: str, token: _Token, body: Any) -> urllib3.BaseHTTPResponse:
        headers = {"Authorization": f"Bearer {token.value}", "Client-Id": token.client_id}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            return self._pool.request(
                method, url, headers=headers, body=None if body is None else json.dumps(body).encode()
            )
        except urllib3.exceptions.HTTPError as error:
            raise TwitchUnavailableError(f"no answer from Helix: {type(error).__name__}") from error

    def _current_token(self, refused: _Token | None = None) -> _Token:
        """The token to use; ``refused`` is one that Twitch no longer accepts."""
        with self._token_lock:
            token, now = self._token, self._clock()
            if token is None or token is refused or now >= token.expires_at:
                token = self._token = self._fetch_token()
            elif now >= token.expires_at - RENEWAL_MARGIN_SECONDS:
                # The old one is still valid, so it is used if Twitch cannot issue another one now.
                with contextlib.suppress(TransientError):
                    token = self._token = self._fetch_token()
            return token

    def _fetch_token(self) -> _Token:
        # https://dev.twitch.tv/docs/authentication/getting-tokens-oauth/#client-credentials-grant-flow
        credentials = self._load_credentials()
        fields = {
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret,
            "grant_type": "client_credentials",
        }
        try:
            response = self._pool.request(
                "POST", self._auth_url + "/token", fields=fields, encode_multipart=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise TwitchUnavailableError(f"no answer to a token request: {type(error).__name__}") from error
        if response.status in (400, 401, 403):
            raise CredentialsRefusedError(_message(response))
        _raise_for_status(response, self._clock())
        answer = _parse(response)
        return _Token(
            value=answer["access_token"],
            client_id=credentials.client_id,
            expires_at=self._clock() + answer["expires_in"],
        )


def _parse(response: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError as error:
        raise TwitchUnavailableError("Twitch's answer is not JSON") from error
    if not isinstance(answer, dict):
        raise TwitchUnavailableError("Twitch's answer is not an object")
    return answer


def _raise_for_status(response: urllib3.BaseHTTPResponse, now: float) -> None:
    """Raise the error for a status. https://dev.twitch.tv/docs/api/guide/#twitch-rate-limits"""
    status = response.status
    if status < 300:
        return
    message = f"{status}: {_message(response)}"
    if status >= 500:
        raise TwitchUnavailableError(message)
    if status == 429:
        raise RateLimitedError(message, _seconds_until_reset(response, now))
    errors = {400: InvalidRequestError, 403: ForbiddenError, 409: ConflictError, 410: InvalidRequestError}
    raise errors.get(status, HelixError)(message)


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
    return max(1, round(reset - now))
