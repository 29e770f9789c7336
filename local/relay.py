"""Stands between the local cloud and the real Twitch, which cannot reach a webhook on this machine.

The functions speak to it as to Helix. It makes their webhook subscriptions on a conduit, whose only shard is
a WebSocket, and posts what arrives there to the webhooks, signed as Twitch signs it.
https://dev.twitch.tv/docs/eventsub/handling-conduit-events/
"""

import argparse
import asyncio
import json
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from local.ports import HOST
from local.twitch.messages import webhook_headers
from ops import own_twitch

SUBSCRIPTIONS, CONDUITS, SHARDS = "/eventsub/subscriptions", "/eventsub/conduits", "/eventsub/conduits/shards"
PASSED_HEADERS = ("Authorization", "Client-Id", "Content-Type")
RETURNED_HEADERS = ("Content-Type", "Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Reset")
ATTEMPTS, LONGEST_PAUSE = 7, 30.0
CONCURRENT_DELIVERIES = 16
DELIVERED_WITHIN = timedelta(minutes=10)  # webhooks refuse older messages
MESSAGES = """
    pragma journal_mode = wal;
    pragma synchronous = off;  -- a message outlives the process, not the machine
    create table if not exists messages (id text primary key, taken_at real, text text);
"""
KEEPALIVE_SLACK_SECONDS = 3
DRAIN_SECONDS = 2  # what Twitch sent last by a replaced connection may still be on its way
CHECK_SECONDS = 10

Json = dict[str, Any]
Webhook = tuple[str, str]  # its URL and its secret
Socket = aiohttp.ClientWebSocketResponse


class TwitchError(Exception):
    """What Twitch refused, and why."""


class Relay:
    """One conduit with one shard. ``state`` is the folder of what must survive the process.

    That is the conduit's id, for the next start to delete what this one leaves, and the messages of the last
    ten minutes, written before the ping behind each is answered. The next start delivers them again: what
    webhooks took may have been lost with the emulator before it was recorded.
    """

    def __init__(self, state: Path) -> None:
        self._application = own_twitch.application(os.environ)
        self._twitch, self._socket_url = own_twitch.addresses(os.environ)
        state.mkdir(parents=True, exist_ok=True)
        self._conduit_file = state / f"{self._application.client_id}.conduit"
        self._messages = sqlite3.connect(state / "messages.db", isolation_level=None)
        self._messages.executescript(MESSAGES)
        self._token = self._conduit_id = ""
        self._connected = False
        self._costs: Json = {}
        self._webhooks: dict[str, Webhook] = {}
        self._newest_webhook: Webhook | None = None
        self._undelivered: set[str] = set()
        self._slots = asyncio.Semaphore(CONCURRENT_DELIVERIES)
        self._tasks: set[asyncio.Task[None]] = set()

    def app(self) -> web.Application:
        """Helix at ``/helix``, and at ``/`` how it is going: 503 while there is no connection."""
        app = web.Application()
        app.add_routes([web.get("/", self._show), web.route("*", "/helix{path:/.*}", self._answer)])
        app.cleanup_ctx.append(self._running)
        return app

    async def _running(self, _app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as self._session:
            await self._find_conduit()
            self._forget_old_messages()
            for (text,) in self._messages.execute("select text from messages order by taken_at").fetchall():
                self._start(self._deliver(json.loads(text)))
            self._start(self._keep_connected())
            yield
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._delete_subscriptions()
            await self._request("DELETE", CONDUITS, {"id": self._conduit_id})
            self._conduit_file.unlink()
            say("The subscriptions and the conduit are deleted.")

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _send(self, method: str, url: str, **options: Any) -> tuple[int, bytes, Mapping[str, str]]:
        """Send a request to Twitch; the answer's status, body and headers. Without an answer it is 502."""
        try:
            async with self._session.request(method, url, **options) as answer:
                return answer.status, await answer.read(), answer.headers
        except (aiohttp.ClientError, TimeoutError) as error:
            return 502, json.dumps({"status": 502, "message": f"no answer: {error!r}"}).encode(), {}

    async def _request(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Json | None = None
    ) -> Any:
        """Call Helix with the relay's own token; the answer's body. Raises TwitchError.

        The rate limit is waited for, and failures are retried: not a POST, which may have been done.
        """
        for attempt in range(ATTEMPTS):
            pause, url = _pause(attempt), self._twitch.api_url + path
            self._token = self._token or await self._fetch_token()
            headers = {"Authorization": f"Bearer {self._token}", "Client-Id": self._application.client_id}
            status, text, answered = await self._send(method, url, params=query, json=body, headers=headers)
            # What a request whose answer was lost has deleted is not there any more.
            if status < 300 or (method, status) == ("DELETE", 404):
                return json.loads(text or "null")
            if status == 401:
                self._token = ""
            elif status == 429 and answered.get("Ratelimit-Remaining") == "0":
                pause = min(max(pause, float(answered["Ratelimit-Reset"]) - time.time()), LONGEST_PAUSE)
            elif status < 500 or method == "POST":
                break
            await asyncio.sleep(pause)
        raise TwitchError(_refused(method, path, status, text))

    async def _fetch_token(self) -> str:
        """An app access token; empty if Twitch is in trouble. Raises TwitchError."""
        form = {**self._application._asdict(), "grant_type": "client_credentials"}
        status, text, _ = await self._send("POST", f"{self._twitch.auth_url}/token", data=form)
        if status in (400, 401, 403):
            raise TwitchError(f"Twitch refused the client id or the secret: {text.decode(errors='replace')}")
        if status != 200:
            say(_refused("POST", "/oauth2/token", status, text))
            return ""
        return str(json.loads(text)["access_token"])

    # -- Helix, for the functions --------------------------------------------------------------------

    async def _show(self, _request: web.Request) -> web.Response:
        counts = {"subscriptions": len(self._webhooks), "undelivered": len(self._undelivered)}
        shown = {"connected": self._connected, "conduit": self._conduit_id, **counts, **self._costs}
        return web.json_response(shown, status=200 if self._connected else 503)

    async def _answer(self, request: web.Request) -> web.Response:
        """Pass a request on. Subscriptions on the conduit are shown as webhooks, and no others."""
        method, path, body = request.method, request.match_info["path"], await request.read()
        action, asked = method if path == SUBSCRIPTIONS else "", None
        if action == "POST":
            try:
                content = json.loads(body)
                asked = content["transport"]["callback"], content["transport"]["secret"]
                is_here = URL(asked[0]).host == HOST
            except (ValueError, LookupError, TypeError):
                is_here = False
            # Any page in a browser on this machine can send a request here.
            if not is_here:
                return _refusal(400, f"the relay delivers to webhooks at {HOST} only")
            content["transport"] = {"method": "conduit", "conduit_id": self._conduit_id}
            body = json.dumps(content).encode()
        if action == "DELETE" and request.query.get("id") not in self._webhooks:
            return _refusal(404, "subscription not found")
        headers = {name: request.headers[name] for name in PASSED_HEADERS if name in request.headers}
        options = {"params": request.query, "data": body, "headers": headers}
        status, text, answered = await self._send(method, self._twitch.api_url + path, **options)
        if action == "POST" and status in (202, 409):  # Twitch accepted the credentials
            self._newest_webhook = asked
        if status >= 300:
            say(_refused(method, path, status, text))
        elif action == "DELETE":
            del self._webhooks[request.query["id"]]
        elif action:
            text = json.dumps(self._translate(json.loads(text), asked)).encode()
        returned = {name: answered[name] for name in RETURNED_HEADERS if name in answered}
        return web.Response(status=status, body=text, headers=returned)

    def _translate(self, page: Json, asked: Webhook | None = None) -> Json:
        """The conduit's subscriptions as they were asked for; a creation's answer may be late or lost."""
        self._costs = {name: page[name] for name in ("total_cost", "max_total_cost")}
        ours = [each for each in page["data"] if each["transport"].get("conduit_id") == self._conduit_id]
        for each in ours:
            known = asked or self._webhooks.get(each["id"]) or self._newest_webhook or ("", "")
            self._webhooks[each["id"]] = known
            each["transport"] = {"method": "webhook", "callback": known[0]}
        return {**page, "data": ours}

    # -- the conduit ---------------------------------------------------------------------------------

    async def _find_conduit(self) -> None:
        """Find the conduit of a run that was killed and delete its subscriptions, or create one."""
        self._conduit_id = self._conduit_file.read_text() if self._conduit_file.exists() else ""
        known = await self._conduit_ids()
        if self._conduit_id in known:
            await self._delete_subscriptions()
        else:
            try:
                made = {(await self._request("POST", CONDUITS, body={"shard_count": 1}))["data"][0]["id"]}
            except TwitchError:
                # Perhaps only the answer was lost.
                if not (made := await self._conduit_ids() - known):
                    raise
            self._conduit_id = made.pop()
            self._conduit_file.write_text(self._conduit_id)
        say(f"The conduit is {self._conduit_id}.")

    async def _conduit_ids(self) -> set[str]:
        return {each["id"] for each in (await self._request("GET", CONDUITS))["data"]}

    async def _delete_subscriptions(self) -> None:
        deleted: set[str] = set()
        query = {"conduit_id": self._conduit_id}
        while True:
            page = self._translate(await self._request("GET", SUBSCRIPTIONS, query))
            if not (ids := {each["id"] for each in page["data"]} - deleted):
                break
            await asyncio.gather(*(self._request("DELETE", SUBSCRIPTIONS, {"id": each}) for each in ids))
            deleted |= ids
        self._webhooks.clear()

    async def _keep_assigned(self, session_id: str, socket: Socket) -> None:
        """Make a session the shard's, now and when the shard was disabled or the conduit was deleted."""
        transport = {"method": "websocket", "session_id": session_id}
        while True:
            self._forget_old_messages()
            try:
                if self._conduit_id not in await self._conduit_ids():
                    await self._find_conduit()
                wanted = {"conduit_id": self._conduit_id, "shards": [{"id": "0", "transport": transport}]}
                shards = (await self._request("GET", SHARDS, {"conduit_id": self._conduit_id}))["data"]
                enabled = [each["transport"] for each in shards if each["status"] == "enabled"]
                if session_id not in [each.get("session_id") for each in enabled]:
                    if errors := (await self._request("PATCH", SHARDS, body=wanted))["errors"]:
                        say(f"Twitch refused the WebSocket as the conduit's shard: {errors}")
                        await socket.close()
                        return
                    say("The WebSocket is the conduit's shard.")
                self._connected = True
            except (TwitchError, ValueError, LookupError, TypeError) as error:
                self._connected = False
                say(f"The shard could not be checked: {error!r}")
            await asyncio.sleep(CHECK_SECONDS)

    # -- the WebSocket -------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            lost = asyncio.Event()
            self._start(self._listen(self._socket_url, lost))
            await lost.wait()
            failures = 0 if self._connected else failures + 1
            self._connected = False
            await asyncio.sleep(_pause(failures))

    async def _listen(self, url: str, lost: asyncio.Event, old: Socket | None = None) -> None:
        """Read a connection until it ends. ``lost`` is set then, unless another connection replaces it.

        https://dev.twitch.tv/docs/eventsub/handling-websocket-events/
        """
        silence, replaced = 10, False
        assigning: list[asyncio.Task[None]] = []
        try:
            async with self._session.ws_connect(url, timeout=aiohttp.ClientWSTimeout(ws_close=1)) as socket:
                while True:
                    async with asyncio.timeout(silence + KEEPALIVE_SLACK_SECONDS):
                        received = await socket.receive()
                    if received.type is not aiohttp.WSMsgType.TEXT:
                        say(f"A WebSocket was closed: {socket.close_code}.")
                        break
                    message = json.loads(received.data)
                    kind, session = message["metadata"]["message_type"], message["payload"].get("session")
                    if kind == "session_welcome":
                        silence = session["keepalive_timeout_seconds"]
                        assigning.append(self._start(self._keep_assigned(session["id"], socket)))
                        self._start(_close_later(old))
                    elif kind == "session_reconnect" and not replaced:
                        replaced = True
                        assigning.pop().cancel()
                        self._start(self._listen(session["reconnect_url"], lost, socket))
                    elif kind in ("notification", "revocation"):
                        self._accept(received.data)
        except (aiohttp.ClientError, TimeoutError) as error:
            say(f"A WebSocket was lost: {error!r}.")
        finally:
            for task in assigning:
                task.cancel()
            if not replaced:
                lost.set()

    # -- messages ------------------------------------------------------------------------------------

    def _accept(self, text: str) -> None:
        """Write a message down and start to deliver it, unless Twitch sends it again."""
        message = json.loads(text)
        row = message["metadata"]["message_id"], time.time(), text
        if self._messages.execute("insert or ignore into messages values (?, ?, ?)", row).rowcount:
            self._start(self._deliver(message))

    def _forget_old_messages(self) -> None:
        oldest = time.time() - DELIVERED_WITHIN.total_seconds()
        self._messages.execute("delete from messages where taken_at < ?", (oldest,))

    async def _deliver(self, message: Json) -> None:
        """Post a message to its webhook until it is taken, or too old to be."""
        metadata, payload = message["metadata"], message["payload"]
        sent_at = datetime.fromisoformat(metadata["message_timestamp"])
        self._undelivered.add(metadata["message_id"])
        retry = 0
        while datetime.now(UTC) - sent_at < DELIVERED_WITHIN:
            if webhook := self._webhooks.get(payload["subscription"]["id"], self._newest_webhook):
                payload["subscription"]["transport"] = {"method": "webhook", "callback": webhook[0]}
                body = json.dumps(payload)
                async with self._slots:
                    if await self._post(webhook[0], body, webhook_headers(metadata, retry, webhook[1], body)):
                        break
                retry += 1
            # Before anybody watches, there may be many messages and no webhook.
            await asyncio.sleep(_pause(retry) if webhook else 1)
        else:
            say(f"{metadata['message_type']} {metadata['message_id']} could not be delivered in time.")
        self._undelivered.discard(metadata["message_id"])

    async def _post(self, callback: str, body: str, headers: dict[str, str]) -> bool:
        """Post a message once; whether it was taken."""
        try:
            async with self._session.post(callback, data=body.encode(), headers=headers) as answer:
                return answer.ok
        except (aiohttp.ClientError, TimeoutError):
            return False


def _pause(attempt: int) -> float:
    return min(0.2 * 2.0 ** min(attempt, 10), LONGEST_PAUSE)


def _refused(method: str, path: str, status: int, text: bytes) -> str:
    return f"Twitch refused {method} {path}: {status} {text[:300].decode(errors='replace')}"


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"status": status, "message": message}, status=status)


async def _close_later(socket: Socket | None) -> None:
    await asyncio.sleep(DRAIN_SECONDS)
    if socket is not None:
        await socket.close()


def say(text: str) -> None:
    """Write a line of the log."""
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


def main() -> None:
    """Read the command line and serve, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m local.relay", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    given = parser.parse_args()
    os.umask(0o077)  # messages are about people
    try:
        app = Relay(given.state).app()
        web.run_app(app, host=HOST, port=given.port, access_log=None, print=None, shutdown_timeout=1)
    except TwitchError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
