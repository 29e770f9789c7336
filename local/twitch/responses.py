"""Responses and errors of Twitch's two APIs, id.twitch.tv and api.twitch.tv, and a check of URLs."""

import dataclasses
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from yarl import URL


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """A response; ``body`` is sent as JSON, None as an empty body."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


class RefusedError(Exception):
    """Twitch would refuse the request with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def oauth_error(error: RefusedError) -> Response:
    """The error as id.twitch.tv sends it."""
    return Response(error.status, {"status": error.status, "message": error.message})


def helix_error(error: RefusedError) -> Response:
    """The error as api.twitch.tv sends it."""
    phrase = HTTPStatus(error.status).phrase
    return Response(error.status, {"error": phrase, "status": error.status, "message": error.message})


def web_url(text: object) -> URL | None:
    """The text as an http or https URL; None if it is not one."""
    try:
        url = URL(text) if isinstance(text, str) else URL()
    except ValueError:
        return None
    return url if url.scheme in ("http", "https") and url.host else None
