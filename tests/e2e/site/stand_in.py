"""A stand-in for everything behind the built site, so that a test can put the page into any state at once.

It serves the site with the policy that the distribution sends, answers the read routes and ``watch`` from
what it was told, and is the other end of the WebSocket. What is deployed is tested in ``test_journey.py``.
"""

import asyncio
import json
import secrets
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

from aiohttp import WSMsgType, web

from local.twitch import pages
from local.twitch.example_events import Scene
from local.twitch.subscription_types import SUBSCRIPTION_TYPES
from local.twitch.users import Users
from tests.e2e.clients import LIMIT

JSON = dict[str, Any]

#: What works for any channel, and what needs the streamer's consent.
OPEN: Final = ("stream.online", "stream.offline", "channel.update", "channel.raid", "user.update")
CONSENTED: Final = (
    "channel.follow",
    "channel.subscribe",
    "channel.subscription.gift",
    "channel.subscription.message",
    "channel.cheer",
    "channel.charity_campaign.donate",
    "channel.goal.begin",
    "channel.hype_train.begin",
    "channel.poll.begin",
    "channel.channel_points_custom_reward_redemption.add",
)
IDENTITY: Final = {
    "kind": "cognito",
    "authority": "https://cognito.example/pool",
    "client_id": "site",
    "domain": "https://sign-in.example",
    "provider": "Twitch",
    "streamer_provider": "TwitchStreamer",
}

_users = Users()
_makers = {kind.name: kind.make_event for kind in SUBSCRIPTION_TYPES}
EVENT_TYPES: Final = tuple(_makers)


def event(
    event_type: str,
    seconds_ago: float = 0,
    *,
    login: str = "marlowe",
    viewer: str = "ottoline",
    **fields: Any,
) -> JSON:
    """An event as the API tells it; ``fields`` replace those that are made up."""
    channel, by = _users.by_login(login), _users.by_login(viewer)
    assert channel
    assert by
    at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    made = _makers[event_type](Scene(channel, by, at)) if event_type in _makers else {}
    return {
        "id": secrets.token_hex(12),
        "streamer_id": channel.id,
        "streamer_name": login,
        "event_type": event_type,
        "occurred_at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "created_at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "payload": made | fields,
    }


class StandIn:
    """The server, in a thread of its own; the test's thread tells it what to answer."""

    def __init__(self, dist: Path) -> None:
        self._dist = dist
        self._loop = asyncio.new_event_loop()
        self._sockets: set[web.WebSocketResponse] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.url = ""
        self.reset()

    def reset(self) -> None:
        """Forget what was told: a channel with nothing recorded, and all well."""
        #: Recorded events of each login, newest first.
        self.recorded: dict[str, list[JSON]] = {}
        self.leaders: list[JSON] = []
        #: How viewers sign in, as in ``config.json``.
        self.identity: JSON = IDENTITY
        self.topics = [{"event_type": name, "status": "enabled", "reason": None} for name in OPEN]
        #: Statuses to answer instead, by the route's last word: ``watch``, ``events``, ``counts`` ...
        self.failing: dict[str, int] = {}
        #: Routes that do not answer for now.
        self.held: set[str] = set()
        self.sockets_refused = False
        #: How many events there are of earlier days, by type, on each of 30 days.
        self.earlier: list[dict[str, int]] = [{} for _ in range(30)]

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(LIMIT)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT)

    # -- What happens ---------------------------------------------------------------------------------------

    def record(self, events: Iterable[JSON]) -> None:
        """Events that the store already has."""
        for one in events:
            listed = self.recorded.setdefault(one["streamer_name"], [])
            listed.append(one)
            listed.sort(key=lambda each: str(each["created_at"]), reverse=True)

    def happen(self, *events: JSON) -> None:
        """Events that are recorded and sent to everybody who watches, in one frame."""
        self.record(events)
        self.send({"type": "events", "events": list(events)})

    def send(self, frame: JSON) -> None:
        """A frame to every open socket."""
        self._run(self._send(frame)).result(LIMIT)

    def flood(self, seconds: float, per_second: int, frames_per_second: int = 10) -> "Future[int]":
        """Send events at a rate, in the background, unrecorded; answers how many were sent."""
        return self._run(self._flood(seconds, per_second, frames_per_second))

    def break_off(self) -> None:
        """Close every socket."""
        self._run(self._close()).result(LIMIT)

    def _run(self, work: Any) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _send(self, frame: JSON) -> None:
        text = json.dumps(frame)
        for socket in list(self._sockets):
            await socket.send_str(text)

    async def _flood(self, seconds: float, per_second: int, frames_per_second: int) -> int:
        types = ("channel.follow", "channel.cheer", "channel.raid", "channel.subscribe", "channel.update")
        models = [event(name) for name in types]
        sent = 0
        start = self._loop.time()
        for frame in range(round(seconds * frames_per_second)):
            due = round((frame + 1) * per_second / frames_per_second) - sent
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            events = [
                models[n % len(models)] | {"id": f"flood-{n}-{now}", "occurred_at": now, "created_at": now}
                for n in range(sent, sent + due)
            ]
            sent += due
            await self._send({"type": "events", "events": events})
            await asyncio.sleep(max(0, start + (frame + 1) / frames_per_second - self._loop.time()))
        return sent

    async def _close(self) -> None:
        for socket in list(self._sockets):
            await socket.close()

    # -- What it answers -------------------------------------------------------------------------------------

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._faults])
        app.add_routes([route for route in pages.routes() if route.path != "/"])
        app.add_routes(
            [
                web.get("/config.json", self._config),
                web.get("/socket", self._socket),
                web.post("/api/channels/{login}/watch", self._watch),
                web.post("/api/overlays/{login}/watch", self._watch),
                web.post("/api/overlays/{login}/key", self._make_key),
                web.delete("/api/overlays/{login}/key", self._end_key),
                web.get("/api/channels/{login}/events", self._events),
                web.get("/api/channels/{login}/counts", self._counts),
                web.get("/api/channels/{login}/counts/daily", self._daily),
                web.get("/api/channels/{login}/counts/minutely", self._minutely),
                web.get("/api/leaderboard", self._leaderboard),
                web.get("/{path:.*}", self._page),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        # A name, so that Twitch's stand-ins may be framed by it; browsers lead *.localhost to this machine.
        self.url = f"http://localhost:{port}"
        self._policy = "; ".join(
            [
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                "img-src 'self' data:",
                f"connect-src 'self' ws://localhost:{port} {IDENTITY['domain']}",
                "frame-src 'self'",
                "base-uri 'none'",
                "form-action 'self'",
            ]
        )

    @web.middleware
    async def _faults(self, request: web.Request, handler: Any) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        if request.path.startswith(("/api/", "/config.json")):
            while name in self.held:
                await asyncio.sleep(0.02)
            if status := self.failing.get(name):
                headers = {"Retry-After": "20"} if status == 429 else {}
                message = {
                    "error": {
                        "code": "refused",
                        "message": "Twitch does not let anybody follow this channel.",
                    }
                }
                return web.json_response(message, status=status, headers=headers)
        response: web.StreamResponse = await handler(request)
        return response

    async def _page(self, request: web.Request) -> web.StreamResponse:
        path = self._dist / request.match_info["path"]
        file = path if path.is_file() else self._dist / "index.html"
        return web.FileResponse(file, headers={"Content-Security-Policy": self._policy})

    async def _config(self, _request: web.Request) -> web.Response:
        twitch = {"player_url": f"{self.url}/player", "chat_url": self.url}
        return web.json_response({"stage": "test", "identity": self.identity, "twitch": twitch})

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if self.sockets_refused:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    await socket.send_json({"type": "pong"})
        finally:
            self._sockets.discard(socket)
        return socket

    async def _watch(self, request: web.Request) -> web.Response:
        login = request.match_info["login"]
        user = _users.by_login(login)
        if user is None:
            error = {"code": "no_such_channel", "message": "Twitch knows no such channel."}
            return web.json_response({"error": error}, status=404)
        avatar = f"{self.url}/avatars/{login}.svg"
        channel = {"id": user.id, "login": login, "display_name": user.display_name, "avatar_url": avatar}
        return web.json_response(
            {
                "channel": channel,
                "topics": self.topics,
                "topics_version": 1,
                "ticket": secrets.token_hex(8),
                "websocket_url": f"{self.url.replace('http', 'ws')}/socket",
                "expires_at": "2030-01-01T00:00:00Z",
            }
        )

    async def _make_key(self, _request: web.Request) -> web.Response:
        return web.json_response({"key": f"{secrets.token_hex(8)}.{secrets.token_urlsafe(32)}"})

    async def _end_key(self, _request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _events(self, request: web.Request) -> web.Response:
        wanted = set(filter(None, request.query.get("event_type", "").split(",")))
        listed = [
            one
            for one in self.recorded.get(request.match_info["login"], [])
            if not wanted or one["event_type"] in wanted
        ]
        start, limit = int(request.query.get("before", 0)), int(request.query.get("limit", 10))
        end = start + limit
        return web.json_response(
            {"events": listed[start:end], "next": str(end) if end < len(listed) else None}
        )

    def _counted(self, events: Iterable[JSON]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for one in events:
            counts[one["event_type"]] = counts.get(one["event_type"], 0) + 1
        return counts

    async def _counts(self, request: web.Request) -> web.Response:
        counts = self._counted(self.recorded.get(request.match_info["login"], []))
        for day in self.earlier:
            for name, number in day.items():
                counts[name] = counts.get(name, 0) + number
        return web.json_response(
            {"streamer_id": "1", "streamer_name": "marlowe", "total": sum(counts.values()), "counts": counts}
        )

    async def _daily(self, request: web.Request) -> web.Response:
        today = datetime.now(UTC).date()
        days = [
            {"date": str(today - timedelta(days=29 - n)), "counts": dict(counts)}
            for n, counts in enumerate(self.earlier)
        ]
        for name, number in self._counted(self.recorded.get(request.match_info["login"], [])).items():
            days[-1]["counts"][name] = days[-1]["counts"].get(name, 0) + number  # type: ignore[attr-defined, index]
        return web.json_response({"days": days})

    async def _minutely(self, request: web.Request) -> web.Response:
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        minutes = []
        for ago in range(59, -1, -1):
            start = (now - timedelta(minutes=ago)).strftime("%Y-%m-%dT%H:%M")
            listed = self.recorded.get(request.match_info["login"], [])
            counts = self._counted(one for one in listed if one["created_at"].startswith(start))
            minutes.append({"start": f"{start}:00Z", "counts": counts})
        return web.json_response({"minutes": minutes})

    async def _leaderboard(self, _request: web.Request) -> web.Response:
        return web.json_response({"channels": self.leaders})
