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
from local.twitch.messages import sign
from local.twitch.settings import CLIENT_ID, CLIENT_SECRET

SUBSCRIPTIONS = "/eventsub/subscriptions"
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
# So long the replaced connection is read on: what Twitch sent there last may still be on its way.
DRAIN_SECONDS = 2

Webhook = tuple[str, str]  # its URL and its secret


class TwitchError(Exception):
    """What Twitch refused, and why; ``status`` is 0 without an answer."""

    def __init__(self, what: str, status: int = 0) -> None:
        super().__init__(what)
        self.status = status


class Helix:
    """The relay's own requests, with an app access token of its own."""

    def __init__(self, session: aiohttp.ClientSession, api_url: str, auth_url: str) -> None:
        self._session = session
        self._api_url = api_url
        self._auth_url = auth_url
        self._token = ""

    async def request(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """The answer's body. The rate limit is waited for, and failures are retried. Raises TwitchError."""
        headers = {"Authorization": f"Bearer {self._token}", "Client-Id": os.environ[CLIENT_ID]}
        for attempt in range(ATTEMPTS):
            pause = min(0.2 * 2**attempt, LONGEST_PAUSE)
            try:
                if not self._token:
                    self._token = await self._fetch_token()
                    headers["Authorization"] = f"Bearer {self._token}"
                url = self._api_url + path
                async with self._session.request(
                    method, url, params=query, json=body, headers=headers
                ) as answer:
                    status, text = answer.status, await answer.text()
                    reset = float(answer.headers.get("Ratelimit-Reset", 0)) - time.time()
            except (aiohttp.ClientError, TimeoutError) as error:
                failure = TwitchError(f"{method} {path} got no answer from Twitch: {error!r}")
            else:
                if status < 300:
                    return json.loads(text) if text else None
                failure = TwitchError(f"Twitch refused {method} {path}: {status} {text[:300]}", status)
                if status == 401:
                    self._token = ""
                elif status == 429 and answer.headers.get("Ratelimit-Remaining") == "0":
                    pause = min(max(pause, reset), LONGEST_PAUSE)
                elif status < 500:
                    break
            await asyncio.sleep(pause)
        raise failure

    async def _fetch_token(self) -> str:
        form = {"client_id": os.environ[CLIENT_ID], "client_secret": os.environ[CLIENT_SECRET]}
        form["grant_type"] = "client_credentials"
        async with self._session.post(f"{self._auth_url}/token", data=form) as answer:
            if answer.status in (400, 401, 403):
                sys.exit(f"Twitch refused the application's id or secret: {await answer.text()}")
            answer.raise_for_status()
            return str((await answer.json())["access_token"])


class Relay:
    """One conduit with one shard. ``state`` is the folder of what must survive the process.

    That is the conduit's id, for the next start to delete what this one leaves, and each message until the
    webhook has taken it: it is written before the ping behind it is answered.
    """

    def __init__(
        self, state: Path, api_url: str, auth_url: str, socket_url: str, check_seconds: float
    ) -> None:
        self._conduit_file = state / f"{os.environ[CLIENT_ID]}.conduit"
        self._messages = state / "messages"
        self._messages.mkdir(parents=True, exist_ok=True)
        self._api_url = api_url
        self._auth_url = auth_url
        self._socket_url = socket_url
        self._check_seconds = check_seconds
        self._conduit_id = ""
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
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as self._session:
            self._helix = Helix(self._session, self._api_url, self._auth_url)
            await self._find_conduit()
            for file in sorted(self._messages.iterdir(), key=lambda file: file.stat().st_mtime):
                self._accept(file.read_text())
            self._start(self._keep_connected())
            yield
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._delete_subscriptions()
            await self._helix.request("DELETE", "/eventsub/conduits", id=self._conduit_id)
            self._conduit_file.unlink()
            say("The subscriptions and the conduit are deleted.")

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- Helix, for the functions --------------------------------------------------------------------

    async def _show(self, _request: web.Request) -> web.Response:
        shown = {"connected": self._connected, "conduit": self._conduit_id, **self._costs}
        shown |= {"subscriptions": len(self._webhooks), "undelivered": len(list(self._messages.iterdir()))}
        return web.json_response(shown, status=200 if self._connected else 503)

    async def _answer(self, request: web.Request) -> web.Response:
        """Pass a request on. Subscriptions on the conduit are shown as webhooks, and no others."""
        path, body, webhook = request.match_info["path"], await request.read(), None
        if path == SUBSCRIPTIONS and request.method == "POST":
            asked = json.loads(body)
            webhook = self._newest_webhook = (asked["transport"]["callback"], asked["transport"]["secret"])
            asked["transport"] = {"method": "conduit", "conduit_id": self._conduit_id}
            body = json.dumps(asked).encode()
        known = self._webhooks.pop(request.query.get("id", ""), None) if request.method == "DELETE" else True
        if not known:
            return _refusal(404, "subscription not found")
        headers = {name: request.headers[name] for name in PASSED_HEADERS if name in request.headers}
        try:
            async with self._session.request(
                request.method, self._api_url + path, params=request.query, data=body, headers=headers
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            return _refusal(502, f"no answer from Twitch: {error!r}")
        if answer.status >= 400 and answer.status not in (404, 409):
            say(f"Twitch refused {request.method} {path}: {answer.status} {content[:300].decode()}")
        elif path == SUBSCRIPTIONS and content:
            shown = json.loads(content)
            if "data" in shown:
                self._costs = {name: shown[name] for name in ("total_cost", "max_total_cost")}
                shown["data"] = [
                    self._as_webhook(each, webhook) for each in shown["data"] if self._is_ours(each)
                ]
                content = json.dumps(shown).encode()
        returned = {name: answer.headers[name] for name in RETURNED_HEADERS if name in answer.headers}
        return web.Response(status=answer.status, body=content, headers=returned)

    def _is_ours(self, subscription: dict[str, Any]) -> bool:
        return bool(subscription["transport"].get("conduit_id") == self._conduit_id)

    def _as_webhook(self, subscription: dict[str, Any], webhook: Webhook | None = None) -> dict[str, Any]:
        """The subscription as it was asked for. The answer to its creation may be late or lost."""
        known = webhook or self._webhooks.get(subscription["id"]) or self._newest_webhook or ("", "")
        self._webhooks[subscription["id"]] = known
        return {**subscription, "transport": {"method": "webhook", "callback": known[0]}}

    # -- the conduit ---------------------------------------------------------------------------------

    async def _find_conduit(self) -> None:
        """Find the conduit of a run that was killed and delete its subscriptions, or create one."""
        known = self._conduit_file.read_text() if self._conduit_file.exists() else ""
        conduits = (await self._helix.request("GET", "/eventsub/conduits"))["data"]
        self._conduit_id = known
        await self._delete_subscriptions()
        if not any(conduit["id"] == known for conduit in conduits):
            created = await self._helix.request("POST", "/eventsub/conduits", {"shard_count": 1})
            self._conduit_id = created["data"][0]["id"]
            self._conduit_file.write_text(self._conduit_id)
        say(f"The conduit is {self._conduit_id}.")

    async def _delete_subscriptions(self) -> None:
        """Delete the conduit's subscriptions."""
        query: dict[str, str] = {}
        ids: list[str] = []
        while True:
            page = await self._helix.request("GET", SUBSCRIPTIONS, **query)
            self._costs = {name: page[name] for name in ("total_cost", "max_total_cost")}
            ids += [subscription["id"] for subscription in page["data"] if self._is_ours(subscription)]
            if not (cursor := page.get("pagination", {}).get("cursor")):
                break
            query = {"after": cursor}
        self._webhooks.clear()
        await asyncio.gather(*(self._helix.request("DELETE", SUBSCRIPTIONS, id=each) for each in ids))

    async def _keep_assigned(self, session_id: str, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Make a session the shard's, now and whenever Twitch has disabled the shard."""
        path = "/eventsub/conduits/shards"
        transport = {"method": "websocket", "session_id": session_id}
        wanted = {"conduit_id": self._conduit_id, "shards": [{"id": "0", "transport": transport}]}
        while True:
            try:
                shards = (await self._helix.request("GET", path, conduit_id=self._conduit_id))["data"]
                enabled = [each["transport"] for each in shards if each["status"] == "enabled"]
                if not any(each.get("session_id") == session_id for each in enabled):
                    if errors := (await self._helix.request("PATCH", path, wanted))["errors"]:
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

    async def _listen(
        self, url: str, lost: asyncio.Future[bool], old: aiohttp.ClientWebSocketResponse | None = None
    ) -> None:
        """Read a connection until it ends. ``lost`` gets whether it was welcomed, unless another replaces it.

        https://dev.twitch.tv/docs/eventsub/handling-websocket-events/
        """
        silence, welcomed, replaced = 10, False, False
        assigning: asyncio.Task[None] | None = None
        try:
            async with self._session.ws_connect(url, timeout=aiohttp.ClientWSTimeout(ws_close=1)) as socket:
                while True:
                    async with asyncio.timeout(silence + KEEPALIVE_SLACK_SECONDS):
                        received = await socket.receive()
                    if received.type is not aiohttp.WSMsgType.TEXT:
                        break
                    message = json.loads(received.data)
                    match message["metadata"]["message_type"]:
                        case "session_welcome":
                            session, welcomed = message["payload"]["session"], True
                            silence = session["keepalive_timeout_seconds"]
                            assigning = self._start(self._keep_assigned(session["id"], socket))
                            if old is not None:
                                self._start(_close_later(old))
                        case "session_reconnect" if assigning is not None:
                            replaced = True
                            assigning.cancel()
                            new_url = message["payload"]["session"]["reconnect_url"]
                            self._start(self._listen(new_url, lost, socket))
                        case "notification" | "revocation":
                            self._accept(received.data)
            say(f"A WebSocket was closed: {socket.close_code}.")
        except (aiohttp.ClientError, TimeoutError) as error:
            say(f"A WebSocket was lost: {error!r}.")
        finally:
            if assigning is not None:
                assigning.cancel()
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

    async def _deliver(self, message: dict[str, Any], file: Path) -> None:
        """Post a message to its webhook until it is taken, or too old to be."""
        metadata, payload = message["metadata"], message["payload"]
        sent_at = datetime.fromisoformat(metadata["message_timestamp"])
        retry = 0
        while datetime.now(UTC) - sent_at < DELIVERED_WITHIN:
            webhook = self._webhooks.get(payload["subscription"]["id"], self._newest_webhook)
            if webhook is not None:
                async with self._slots:
                    if await self._post(webhook, retry, metadata, payload):
                        break
                retry += 1
            await asyncio.sleep(min(0.25 * 2**retry, LONGEST_PAUSE))
        else:
            say(f"{metadata['message_type']} {metadata['message_id']} could not be delivered in time.")
        file.unlink()

    async def _post(
        self, webhook: Webhook, retry: int, metadata: dict[str, str], payload: dict[str, Any]
    ) -> bool:
        """Post a message once; whether it was taken."""
        callback, secret = webhook
        transport = {"method": "webhook", "callback": callback}
        body = json.dumps({**payload, "subscription": {**payload["subscription"], "transport": transport}})
        id_, sent_at = metadata["message_id"], metadata["message_timestamp"]
        headers = {
            "Content-Type": "application/json",
            "Twitch-Eventsub-Message-Id": id_,
            "Twitch-Eventsub-Message-Retry": str(retry),
            "Twitch-Eventsub-Message-Type": metadata["message_type"],
            "Twitch-Eventsub-Message-Signature": sign(secret, id_, sent_at, body),
            "Twitch-Eventsub-Message-Timestamp": sent_at,
            "Twitch-Eventsub-Subscription-Type": payload["subscription"]["type"],
            "Twitch-Eventsub-Subscription-Version": payload["subscription"]["version"],
        }
        try:
            async with self._session.post(callback, data=body, headers=headers) as answer:
                return answer.ok
        except (aiohttp.ClientError, TimeoutError):
            return False


async def _close_later(socket: aiohttp.ClientWebSocketResponse) -> None:
    await asyncio.sleep(DRAIN_SECONDS)
    await socket.close()


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"status": status, "message": message}, status=status)


def say(text: str) -> None:
    """Write a line of the log."""
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


def main() -> None:
    """Read the command line and serve, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m local.relay", description=__doc__)
    for name in ("port", "state", "api-url", "auth-url", "socket-url"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--check-seconds", type=float, default=30, help="how often the shard is looked at")
    given = parser.parse_args()
    relay = Relay(Path(given.state), given.api_url, given.auth_url, given.socket_url, given.check_seconds)
    try:
        web.run_app(relay.app(), host=HOST, port=int(given.port), access_log=None, print=None)
    except TwitchError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
