"""The pages: sign-in, the control page, avatars, and stand-ins for Twitch's player and chat."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from string import Template

from aiohttp import web

from local.twitch.users import LOGIN, User

FOLDER = Path(__file__).parent / "pages"
HOST = re.compile(r"[A-Za-z0-9.-]+")
# The sign-in page always offers these.
SUGGESTED_LOGINS = ("viewer_vera", "streamer_stella")
SUGGESTIONS = 6


def routes() -> list[web.RouteDef]:
    """The pages that do not depend on the simulator's state."""
    return [
        web.get("/", _control),
        web.get("/player/", _player),
        web.get("/embed/{channel}/chat", _chat),
        web.get("/avatars/{login}.svg", _avatar),
    ]


def sign_in(
    asked: Mapping[str, str], scopes: Iterable[str], known: Iterable[User], refused_login: str | None
) -> web.Response:
    """The page that asks for a login; ``asked`` are the parameters of the authorization request."""
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in asked.items()
    )
    logins = list(dict.fromkeys([*SUGGESTED_LOGINS, *(user.login for user in known)]))[:SUGGESTIONS]
    buttons = "".join(
        f'<button name="auto" value="{escape(login)}">{escape(login)}</button>' for login in logins
    )
    problem = f"There is no user {refused_login!r}." if refused_login else ""
    page = _page(
        "sign-in.html",
        hidden=hidden,
        buttons=buttons,
        scopes="".join(f"<li><code>{escape(scope)}</code></li>" for scope in scopes),
        problem=escape(problem),
    )
    page.set_status(400 if problem else 200)
    return page


async def _control(_request: web.Request) -> web.Response:
    return web.Response(text=(FOLDER / "control.html").read_text("utf-8"), content_type="text/html")


async def _player(request: web.Request) -> web.Response:
    return _embed(request, "player.html", request.query.get("channel", ""))


async def _chat(request: web.Request) -> web.Response:
    return _embed(request, "chat.html", request.match_info["channel"])


def _embed(request: web.Request, name: str, channel: str) -> web.Response:
    """A stand-in that only the hosts in ``parent`` may put into a frame, as with Twitch's embeds."""
    parents = request.query.getall("parent", [])
    if not LOGIN.fullmatch(channel.lower()):
        return web.Response(status=400, text="The channel is missing or malformed.")
    if not parents or not all(map(HOST.fullmatch, parents)):
        return web.Response(status=400, text="The parameter parent must name the embedding host.")
    page = _page(name, channel=escape(channel.lower()), hue=str(_hue(channel.lower())))
    sources = " ".join(f"http://{parent}:* https://{parent}:*" for parent in parents)
    page.headers["Content-Security-Policy"] = f"frame-ancestors {sources}"
    return page


async def _avatar(request: web.Request) -> web.Response:
    login = request.match_info["login"]
    if not LOGIN.fullmatch(login):
        raise web.HTTPNotFound
    hue = _hue(login)
    text = Template((FOLDER / "avatar.svg").read_text("utf-8")).substitute(
        initial=login[0].upper(), hue=hue, other_hue=(hue + 60) % 360
    )
    return web.Response(
        text=text, content_type="image/svg+xml", headers={"Cache-Control": "public, max-age=3600"}
    )


def _page(name: str, **fields: str) -> web.Response:
    """A page made from a template; the fields are HTML."""
    text = Template((FOLDER / name).read_text("utf-8")).substitute(fields)
    return web.Response(text=text, content_type="text/html", headers={"Cache-Control": "no-store"})


def _hue(login: str) -> int:
    """The channel's colour."""
    return hashlib.sha256(login.encode()).digest()[0] * 360 // 256
