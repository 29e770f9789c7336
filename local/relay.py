"""Stands between the local cloud and the real Twitch, which cannot reach a webhook on this machine.

The functions speak to it as to Helix. It makes their webhook subscriptions on a conduit, whose only shard is
a WebSocket, and posts what arrives there to the webhooks, signed as Twitch signs it.
https://dev.twitch.tv/docs/eventsub/handling-conduit-events/
"""

import argparse
import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from local.ports import HOST
from local.twitch.messages import webhook_headers
from ops import own_twitch

SUBSCRIPTIONS, CONDUITS, SHARDS = "/eventsub/subscriptions", "/eventsub/conduits", "/eventsub/conduits/shards"
PASSED_HEADERS = ("Authorization", "Client-Id", "Content-Type")
RETURNED_HEADERS = ("Content-Type", "Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Reset")
ATTEMPTS = 7
LONGEST_PAUSE = 30.0
CONCURRENT_DELIVERIES = 16
# Webhooks refuse older messages.
DELIVERED_WITHIN = timedelta(minutes=10)
IDS_KEPT = 10_000
# Beyond the interval in which Twitch sends something.
KEEPALIVE_SLACK_SECONDS = 3
# So long a replaced connection is read on: what Twitch sent there last may still be on its way.
DRAIN_SECONDS = 2

Json = dict[str, Any]
Webhook = tuple[str, str]  # its URL and its secret
Socket = aiohttp.ClientWebSocketResponse


class TwitchError(Exception):
    """What Twitch refused, and why."""


class Relay:
    """One conduit with one shard. ``state`` is the folder of what must survive the process.

    That is the conduit's id, for the next start to delete what this one leaves, and each message until the
    webhook has taken it: it is written before the ping behind it is answered.
    """

    def __init__(self, state: Path, check_seconds: float) -> None:
        self._application = own_twitch.application(os.environ)
        self._twitch, self._socket_url = own_twitch.addresses(os.environ)
        self._check_seconds = check_seconds
        self._conduit_file = state / f"{self._application.client_id}.conduit"
        self._messages = state / "messages"
        self._messages.mkdir(parents=True, exist_ok=True)
        self._token = self._conduit_id = ""
        self._connected = False
        self._costs: dict[str, int] = {}
        self._webhooks: dict[str, Webhook] = {}
        self._newest_webhook: Webhook | None = None
        self._seen: dict[str, None] = {}
        self._slots = asyncio.Semaphore(CONCURRENT_DELIVERIES)
        self._tasks: set[asyncio.Task[None]] = set()

    def app(self) -> web.Application:
        """Helix at ``/helix``, and at ``/`` how it is going: 503 until the first connection."""
        app = web.Application()
        app.add_routes([web.get("/", self._show), web.route("*", "/helix{path:/.*}", self._answer)])
        app.cleanup_ctx.append(self._running)
        return app

    async def _running(self, _app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as self._session:
            await self._find_conduit()
            for file in sorted(self._messages.iterdir(), key=lambda file: file.stat().st_mtime):
                self._accept(file.read_text())
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

    async def _request(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Json | None = None
    ) -> Any:
        """Call Helix with the relay's own token; the answer's body. Raises TwitchError.

        The rate limit is waited for, and failures are retried.
        """
        failure, url = "", self._twitch.api_url + path
        for attempt in range(ATTEMPTS):
            pause = min(0.2 * 2**attempt, LONGEST_PAUSE)
            try:
                self._token = self._token or await self._fetch_token()
                headers = {
                    "Authorization": f"Bearer {self._token}",
                    "Client-Id": self._application.client_id,
                }
                options: Json = {"params": query, "json": body, "headers": headers}
                async with self._session.request(method, url, **options) as answer:
                    text = await answer.text()
            except (aiohttp.ClientError, TimeoutError) as error:
                failure = f"{method} {path} got no answer from Twitch: {error!r}"
            else:
                if answer.ok:
                    return json.loads(text or "null")
                failure = f"Twitch refused {method} {path}: {answer.status} {text[:300]}"
                if answer.status == 401:
                    self._token = ""
                elif answer.status == 429 and answer.headers.get("Ratelimit-Remaining") == "0":
                    reset = float(answer.headers.get("Ratelimit-Reset", 0)) - time.time()
                    pause = min(max(pause, reset), LONGEST_PAUSE)
                elif answer.status < 500:
                    break
            await asyncio.sleep(pause)
        raise TwitchError(failure)

    async def _fetch_token(self) -> str:
        form = {**self._application._asdict(), "grant_type": "client_credentials"}
        async with self._session.post(f"{self._twitch.auth_url}/token", data=form) as answer:
            if answer.status in (400, 401, 403):
                raise TwitchError(f"Twitch refused the client id or the secret: {await answer.text()}")
            answer.raise_for_status()
            return str((await answer.json())["access_token"])

    # -- Helix, for the functions --------------------------------------------------------------------

    async def _show(self, _request: web.Request) -> web.Response:
        shown = {"connected": self._connected, "conduit": self._conduit_id, **self._costs}
        shown |= {"subscriptions": len(self._webhooks), "undelivered": len(list(self._messages.iterdir()))}
        return web.json_response(shown, status=200 if self._connected else 503)

    async def _answer(self, request: web.Request) -> web.Response:
        """Pass a request on. Subscriptions on the conduit are shown as webhooks, and no others."""
        method, path, body = request.method, request.match_info["path"], await request.read()
        of_subscriptions, webhook = path == SUBSCRIPTIONS, None
        if of_subscriptions and method == "POST":
            asked = json.loads(body)
            webhook = self._newest_webhook = (asked["transport"]["callback"], asked["transport"]["secret"])
            asked["transport"] = {"method": "conduit", "conduit_id": self._conduit_id}
            body = json.dumps(asked).encode()
        if of_subscriptions and method == "DELETE" and request.query.get("id") not in self._webhooks:
            return web.json_response({"status": 404, "message": "subscription not found"}, status=404)
        headers = {name: request.headers[name] for name in PASSED_HEADERS if name in request.headers}
        options: Json = {"params": request.query, "data": body, "headers": headers}
        try:
            async with self._session.request(method, self._twitch.api_url + path, **options) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            return web.json_response({"status": 502, "message": f"no answer: {error!r}"}, status=502)
        if not answer.ok:
            say(f"Twitch refused {method} {path}: {answer.status} {content[:300].decode(errors='replace')}")
        elif of_subscriptions and method == "DELETE":
            del self._webhooks[request.query["id"]]
        elif of_subscriptions:
            shown = json.loads(content)
            self._costs = {name: shown[name] for name in ("total_cost", "max_total_cost")}
            shown["data"] = [self._shown(each, webhook) for each in shown["data"] if self._is_ours(each)]
            content = json.dumps(shown).encode()
        returned = {name: answer.headers[name] for name in RETURNED_HEADERS if name in answer.headers}
        return web.Response(status=answer.status, body=content, headers=returned)

    def _is_ours(self, subscription: Json) -> bool:
        return bool(subscription["transport"].get("conduit_id") == self._conduit_id)

    def _shown(self, subscription: Json, asked: Webhook | None) -> Json:
        """The subscription as it was asked for. The answer to its creation may be late or lost."""
        known = asked or self._webhooks.get(subscription["id"]) or self._newest_webhook or ("", "")
        self._webhooks[subscription["id"]] = known
        return _as_webhook(subscription, known)

    # -- the conduit ---------------------------------------------------------------------------------

    async def _find_conduit(self) -> None:
        """Find the conduit of a run that was killed and delete its subscriptions, or create one."""
        self._conduit_id = self._conduit_file.read_text() if self._conduit_file.exists() else ""
        await self._delete_subscriptions()
        conduits = (await self._request("GET", CONDUITS))["data"]
        if self._conduit_id not in [conduit["id"] for conduit in conduits]:
            self._conduit_id = (await self._request("POST", CONDUITS, body={"shard_count": 1}))["data"][0][
                "id"
            ]
            self._conduit_file.write_text(self._conduit_id)
        say(f"The conduit is {self._conduit_id}.")

    async def _delete_subscriptions(self) -> None:
        ids: list[str] = []
        query: dict[str, str] = {}
        while True:
            page = await self._request("GET", SUBSCRIPTIONS, query)
            self._costs = {name: page[name] for name in ("total_cost", "max_total_cost")}
            ids += [subscription["id"] for subscription in page["data"] if self._is_ours(subscription)]
            if not (cursor := page.get("pagination", {}).get("cursor")):
                break
            query = {"after": cursor}
        self._webhooks.clear()
        await asyncio.gather(*(self._request("DELETE", SUBSCRIPTIONS, {"id": each}) for each in ids))

    async def _keep_assigned(self, session_id: str, socket: Socket) -> None:
        """Make a session the shard's, now and whenever Twitch has disabled the shard."""
        transport = {"method": "websocket", "session_id": session_id}
        wanted = {"conduit_id": self._conduit_id, "shards": [{"id": "0", "transport": transport}]}
        while True:
            try:
                shards = (await self._request("GET", SHARDS, {"conduit_id": self._conduit_id}))["data"]
                enabled = [each["transport"] for each in shards if each["status"] == "enabled"]
                if session_id not in [each.get("session_id") for each in enabled]:
                    if errors := (await self._request("PATCH", SHARDS, body=wanted))["errors"]:
                        say(f"Twitch refused the WebSocket as the conduit's shard: {errors}")
                        await socket.close()
                        return
                    say("The WebSocket is the conduit's shard.")
                self._connected = True
            except TwitchError as error:
                say(str(error))
            await asyncio.sleep(self._check_seconds)

    # -- the WebSocket -------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            lost: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._start(self._listen(self._socket_url, lost))
            failures = 0 if await lost else failures + 1
            await asyncio.sleep(min(0.2 * 2**failures, LONGEST_PAUSE))

    async def _listen(self, url: str, lost: asyncio.Future[bool], old: Socket | None = None) -> None:
        """Read a connection until it ends. ``lost`` gets whether it was welcomed, unless another replaces it.

        https://dev.twitch.tv/docs/eventsub/handling-websocket-events/
        """
        silence, welcomed, replaced = 10, False, False
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
                        welcomed, silence = True, session["keepalive_timeout_seconds"]
                        assigning.append(self._start(self._keep_assigned(session["id"], socket)))
                        self._start(_close_later(old))
                    elif kind == "session_reconnect":
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
            if not replaced and not lost.done():
                lost.set_result(welcomed)

    # -- messages ------------------------------------------------------------------------------------

    def _accept(self, text: str) -> None:
        """Write a message down and start to deliver it; Twitch may send one twice."""
        message = json.loads(text)
        name = hashlib.sha256(message["metadata"]["message_id"].encode()).hexdigest()
        if name not in self._seen:
            self._seen[name] = None
            if len(self._seen) > IDS_KEPT:
                del self._seen[next(iter(self._seen))]
            (self._messages / name).write_text(text)
            self._start(self._deliver(message, self._messages / name))

    async def _deliver(self, message: Json, file: Path) -> None:
        """Post a message to its webhook until it is taken, or too old to be."""
        metadata, payload = message["metadata"], message["payload"]
        sent_at = datetime.fromisoformat(metadata["message_timestamp"])
        retry = 0
        while datetime.now(UTC) - sent_at < DELIVERED_WITHIN:
            if webhook := self._webhooks.get(payload["subscription"]["id"], self._newest_webhook):
                body = json.dumps({**payload, "subscription": _as_webhook(payload["subscription"], webhook)})
                async with self._slots:
                    if await self._post(webhook[0], body, webhook_headers(metadata, retry, webhook[1], body)):
                        break
                retry += 1
            await asyncio.sleep(min(0.25 * 2**retry, LONGEST_PAUSE))
        else:
            say(f"{metadata['message_type']} {metadata['message_id']} could not be delivered in time.")
        file.unlink()

    async def _post(self, callback: str, body: str, headers: dict[str, str]) -> bool:
        """Post a message once; whether it was taken."""
        try:
            async with self._session.post(callback, data=body.encode(), headers=headers) as answer:
                return answer.ok
        except (aiohttp.ClientError, TimeoutError):
            return False


def _as_webhook(subscription: Json, webhook: Webhook) -> Json:
    return {**subscription, "transport": {"method": "webhook", "callback": webhook[0]}}


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
    parser.add_argument("--check-seconds", type=float, default=30, help="how often the shard is looked at")
    given = parser.parse_args()
    try:
        app = Relay(given.state, given.check_seconds).app()
        web.run_app(app, host=HOST, port=given.port, access_log=None, print=None)
    except TwitchError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
