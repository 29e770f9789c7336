"""Sign-in with Twitch: the OIDC provider at ``/oauth2``.

https://dev.twitch.tv/docs/authentication/getting-tokens-oidc/
"""

import re
from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from local.twitch import pages
from local.twitch.responses import RefusedError, oauth_error, web_url
from local.twitch.settings import Clock
from local.twitch.simulator import Simulator
from local.twitch.state import Token
from local.twitch.users import User

COGNITO_DOMAIN = re.compile(r"[a-z0-9-]+\.auth\.[a-z0-9-]+\.amazoncognito\.com")
# Parameters of the sign-in page's forms, which are not part of the authorization request.
PAGE_FIELDS = ("auto", "deny")


class OidcProvider:
    """The endpoints below ``/oauth2``. Signing in asks for a login and no password."""

    def __init__(self, simulator: Simulator, clock: Clock) -> None:
        self._settings = simulator.settings
        self._users = simulator.state.users
        self._tokens = simulator.tokens
        self._clock = clock

    def app(self) -> web.Application:
        """The endpoints as an application to be mounted."""
        app = web.Application(middlewares=[_answer_errors])
        app.add_routes(
            [
                web.get("/.well-known/openid-configuration", self._discovery),
                web.get("/keys", self._keys),
                web.get("/authorize", self._authorize),
                web.get("/userinfo", self._userinfo),
                web.get("/validate", self._validate),
                web.post("/revoke", self._revoke),
            ]
        )
        return app

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
        return web.json_response({"keys": [self._tokens.public_key()]})

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
            raise web.HTTPFound(self._redirect(target, denied, query))
        login = query.get("auto")
        user = None if login is None else self._users.by_login(login.strip())
        if user is None:
            asked = {name: value for name, value in query.items() if name not in PAGE_FIELDS}
            return pages.sign_in(asked, scopes, self._users.seen(), refused_login=login)
        code = self._tokens.authorize(user, scopes, redirect_uri, query.get("nonce"))
        answer = {"code": code, "scope": " ".join(scopes)}
        raise web.HTTPFound(self._redirect(target, answer, query))

    def _redirect(self, target: URL, answer: dict[str, str], query: Mapping[str, str]) -> URL:
        """Where the browser is redirected to; a Cognito domain is replaced by the emulator's address."""
        if target.host and COGNITO_DOMAIN.fullmatch(target.host):
            target = URL(self._settings.cognito_callback_base).join(target.relative())
        if "state" in query:
            answer = answer | {"state": query["state"]}
        return target.update_query(answer)

    async def _userinfo(self, request: web.Request) -> web.Response:
        token = self._token_of(request)
        user = self._user_of(token)
        if user is None or "openid" not in token.scopes:
            raise RefusedError(401, "invalid access token")
        return web.json_response(self._tokens.claims(user))

    async def _validate(self, request: web.Request) -> web.Response:
        """Client libraries use it: https://dev.twitch.tv/docs/authentication/validate-tokens/"""
        token = self._token_of(request)
        user = self._user_of(token)
        return web.json_response(
            {
                "client_id": self._settings.client_id,
                "scopes": list(token.scopes),
                "expires_in": int(token.expires_at - self._clock() / 10**9),
                **({} if user is None else {"login": user.login, "user_id": user.id}),
            }
        )

    async def _revoke(self, request: web.Request) -> web.Response:
        """The user's grant stays: https://dev.twitch.tv/docs/authentication/revoke-tokens/"""
        given = await request.post()
        if given.get("client_id") != self._settings.client_id:
            raise RefusedError(404, "client does not exist")
        if not self._tokens.revoke(str(given.get("token"))):
            raise RefusedError(400, "Invalid token")
        return web.Response()

    def _token_of(self, request: web.Request) -> Token:
        """The token of a request. Raises RefusedError (401) if it is not valid."""
        _scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        token = self._tokens.find(value)
        if token is None:
            raise RefusedError(401, "invalid access token")
        return token

    def _user_of(self, token: Token) -> User | None:
        return None if token.user_id is None else self._users.by_id(token.user_id)


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusedError as error:
        answer = oauth_error(error)
        return web.json_response(answer.body, status=answer.status)
