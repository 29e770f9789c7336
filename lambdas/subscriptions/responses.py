"""What the routes for viewers answer when it is not found which channel is meant (HTTP API, payload 2.0)."""

from typing import Any

from lambdas.common.observability import logger
from lambdas.common.responses import error_answer
from lambdas.subscriptions.following import TooManyChannelsError
from lambdas.subscriptions.helix import (
    DEFAULT_RETRY_SECONDS,
    CredentialsRefusedError,
    HelixError,
    RateLimitedError,
    TransientError,
)
from lambdas.subscriptions.logins import NoSuchChannelError

# Why a channel is not found.
NOT_FOUND = (TooManyChannelsError, HelixError, CredentialsRefusedError)
# A viewer may close another page any moment.
CHANNELS_RETRY_SECONDS = 60


def not_found_answer(error: Exception) -> dict[str, Any]:
    """The answer after one of the errors ``NOT_FOUND``."""
    if isinstance(error, TooManyChannelsError):
        headers = {"Retry-After": str(CHANNELS_RETRY_SECONDS)}
        return error_answer(429, "too_many_channels", str(error), headers)
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
