"""``/api/session``: sign viewers in at Twitch, and out again, without Cognito (``sign_in: "twitch"``).

``GET`` says where a sign-in begins, ``POST`` finishes one, ``DELETE`` ends this device's session, or with
``?devices=all`` every session of the viewer.
"""

import dataclasses
import functools
import json
import time
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.aws import Client
from lambdas.common.observability import logger
from lambdas.common.responses import answer, error_answer
from lambdas.common.sessions import COOKIE, LONGEST, SessionsTable, token_of
from lambdas.common.settings import from_environment
from lambdas.identity.twitch_oauth import Credentials, RefusedError, TwitchOAuth, TwitchUnavailableError

# A secret that was renewed is used so many seconds later.
SECRET_SECONDS = 60
RETRY_SECONDS = 5


@dataclasses.dataclass(frozen=True)
class Settings:
    """The environment variables, with what the infrastructure calls them in capitals."""

    sessions_table: str
    site_url: str
    streamer_scopes: str
    twitch_auth_url: str
    twitch_issuer: str
    twitch_secret_arn: str


SETTINGS = from_environment(Settings)
SESSIONS = SessionsTable(Client("dynamodb"), SETTINGS.sessions_table)
SECRETS = Client("secretsmanager")
REDIRECT_URI = f"{SETTINGS.site_url}/callback"
FOREIGN_ORIGIN = error_answer(403, "foreign_origin", "Only the site's own pages sign in and out.")
TWITCH = TwitchOAuth(SETTINGS.twitch_auth_url, SETTINGS.twitch_issuer, REDIRECT_URI)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP API request (payload 2.0)."""
    try:
        method = event["requestContext"]["http"]["method"]
        if method == "GET":
            return _where(event)
        if event["headers"].get("origin") != SETTINGS.site_url:
            return FOREIGN_ORIGIN
        return _begin(event) if method == "POST" else _end(event)
    except RefusedError as refusal:
        logger.warning("The sign-in was refused", extra={"reason": refusal.reason})
        return error_answer(400, refusal.reason, str(refusal))
    except TwitchUnavailableError as error:
        logger.warning("Twitch is unavailable", exc_info=error)
        message = "Twitch cannot be asked right now; try again in a moment."
        return error_answer(503, "twitch_unavailable", message, {"Retry-After": str(RETRY_SECONDS)})
    except Exception:
        logger.exception("The session could not be changed")
        return error_answer(500, "internal_error", "Something went wrong on our side.")


def _where(event: dict[str, Any]) -> dict[str, Any]:
    """Twitch's page, which asks a viewer for nothing but who they are, and a streamer for consent."""
    as_streamer = (event.get("queryStringParameters") or {}).get("as") == "streamer"
    scopes = f"openid {SETTINGS.streamer_scopes}" if as_streamer else "openid"
    return answer(200, {"url": TWITCH.begin_url(_credentials().client_id, scopes)})


def _begin(event: dict[str, Any]) -> dict[str, Any]:
    """Begin a session; the one that this browser had before ends."""
    code, verifier = _parse(event)
    now = int(time.time())
    sign_in = TWITCH.sign_in(_credentials(), code, verifier, now)
    SESSIONS.end(token_of(event, SETTINGS.site_url), now)
    token = SESSIONS.begin(sign_in)
    logger.info("A session began", extra={"viewer": sign_in.viewer_id})
    return answer(204) | {"cookies": [_cookie(token, int(LONGEST.total_seconds()))]}


def _end(event: dict[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    viewer_id = SESSIONS.end(token_of(event, SETTINGS.site_url), now)
    if viewer_id is not None and (event.get("queryStringParameters") or {}).get("devices") == "all":
        SESSIONS.end_all(viewer_id, now)
        logger.info("All of a viewer's sessions were ended", extra={"viewer": viewer_id})
    return answer(204) | {"cookies": [_cookie("", 0)]}


def _parse(event: dict[str, Any]) -> tuple[str, str]:
    """The code and the browser's secret. Raises RefusedError."""
    try:
        fields = json.loads(event.get("body") or "")
        code, verifier, redirect_uri = (fields[name] for name in ("code", "verifier", "redirect_uri"))
    except (ValueError, KeyError, TypeError, RecursionError):
        code = verifier = redirect_uri = None
    if not all(isinstance(value, str) and value and value.isascii() for value in (code, verifier)):
        message = "The body must be a JSON object with the texts code, verifier and redirect_uri."
        raise RefusedError("invalid_request", message)
    if redirect_uri != REDIRECT_URI:
        raise RefusedError("foreign_redirect_uri", "The sign-in was to lead to another site.")
    return code, verifier


def _cookie(value: str, seconds: int) -> str:
    return f"{COOKIE}={value}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Lax"


def _credentials() -> Credentials:
    return _load_credentials(int(time.monotonic() // SECRET_SECONDS))


@functools.lru_cache(maxsize=1)
def _load_credentials(_minute: int) -> Credentials:
    answered = SECRETS.call("GetSecretValue", {"SecretId": SETTINGS.twitch_secret_arn})
    return Credentials.from_json(answered["SecretString"])
