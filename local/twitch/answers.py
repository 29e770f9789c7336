"""What both of Twitch's APIs need: errors in the two shapes they have, and URLs."""

from http import HTTPStatus

from aiohttp import web
from yarl import URL


class RefusedError(Exception):
    """A request that Twitch would refuse, with its status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def oauth_error(error: RefusedError) -> web.Response:
    """As id.twitch.tv answers."""
    return web.json_response({"status": error.status, "message": error.message}, status=error.status)


def helix_error(error: RefusedError) -> web.Response:
    """As api.twitch.tv answers."""
    phrase = HTTPStatus(error.status).phrase
    body = {"error": phrase, "status": error.status, "message": error.message}
    return web.json_response(body, status=error.status)


def web_url(text: object) -> URL | None:
    """What was given as a URL that can be called, or None if it is not one."""
    try:
        url = URL(text) if isinstance(text, str) else URL()
    except ValueError:
        return None
    return url if url.scheme in ("http", "https") and url.host else None
