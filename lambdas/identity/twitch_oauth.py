"""Signing in at Twitch: where it begins, and what the code that it ends with says of the viewer.

https://dev.twitch.tv/docs/authentication/getting-tokens-oidc/#oidc-authorization-code-grant-flow
"""

import base64
import dataclasses
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlencode

import pycurl

from lambdas.common.aws import new_handle
from lambdas.common.observability import logger
from lambdas.common.sessions import SignIn

CONNECT_SECONDS, ANSWER_SECONDS = 1, 5


class RefusedError(Exception):
    """The sign-in is refused; ``reason`` is a short code, the message is for the viewer."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TwitchUnavailableError(Exception):
    """Twitch answered 5xx or 429, not at all, or something else than tokens."""


class CredentialsRefusedError(Exception):
    """Twitch does not know the application, or its secret is wrong: an operator must correct that."""


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


class TwitchOAuth:
    """Twitch's endpoints below ``auth_url``, with one connection that stays open."""

    def __init__(self, auth_url: str, issuer: str, redirect_uri: str) -> None:
        self._auth_url, self._issuer, self._redirect_uri = auth_url, issuer, redirect_uri
        self._curl = new_handle()
        self._curl.setopt(pycurl.CONNECTTIMEOUT, CONNECT_SECONDS)
        self._curl.setopt(pycurl.TIMEOUT, ANSWER_SECONDS)

    def begin_url(self, client_id: str, scopes: str) -> str:
        """Where a sign-in begins; the page adds the ``state`` and the ``nonce`` of its browser."""
        query = {
            "client_id": client_id,
            "redirect_uri": self._redirect_uri,
            "response_type": "code",
            "scope": scopes,
        }
        return f"{self._auth_url}/authorize?{urlencode(query)}"

    def sign_in(self, credentials: Credentials, code: str, verifier: str, now: int) -> SignIn:
        """Exchange a code for tokens, read who signed in, and give the tokens up again.

        ``verifier`` is the browser's secret, whose hash it sent as the ``nonce``: a code that somebody else's
        browser began with is refused. Raises RefusedError, TwitchUnavailableError, CredentialsRefusedError.
        """
        tokens = self._exchange(credentials, code)
        try:
            claims = _claims(tokens["id_token"])
            self._check(claims, credentials.client_id, verifier, now)
            scope = tokens.get("scope") or []
            # Twitch sends a list, RFC 6749 a text.
            scopes = frozenset(scope if isinstance(scope, list) else scope.split()) - {"openid"}
            return SignIn(claims["sub"], now, scopes)
        finally:
            self._revoke(credentials.client_id, tokens["access_token"])

    def _exchange(self, credentials: Credentials, code: str) -> dict[str, Any]:
        status, body = self._post(
            "/token",
            {
                "client_id": credentials.client_id,
                "client_secret": credentials.client_secret,
                "code": code,
                "grant_type": "authorization_code",
                "redirect_uri": self._redirect_uri,
            },
        )
        if status == 400:
            raise RefusedError(
                "invalid_code", "This sign-in has ended, or was finished already: sign in again."
            )
        if status in (401, 403):
            raise CredentialsRefusedError(f"Twitch answered {status}.")
        try:
            tokens = json.loads(body)
            if status == 200 and {"access_token", "id_token"} <= tokens.keys():
                return dict(tokens)
        except (ValueError, AttributeError):
            pass
        raise TwitchUnavailableError(f"Twitch answered {status}, without tokens.")

    def _check(self, claims: Mapping[str, Any], client_id: str, verifier: str, now: int) -> None:
        """Check an ID token that comes straight from Twitch over TLS, so not its signature.

        https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation
        """
        audience, expires_at, subject = claims.get("aud"), claims.get("exp"), claims.get("sub")
        meant_for_us = client_id in (audience if isinstance(audience, list) else [audience])
        current = isinstance(expires_at, int | float) and expires_at > now
        identified = isinstance(subject, str) and subject.isascii() and subject.isdecimal()
        if claims.get("iss") != self._issuer or not (meant_for_us and current and identified):
            logger.error("Twitch's ID token is not acceptable", extra={"claims": claims})
            raise RefusedError("invalid_token", "Twitch did not say who you are: sign in again.")
        if not hmac.compare_digest(str(claims.get("nonce")).encode(), nonce_of(verifier).encode()):
            raise RefusedError("other_browser", "This sign-in was not begun in this browser: sign in again.")

    def _revoke(self, client_id: str, token: str) -> None:
        """Give up the access token, which nothing needs.

        https://dev.twitch.tv/docs/authentication/revoke-tokens/
        """
        try:
            status, _ = self._post("/revoke", {"client_id": client_id, "token": token})
        except TwitchUnavailableError:
            status = 0
        if status != 200:
            # It ends by itself after some hours.
            logger.warning("Twitch's token could not be given up", extra={"status": status})

    def _post(self, path: str, fields: Mapping[str, str]) -> tuple[int, bytes]:
        self._curl.setopt(pycurl.URL, self._auth_url + path)
        self._curl.setopt(pycurl.POSTFIELDS, urlencode(fields))
        try:
            body: bytes = self._curl.perform_rb()
        except pycurl.error:
            raise TwitchUnavailableError(self._curl.errstr()) from None
        return self._curl.getinfo(pycurl.RESPONSE_CODE), body


def nonce_of(verifier: str) -> str:
    """The hash that a browser sends as the nonce: SHA-256 in base64url, as a code challenge (RFC 7636)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _claims(id_token: str) -> dict[str, Any]:
    try:
        payload = id_token.split(".")[1]
        return dict(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise TwitchUnavailableError("Twitch's ID token is not a JWT.") from error
