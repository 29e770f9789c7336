"""What both of Twitch's APIs need: answers, errors in the two shapes they have, and URLs."""

import dataclasses
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from yarl import URL


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """An answer, as yet without a network: ``body`` is sent as JSON, None as nothing."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


class RefusedError(Exception):
    """A request that Twitch would refuse, with its status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def oauth_error(error: RefusedError) -> Response:
    """As id.twitch.tv answers."""
    return Response(error.status, {"status": error.status, "message": error.message})


def helix_error(error: RefusedError) -> Response:
    """As api.twitch.tv answers."""
    phrase = HTTPStatus(error.status).phrase
    return Response(error.status, {"error": phrase, "status": error.status, "message": error.message})


def web_url(text: object) -> URL | None:
    """What was given as a URL that can be called, or None if it is not one."""
    try:
        url = URL(text) if isinstance(text, str) else URL()
    except ValueError:
        return None
    return url if url.scheme in ("http", "https") and url.host else None
