"""Sign-in with Twitch: the OIDC provider at ``/oauth2``.

https://dev.twitch.tv/docs/authentication/getting-tokens-oidc/
"""

import dataclasses
import functools
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import jwt
from aiohttp import web
from aiohttp.typedefs import Handler
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from yarl import URL

from local.twitch import pages
from local.twitch.answers import RefusedError, oauth_error, web_url
from local.twitch.settings import Clock, Settings
from local.twitch.state import State, Token
from local.twitch.users import User

KEY_ID = "1"
CODE_SECONDS = 600
USER_TOKEN_SECONDS = 4 * 3600
APP_TOKEN_SECONDS = 60 * 24 * 3600
COGNITO_DOMAIN = re.compile(r"[a-z0-9-]+\.auth\.[a-z0-9-]+\.amazoncognito\.com")
# Fields of the sign-in page's own forms, which are no part of the authorization request.
PAGE_FIELDS = ("auto", "deny")


@dataclasses.dataclass(frozen=True, slots=True)
class _Code:
    """What an authorization code stands for; times are in epoch seconds."""

    redirect_uri: str
    user: User
    scopes: tuple[str, ...]
    nonce: str | None
    expires_at: float


class OidcProvider:
    """The endpoints below ``/oauth2``. Signing in asks for a login and no password."""

    def __init__(self, settings: Settings, state: State, clock: Clock) -> None:
        self._settings = settings
        self._state = state
        self._clock = clock
        self._codes: dict[str, _Code] = {}

    def app(self) -> web.Application:
        """The endpoints as an application to be mounted."""
        app = web.Application(middlewares=[_answer_errors])
        app.add_routes(
            [
                web.get("/.well-known/openid-configuration", self._discovery),
                web.get("/keys", self._keys),
                web.get("/authorize", self._authorize),
                web.post("/token", self._token),
                web.get("/userinfo", self._userinfo),
                web.get("/validate", self._validate),
            ]
        )
        return app

    @functools.cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    async def _discovery(self, _request: web.Request) -> web.Response:
        issuer = self._settings.issuer
        return web.json_response(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "userinfo_endpoint": f"{issuer}/userinfo",
                "jwks_uri": f"{issuer}/keys",
                "response_types_supported": ["code"],
                "scopes_supported": ["openid"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
                "claims_supported": ["aud", "azp", "exp", "iat", "iss", "sub"],
            }
        )

    async def _keys(self, _request: web.Request) -> web.Response:
        key = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return web.json_response({"keys": [{**key, "kid": KEY_ID, "use": "sig", "alg": "RS256"}]})

    async def _authorize(self, request: web.Request) -> web.Response:
        query = request.query
        if query.get("client_id") != self._settings.client_id:
            raise RefusedError(400, "invalid client")
        redirect_uri = query.get("redirect_uri")
        target = web_url(redirect_uri)
        if redirect_uri is None or target is None:
            raise RefusedError(400, "Parameter redirect_uri does not match registered URI")
        if query.get("response_type") != "code":
            raise RefusedError(400, "missing response type")
        scopes = tuple(query.get("scope", "").split())
        if "deny" in query:
            denied = {"error": "access_denied", "error_description": "The user denied you access"}
            raise web.HTTPFound(self._way_back(target, denied, query))
        login = query.get("auto")
        user = None if login is None else self._state.users.by_login(login.strip())
        if user is None:
            asked = {name: value for name, value in query.items() if name not in PAGE_FIELDS}
            return pages.sign_in(asked, scopes, self._state.users.seen(), refused_login=login)
        self._state.grant(self._settings.client_id, user.id, scopes)
        code = secrets.token_urlsafe(24)
        self._codes[code] = _Code(redirect_uri, user, scopes, query.get("nonce"), self._now() + CODE_SECONDS)
        answer = {"code": code, "scope": " ".join(scopes)}
        raise web.HTTPFound(self._way_back(target, answer, query))

    def _way_back(self, target: URL, answer: dict[str, str], query: Mapping[str, str]) -> URL:
        """Where the browser goes after the page, at the emulator if that is where Cognito lives."""
        if target.host and COGNITO_DOMAIN.fullmatch(target.host):
            target = URL(self._settings.cognito_callback_base).join(target.relative())
        if "state" in query:
            answer = answer | {"state": query["state"]}
        return target.update_query(answer)

    async def _token(self, request: web.Request) -> web.Response:
        # Twitch takes the parameters in the body or in the query.
        given = {**request.query, **{name: str(value) for name, value in (await request.post()).items()}}
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
                return web.json_response(self._issue(None, (), APP_TOKEN_SECONDS))
            case "authorization_code":
                return web.json_response(self._redeem(given))
            case None:
                raise RefusedError(400, "missing grant type")
            case _:
                raise RefusedError(400, "invalid grant type")

    def _redeem(self, given: Mapping[str, str]) -> dict[str, Any]:
        code = self._codes.pop(given.get("code", ""), None)
        if code is None or code.expires_at < self._now():
            raise RefusedError(400, "Invalid authorization code")
        if given.get("redirect_uri") != code.redirect_uri:
            raise RefusedError(400, "Parameter redirect_uri does not match registered URI")
        answer = self._issue(code.user, code.scopes, USER_TOKEN_SECONDS)
        # Against the RFC, Twitch lists the scopes as an array.
        answer |= {"refresh_token": secrets.token_urlsafe(32), "scope": list(code.scopes)}
        if "openid" in code.scopes:
            nonce = {} if code.nonce is None else {"nonce": code.nonce}
            answer["id_token"] = jwt.encode(
                self._claims(code.user) | nonce, self._key, algorithm="RS256", headers={"kid": KEY_ID}
            )
        return answer

    def _issue(self, user: User | None, scopes: Iterable[str], seconds: int) -> dict[str, Any]:
        """Remember a new access token and describe it."""
        token = secrets.token_hex(15)
        self._state.tokens[token] = Token(
            client_id=self._settings.client_id,
            user_id=None if user is None else user.id,
            scopes=tuple(scopes),
            expires_at=self._now() + seconds,
        )
        return {"access_token": token, "expires_in": seconds, "token_type": "bearer"}

    async def _userinfo(self, request: web.Request) -> web.Response:
        token = self._token_of(request)
        user = self._user_of(token)
        if user is None or "openid" not in token.scopes:
            raise RefusedError(401, "invalid access token")
        return web.json_response(self._claims(user))

    async def _validate(self, request: web.Request) -> web.Response:
        """https://dev.twitch.tv/docs/authentication/validate-tokens/"""
        token = self._token_of(request)
        user = self._user_of(token)
        return web.json_response(
            {
                "client_id": token.client_id,
                "scopes": list(token.scopes),
                "expires_in": int(token.expires_at - self._now()),
                **({} if user is None else {"login": user.login, "user_id": user.id}),
            }
        )

    def _token_of(self, request: web.Request) -> Token:
        """The token that a request carries. Raises RefusedError (401) if it is none of ours."""
        _scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        token = self._state.tokens.get(value)
        if token is None or token.expires_at < self._now():
            raise RefusedError(401, "invalid access token")
        return token

    def _user_of(self, token: Token) -> User | None:
        return None if token.user_id is None else self._state.users.by_id(token.user_id)

    def _claims(self, user: User) -> dict[str, Any]:
        """The claims that are certain from Twitch, and no more: nothing should rely on others."""
        now = int(self._now())
        return {
            "aud": self._settings.client_id,
            "azp": self._settings.client_id,
            "exp": now + 900,
            "iat": now,
            "iss": self._settings.issuer,
            "sub": user.id,
        }

    def _now(self) -> float:
        return self._clock() / 10**9


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusedError as error:
        return oauth_error(error)
