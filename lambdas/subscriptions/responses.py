"""What the routes of this capability answer (HTTP API, payload 2.0)."""

import json
from collections.abc import Mapping
from typing import Any

from lambdas.common.observability import logger
from lambdas.subscriptions.helix import (
    DEFAULT_RETRY_SECONDS,
    CredentialsRefusedError,
    NoSuchChannelError,
    RateLimitedError,
    TransientError,
)


def answer(
    status: int, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """An answer with a JSON body, or without one; it must not be cached."""
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", "Cache-Control": "no-store", **(headers or {})},
        **({} if body is None else {"body": json.dumps(body)}),
    }


def error_answer(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """``{"error": {"code", "message"}}``: the code is for programs, the message for people."""
    return answer(status, {"error": {"code": code, "message": message}}, headers)


INVALID_LOGIN = error_answer(
    400,
    "invalid_login",
    "A channel name has 1 to 25 letters, digits or underscores, the first not an underscore.",
)


def access_claims(event: Mapping[str, Any]) -> dict[str, str] | None:
    """The claims of the viewer's access token; None for another token of the pool, such as an ID token.

    API Gateway's authorizer lets every token pass that the pool has signed for the site.
    https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html
    """
    claims: dict[str, str] = event["requestContext"]["authorizer"]["jwt"]["claims"]
    return claims if claims.get("token_use") == "access" else None


NO_ACCESS_TOKEN = error_answer(401, "no_access_token", "This takes the access token of a sign-in.")


def twitch_error_answer(error: Exception) -> dict[str, Any]:
    """The answer when Twitch does not say which channel is meant."""
    if isinstance(error, NoSuchChannelError):
        return error_answer(404, error.reason, str(error))
    if isinstance(error, CredentialsRefusedError):
        logger.error("Twitch refuses the application's credentials", exc_info=error)
    else:
        logger.warning("Twitch cannot be asked", exc_info=error)
    status, code = (429, error.reason) if isinstance(error, RateLimitedError) else (503, "twitch_unavailable")
    retry_after = error.retry_after if isinstance(error, TransientError) else DEFAULT_RETRY_SECONDS
    message = "Twitch cannot be asked right now; try again in a moment."
    return error_answer(status, code, message, {"Retry-After": str(retry_after)})
