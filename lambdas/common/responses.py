"""What the routes for viewers answer (HTTP API, payload 2.0)."""

import json
from collections.abc import Mapping
from typing import Any


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
SIGNED_OUT = error_answer(401, "signed_out", "You are not signed in any more: sign in again.")
