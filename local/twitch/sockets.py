"""The EventSub WebSocket at ``/ws``.

https://dev.twitch.tv/docs/eventsub/handling-websocket-events/
"""

import asyncio
import contextlib
import json
import secrets
import uuid
from typing import Any

from aiohttp import WSMsgType, web

from local.twitch.messages import Message, frame
from local.twitch.settings import Clock
from local.twitch.simulator import Simulator
from local.twitch.state import timestamp

MOST_KEEPALIVE_SECONDS = 600
# The status of what a session carried, by the code with which Twitch closes it.
CLOSES = {
    4000: "websocket_internal_error",
    4001: "websocket_received_inbound_traffic",
    4002: "websocket_failed_ping_pong",
    4003: "websocket_connection_unused",
    4004: "websocket_failed_to_reconnect",
    4005: "websocket_network_timeout",
    4006: "websocket_network_error",
    4007: "websocket_failed_to_reconnect",
}


class Socket:
    """One connection. ``silent`` is a fault: nothing is sent any more, as if the network had failed."""

    def __init__(self, request: web.Request, least_keepalive: int) -> None:
        self.id = str(uuid.uuid4())
        self.status = "websocket_disconnected"
        self.silent = False
        self.replaced = False
        self.request = request
        self.response = web.WebSocketResponse(autoping=False)
        self._answers: dict[bytes, asyncio.Future[bool]] = {}
        self.keepalive_seconds = least_keepalive
        with contextlib.suppress(ValueError):
            asked = int(request.query.get("keepalive_timeout_seconds", ""))
            self.keepalive_seconds = min(max(least_keepalive, asked), MOST_KEEPALIVE_SECONDS)

    async def send(self, text: str) -> bool:
        """Send a message, and a ping behind it; whether the client has answered that, so has read both."""
        key = secrets.token_bytes(8)
        answer = self._answers[key] = asyncio.get_running_loop().create_future()
        try:
            if not self.silent:
                await self.response.send_str(text)
                await self.response.ping(key)
            return bool(await answer)
        except ConnectionError:
            return False
        finally:
            del self._answers[key]

    async def read(self) -> None:
        """Read until the connection ends. Clients may send nothing but pongs."""
        async for received in self.response:
            if received.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                await self.close(4001)
            elif (answer := self._answers.get(bytes(received.data))) and not answer.done():
                answer.set_result(True)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(False)

    async def close(self, code: int) -> None:
        """Close with one of the codes of CLOSES."""
        self.status = CLOSES[code]
        await self.response.close(code=code, message=self.status.encode())


class Sockets:
    """All connections."""

    def __init__(self, simulator: Simulator, clock: Clock) -> None:
        self._state = simulator.state
        self._settings = simulator.settings
        self._clock = clock
        self._open: dict[str, Socket] = {}
        self._reconnecting: dict[str, Socket] = {}

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Serve a connection until it ends."""
        socket = Socket(request, self._settings.keepalive_seconds)
        await socket.response.prepare(request)
        replaced = self._reconnecting.pop(request.query.get("reconnect", ""), None)
        if "reconnect" in request.query and replaced is None:
            await socket.close(4007)
            return socket.response
        session = {"method": "websocket", "session_id": socket.id, "connected_at": timestamp(self._clock())}
        self._state.sessions[socket.id] = session
        self._open[socket.id] = socket
        with contextlib.suppress(ConnectionError):
            await self._send_session(socket, "session_welcome")
        if replaced is not None:
            replaced.replaced = True
            for each in self._state.carried_by(replaced.id):
                each.transport = session
        keeping_alive = asyncio.create_task(self._keep_alive(socket))
        try:
            await socket.read()
        finally:
            keeping_alive.cancel()
            del self._open[socket.id]
            self._state.end_session(socket.id, socket.status, self._clock())
        return socket.response

    async def deliver(self, message: Message) -> tuple[int, bool]:
        """Send a message without a callback: the attempts, at most on two shards, and whether it was read."""
        sessions = self._state.sessions_for(message.subscription)[:2]
        for attempt, session_id in enumerate(sessions, 1):
            if session_id in self._open and await self._open[session_id].send(message.frame()):
                return attempt, True
        return len(sessions), False

    async def disturb(self, what: str | int) -> None:
        """Make something happen to every connection: an act of SOCKET_ACTS, or a code to close with.

        After ``reconnect`` it returns when the time to do so is over.
        """
        sockets = list(self._open.values())
        for socket in sockets:
            match what:
                case "cut" if socket.request.transport is not None:
                    socket.request.transport.abort()
                case "silent":
                    socket.silent = True
                case "disabled":
                    self._state.end_session(socket.id, CLOSES[4000], self._clock())
                case "reconnect":
                    key = secrets.token_urlsafe(8)
                    self._reconnecting[key] = socket
                    await self._send_session(socket, "session_reconnect", key)
                case int():
                    await socket.close(what)
        if what == "reconnect":
            await asyncio.sleep(self._settings.reconnect_seconds)
            self._reconnecting.clear()
            for socket in sockets:
                await socket.close(4004)

    async def _send_session(self, socket: Socket, message_type: str, reconnect: str = "") -> None:
        """Send the welcome, or with a key in the URL the message to reconnect."""
        session = {
            "id": socket.id,
            "status": "reconnecting" if reconnect else "connected",
            "keepalive_timeout_seconds": None if reconnect else socket.keepalive_seconds,
            "reconnect_url": f"{self._settings.socket_url}?reconnect={reconnect}" if reconnect else None,
            "connected_at": self._state.sessions[socket.id]["connected_at"],
        }
        await socket.response.send_str(self._frame(message_type, {"session": session}))

    def _frame(self, message_type: str, payload: dict[str, Any]) -> str:
        """A message that is not about a subscription."""
        about = {"message_id": str(uuid.uuid4()), "message_type": message_type}
        return frame(about | {"message_timestamp": timestamp(self._clock())}, json.dumps(payload))

    async def _keep_alive(self, socket: Socket) -> None:
        """Close an unused connection (4003), or send keepalives until one is not read (4002)."""
        await asyncio.sleep(socket.keepalive_seconds)
        if not socket.replaced and not self._state.carried_by(socket.id):
            await socket.close(4003)
        while not socket.silent:
            sending = socket.send(self._frame("session_keepalive", {}))
            try:
                await asyncio.wait_for(sending, socket.keepalive_seconds)
            except TimeoutError:
                await socket.close(4002)
            await asyncio.sleep(socket.keepalive_seconds)
