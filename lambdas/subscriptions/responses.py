"""What the routes for viewers answer when Twitch does not (HTTP API, payload 2.0)."""

from typing import Any

from lambdas.common.observability import logger
from lambdas.common.responses import error_answer
from lambdas.subscriptions.helix import (
    DEFAULT_RETRY_SECONDS,
    CredentialsRefusedError,
    NoSuchChannelError,
    RateLimitedError,
    TransientError,
)


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
