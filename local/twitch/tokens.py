"""Access tokens, and authorization codes, which are exchanged for users' tokens.

https://dev.twitch.tv/docs/authentication/getting-tokens-oauth/
"""

import dataclasses
import functools
import hmac
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from local.twitch.responses import RefusedError
from local.twitch.settings import Clock, Settings
from local.twitch.state import State, Token
from local.twitch.users import User

KEY_ID = "1"
CODE_SECONDS = 600
USER_TOKEN_SECONDS = 4 * 3600
APP_TOKEN_SECONDS = 60 * 24 * 3600


@dataclasses.dataclass(frozen=True, slots=True)
class _Code:
    """What an authorization code was issued for; times are in epoch seconds."""

    redirect_uri: str
    user: User
    scopes: tuple[str, ...]
    nonce: str | None
    expires_at: float


class Tokens:
    """Issues tokens to the registered application."""

    def __init__(self, settings: Settings, state: State, clock: Clock) -> None:
        self._settings = settings
        self._state = state
        self._clock = clock
        self._codes: dict[str, _Code] = {}

    @functools.cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def public_key(self) -> dict[str, Any]:
        """The key that verifies ID tokens, as a JWK."""
        key = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {**key, "kid": KEY_ID, "use": "sig", "alg": "RS256"}

    def authorize(self, user: User, scopes: tuple[str, ...], redirect_uri: str, nonce: str | None) -> str:
        """Store the user's grant; returns a code that is valid once, for the same redirect URI."""
        self._state.grant(user.id, scopes)
        code = secrets.token_urlsafe(24)
        self._codes[code] = _Code(redirect_uri, user, scopes, nonce, self._now() + CODE_SECONDS)
        return code

    def issue(self, given: Mapping[str, str]) -> dict[str, Any]:
        """The token endpoint's answer to these parameters. Raises RefusedError."""
        if not given.get("client_id"):
            raise RefusedError(400, "missing client id")
        if given["client_id"] != self._settings.client_id:
            raise RefusedError(400, "invalid client")
        if not hmac.compare_digest(
            given.get("client_secret", "").encode(), self._settings.client_secret.encode()
        ):
            raise RefusedError(403, "invalid client secret")
        match given.get("grant_type"):
            case "client_credentials":
                return self._issue(None, (), APP_TOKEN_SECONDS)
            case "authorization_code":
                return self._redeem(given)
            case None:
                raise RefusedError(400, "missing grant type")
            case _:
                raise RefusedError(400, "invalid grant type")

    def find(self, value: str) -> Token | None:
        """The token with this value; None if there is none or it has expired."""
        token = self._state.tokens.get(value)
        return None if token is None or token.expires_at < self._now() else token

    def revoke(self, value: str) -> bool:
        """Forget the token with this value; returns whether there was one."""
        return self._state.tokens.pop(value, None) is not None

    def claims(self, user: User) -> dict[str, Any]:
        """The claims that Twitch always sends; the app must not need others."""
        now = int(self._now())
        return {
            "aud": self._settings.client_id,
            "azp": self._settings.client_id,
            "exp": now + 900,
            "iat": now,
            "iss": self._settings.issuer,
            "sub": user.id,
        }

    def _redeem(self, given: Mapping[str, str]) -> dict[str, Any]:
        code = self._codes.pop(given.get("code", ""), None)
        if code is None or code.expires_at < self._now():
            raise RefusedError(400, "Invalid authorization code")
        if given.get("redirect_uri") != code.redirect_uri:
            raise RefusedError(400, "Parameter redirect_uri does not match registered URI")
        answer = self._issue(code.user, code.scopes, USER_TOKEN_SECONDS)
        # Twitch sends the scopes as an array, unlike the RFC.
        answer |= {"refresh_token": secrets.token_urlsafe(32), "scope": list(code.scopes)}
        if "openid" in code.scopes:
            nonce = {} if code.nonce is None else {"nonce": code.nonce}
            answer["id_token"] = jwt.encode(
                self.claims(code.user) | nonce, self._key, algorithm="RS256", headers={"kid": KEY_ID}
            )
        return answer

    def _issue(self, user: User | None, scopes: Iterable[str], seconds: int) -> dict[str, Any]:
        """Store a new access token and return its answer."""
        token, user_id = secrets.token_hex(15), None if user is None else user.id
        self._state.tokens[token] = Token(user_id, tuple(scopes), expires_at=self._now() + seconds)
        return {"access_token": token, "expires_in": seconds, "token_type": "bearer"}

    def _now(self) -> float:
        return self._clock() / 10**9
