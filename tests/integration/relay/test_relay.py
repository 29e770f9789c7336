"""The relay to Twitch: whatever fails, each event that Twitch delivers arrives at the webhook once."""

import asyncio
import collections
import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from local.environment import ROOT
from local.ports import any_free_port
from local.relay import _pause
from tests.integration.twitch.support import (
    CLIENT_ID,
    CLIENT_SECRET,
    SECRET,
    Twitch,
    Webhook,
    eventually,
    serve,
    simulated_twitch,
)


class Relay:
    """A relay in a process of its own, as the functions see it."""

    def __init__(self, twitch: Twitch, state: Path, secret: str = CLIENT_SECRET) -> None:
        port = any_free_port()
        self.url, self.twitch = f"http://127.0.0.1:{port}", twitch
        self.log = state / "log"
        command = [sys.executable, "-m", "local.relay", "--port", str(port), "--state", str(state)]
        variables = {"TWITCH_CLIENT_ID": CLIENT_ID, "TWITCH_CLIENT_SECRET": secret}
        variables["FANFARE_REAL_TWITCH"] = twitch.settings.base_url
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | variables, stdout=log, stderr=log
            )

    async def helix(self, method: str, path: str, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.twitch.token}", "Client-Id": CLIENT_ID}
        url = f"{self.url}/helix{path}"
        async with self.twitch.session.request(method, url, headers=headers, **options) as response:
            text = await response.text()
            return response.status, await response.json() if text else None, response.headers

    async def subscribe(self, callback: str, login: str = "alice", secret: str = SECRET) -> Any:
        """Ask for a webhook, as the functions do."""
        transport = {"method": "webhook", "callback": callback, "secret": secret}
        condition = {"broadcaster_user_id": await self.twitch.user_id(login)}
        body = {"type": "stream.online", "version": "1", "condition": condition, "transport": transport}
        return await self.helix("POST", "/eventsub/subscriptions", json=body)

    async def status(self) -> Any:
        """What it shows of itself; None while it does not answer or is not connected."""
        try:
            async with self.twitch.session.get(self.url) as response:
                return await response.json() if response.ok else None
        except aiohttp.ClientError:
            return None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextlib.asynccontextmanager
async def relay(twitch: Twitch, state: Path) -> AsyncIterator[Relay]:
    """A relay that is connected."""
    running = Relay(twitch, state)
    try:
        await eventually(running.status)
        yield running
    finally:
        running.process.kill()
        await asyncio.to_thread(running.process.wait)


@pytest.fixture
async def twitch() -> AsyncIterator[Twitch]:
    """A simulator with the real time, and short intervals."""
    async with simulated_twitch(clock=time.time_ns, keepalive_seconds=2, reconnect_seconds=3.0) as running:
        yield running


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    webhook = Webhook()
    app = web.Application()
    app.router.add_post("/webhooks/twitch", webhook.handle)
    async with serve(app, socket.create_server(("127.0.0.1", 0))) as base:
        webhook.url = f"{base}/webhooks/twitch"
        yield webhook


async def send(twitch: Twitch, count: int = 1, **options: Any) -> set[str]:
    """Send events; the ids of those that Twitch counts as delivered."""
    answer = await twitch.control(
        "/events", event_type="stream.online", login="alice", count=count, **options
    )
    return {each["message_id"] for each in answer.json["deliveries"] if each["status"] == 200}


async def arrived(webhook: Webhook, ids: set[str]) -> collections.Counter[str]:
    """How often each notification arrived, after all of ``ids`` did."""

    async def all_of_them() -> bool:
        return ids <= {message.id for message in webhook.of_type("notification")}

    await eventually(all_of_them)
    assert all(message.is_signed_with(SECRET) for message in webhook.messages)
    return collections.Counter(message.id for message in webhook.of_type("notification"))


async def until_delivered(twitch: Twitch) -> None:
    """Until Twitch delivers again."""

    async def delivers() -> bool:
        return bool(await send(twitch))

    await eventually(delivers)


async def test_functions_see_webhooks_and_nothing_else(
    twitch: Twitch, webhook: Webhook, tmp_path: Path
) -> None:
    foreign = await twitch.enabled(webhook.url, "bob")
    async with relay(twitch, tmp_path) as running:
        status, answer, headers = await running.subscribe(webhook.url)
        assert (status, answer["data"][0]["status"]) == (202, "enabled")
        assert answer["data"][0]["transport"] == {"method": "webhook", "callback": webhook.url}
        assert headers["Ratelimit-Limit"] == "800"
        _, listed, _ = await running.helix("GET", "/eventsub/subscriptions")
        assert listed["data"] == answer["data"]
        assert (listed["total_cost"], listed["max_total_cost"]) == (2, 10_000)
        shown = await running.status()
        assert (shown["total_cost"], shown["max_total_cost"], shown["subscriptions"]) == (2, 10_000, 1)

        for refused in (foreign["id"], "unknown"):
            assert (await running.helix("DELETE", f"/eventsub/subscriptions?id={refused}"))[0] == 404
        assert (await running.subscribe(webhook.url))[0] == 409
        assert (await running.helix("GET", "/users?login=alice"))[1]["data"][0]["login"] == "alice"
        mine = answer["data"][0]["id"]
        assert (await running.helix("DELETE", f"/eventsub/subscriptions?id={mine}"))[0] == 204
        assert (await running.helix("GET", "/eventsub/subscriptions"))[1]["data"] == []
        assert (await twitch.subscription(foreign["id"]))["status"] == "enabled"


async def test_an_event_arrives_as_a_signed_delivery_and_is_retried(
    twitch: Twitch, webhook: Webhook, tmp_path: Path
) -> None:
    async with relay(twitch, tmp_path) as running:
        _, answer, _ = await running.subscribe(webhook.url)
        webhook.answers += [web.Response(status=503), web.Response(status=500)]
        [id_] = await send(twitch)
        await eventually(lambda: _true(len(webhook.messages) == 3))
        assert [message.headers["Twitch-Eventsub-Message-Retry"] for message in webhook.messages] == list(
            "012"
        )
        assert await arrived(webhook, {id_}) == {id_: 3}
        message = webhook.messages[0]
        assert message.json["subscription"] == answer["data"][0]
        assert message.json["event"]["broadcaster_user_login"] == "alice"
        await twitch.control("/revoke", login="alice", event_type="stream.online", reason="user_removed")
        await eventually(lambda: _true(bool(webhook.of_type("revocation"))))
        [revocation] = webhook.of_type("revocation")
        assert revocation.json["subscription"]["status"] == "user_removed"


async def _true(value: bool) -> bool:
    return value


async def all_delivered(running: Relay) -> bool:
    return (await running.status() or {}).get("undelivered") == 0


async def cut(twitch: Twitch) -> None:
    await twitch.control("/sockets", do="cut")


async def reconnect(twitch: Twitch) -> None:
    await twitch.control("/sockets", do="reconnect")


async def silent(twitch: Twitch) -> None:
    await twitch.control("/sockets", do="silent")


async def disabled(twitch: Twitch) -> None:
    await twitch.control("/sockets", do="disabled")


async def refused(twitch: Twitch) -> None:
    """Helix fails while the relay connects anew."""
    await twitch.control("/faults", path="/helix/eventsub/conduits", status=503, count=4)
    await twitch.control("/faults", path="/helix/eventsub/conduits", status=429, count=2)
    await twitch.control("/sockets", do="cut")


@pytest.mark.parametrize("fault", [cut, reconnect, silent, disabled, refused])
async def test_every_event_that_twitch_delivers_arrives_once(
    twitch: Twitch, webhook: Webhook, tmp_path: Path, fault: Callable[[Twitch], Awaitable[None]]
) -> None:
    async with relay(twitch, tmp_path) as running:
        await running.subscribe(webhook.url)
        sending = asyncio.create_task(send(twitch, 200, per_second=100))
        await eventually(lambda: _true(len(webhook.messages) > 20))
        await fault(twitch)
        await until_delivered(twitch)
        delivered = await sending | await send(twitch, 20)
        counts = await arrived(webhook, delivered)
        assert set(counts.values()) == {1}
        if fault is reconnect:
            assert len(delivered) == 220
        # The webhook counts a message before the relay reads its answer.
        await eventually(lambda: all_delivered(running))


async def test_it_delivers_to_this_machine_only(twitch: Twitch, webhook: Webhook, tmp_path: Path) -> None:
    """Any page in a browser on this machine can send it a request, though not one that Twitch accepts."""
    async with relay(twitch, tmp_path) as running:
        await running.subscribe(webhook.url)
        for callback in (
            "https://evil.example/",
            "//evil.example",
            "http://127.0.0.1@evil.example/",
            "",
            "x",
        ):
            status, answer, _ = await running.subscribe(callback)
            assert (status, answer["message"]) == (400, "the relay delivers to webhooks at 127.0.0.1 only")
        for body in ("{", "[]", '{"transport": 7}', '{"transport": {"callback": 7, "secret": ""}}'):
            assert (await running.helix("POST", "/eventsub/subscriptions", data=body))[0] == 400
        ids = await send(twitch)
        assert await arrived(webhook, ids) == dict.fromkeys(ids, 1)


async def test_it_says_whether_it_is_connected(twitch: Twitch, tmp_path: Path) -> None:
    async with relay(twitch, tmp_path) as running:
        await twitch.control("/faults", path="/helix/eventsub/conduits", status=503)
        await cut(twitch)

        async def disconnected() -> bool:
            return await running.status() is None

        await eventually(disconnected)
        await twitch.request("DELETE", "/simulator/faults")
        await eventually(running.status)


async def test_a_message_that_twitch_sends_twice_arrives_once(
    twitch: Twitch, webhook: Webhook, tmp_path: Path
) -> None:
    async with relay(twitch, tmp_path) as running:
        await running.subscribe(webhook.url)
        await twitch.control("/faults", duplicates=2, count=1)
        [first] = await send(twitch)
        [second] = await send(twitch)
        assert await arrived(webhook, {first, second}) == {first: 1, second: 1}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_what_a_relay_had_taken_arrives_after_the_next_start(
    twitch: Twitch, webhook: Webhook, tmp_path: Path, number: signal.Signals
) -> None:
    """Also what the webhook had taken: it may be lost with the emulator. Twitch's ids tell who records it."""
    async with relay(twitch, tmp_path) as running:
        await running.subscribe(webhook.url)
        taken = await send(twitch, 5)
        await arrived(webhook, taken)
        webhook.answers.extend(web.Response(status=503) for _ in range(1000))
        delivered = taken | await send(twitch, 15)
        assert len(delivered) == 20
        await asyncio.to_thread(running.stop, number)
    webhook.messages.clear()
    webhook.answers.clear()
    async with relay(twitch, tmp_path) as again:
        assert (await again.status())["undelivered"] == 20
        assert (await again.helix("GET", "/eventsub/subscriptions"))[1]["data"] == []
        await again.subscribe(webhook.url)
        assert await arrived(webhook, delivered) == dict.fromkeys(delivered, 1)
        # Twitch sends one of them again, and another one.
        await twitch.control("/events", event_type="stream.online", login="alice", message_id=min(taken))
        [last] = await send(twitch)
        assert await arrived(webhook, {last}) == dict.fromkeys(delivered | {last}, 1)


async def test_a_killed_relays_conduit_is_found_again(twitch: Twitch, tmp_path: Path) -> None:
    async with relay(twitch, tmp_path) as running:
        conduit = (await running.status())["conduit"]
        await asyncio.to_thread(running.stop, signal.SIGKILL)
    async with relay(twitch, tmp_path) as again:
        assert (await again.status())["conduit"] == conduit
    assert len((await twitch.helix("GET", "/eventsub/conduits")).json["data"]) == 1


async def test_a_message_that_is_too_old_is_given_up(
    twitch: Twitch, webhook: Webhook, tmp_path: Path
) -> None:
    async with relay(twitch, tmp_path) as running:
        await running.subscribe(webhook.url)
        await arrived(webhook, await send(twitch))
        await asyncio.to_thread(running.stop, signal.SIGKILL)
    with contextlib.closing(sqlite3.connect(tmp_path / "messages.db")) as messages, messages:
        messages.execute("update messages set taken_at = taken_at - 601")
    async with relay(twitch, tmp_path) as again:
        assert (await again.status())["undelivered"] == 0


async def test_nothing_of_it_stays_at_twitch(twitch: Twitch, webhook: Webhook, tmp_path: Path) -> None:
    foreign = await twitch.enabled(webhook.url, "bob")
    other = (await twitch.helix("POST", "/eventsub/conduits", json={"shard_count": 1})).json["data"][0]
    async with relay(twitch, tmp_path) as running:
        await running.subscribe(webhook.url)
        assert await asyncio.to_thread(running.stop) == 0
    assert (await twitch.helix("GET", "/eventsub/conduits")).json["data"] == [other]
    listed = (await twitch.helix("GET", "/eventsub/subscriptions")).json["data"]
    assert [each["id"] for each in listed] == [foreign["id"]]


async def test_messages_wait_for_a_webhook_that_twitch_has_accepted(
    twitch: Twitch, webhook: Webhook, tmp_path: Path
) -> None:
    """A request that Twitch refuses, as any page can send one, does not say where messages go."""
    async with relay(twitch, tmp_path) as running:
        await running.subscribe(webhook.url)
        ids = await send(twitch, 3)
        await arrived(webhook, ids)
        await asyncio.to_thread(running.stop, signal.SIGKILL)
    webhook.messages.clear()
    async with relay(twitch, tmp_path) as again:
        # Meanwhile all messages would be sent.
        await twitch.control("/faults", path="/helix/eventsub/subscriptions", latency_ms=3_000, count=1)
        body = {"transport": {"callback": webhook.url, "secret": "of somebody else"}}
        async with twitch.session.post(f"{again.url}/helix/eventsub/subscriptions", json=body) as response:
            assert response.status == 401
        await again.subscribe(webhook.url)
        assert await arrived(webhook, ids) == dict.fromkeys(ids, 1)


async def test_answers_may_be_lost_at_the_start_and_at_the_end(
    twitch: Twitch, webhook: Webhook, tmp_path: Path
) -> None:
    await twitch.control("/faults", path="/helix/eventsub/conduits", method="POST", lost="answer", count=1)
    async with relay(twitch, tmp_path) as running:
        await running.subscribe(webhook.url)
        await asyncio.to_thread(running.stop, signal.SIGKILL)
    for path in ("/helix/eventsub/subscriptions", "/helix/eventsub/conduits"):
        await twitch.control("/faults", path=path, method="DELETE", lost="answer", count=1)
    async with relay(twitch, tmp_path) as again:
        await again.subscribe(webhook.url)
        await twitch.control(
            "/faults", path="/helix/eventsub/subscriptions", method="DELETE", lost="answer", count=1
        )
        assert await asyncio.to_thread(again.stop) == 0
    for path in ("/eventsub/conduits", "/eventsub/subscriptions"):
        assert (await twitch.helix("GET", path)).json["data"] == []


async def test_a_conduit_that_twitch_has_deleted_is_replaced(
    twitch: Twitch, webhook: Webhook, tmp_path: Path
) -> None:
    """Also after a check that was answered with what is no JSON."""
    async with relay(twitch, tmp_path) as running:
        await running.subscribe(webhook.url)
        conduit = (await running.status())["conduit"]
        await twitch.control("/faults", path="/helix/eventsub/conduits", method="GET", body="<html>", count=1)
        await twitch.helix("DELETE", f"/eventsub/conduits?id={conduit}")

        async def replaced() -> bool:
            return ((await running.status()) or {}).get("conduit") not in (None, conduit)

        await eventually(replaced)
        assert (await running.subscribe(webhook.url))[0] == 202
        ids = await send(twitch)
        assert await arrived(webhook, ids) == dict.fromkeys(ids, 1)


async def test_it_ends_soon_though_twitch_is_slow(twitch: Twitch, tmp_path: Path) -> None:
    """It does not wait for the answer, which it does for ten seconds: by then it would be killed."""
    async with relay(twitch, tmp_path) as running:
        await twitch.control("/faults", path="/helix/users", latency_ms=60_000, count=1)
        started = time.monotonic()
        asking = asyncio.create_task(running.helix("GET", "/users?login=alice"))

        async def asked() -> bool:
            [fault] = (await twitch.request("GET", "/simulator/state")).json["faults"]
            return bool(fault["remaining"] == 0)

        await eventually(asked)
        assert await asyncio.to_thread(running.stop) == 0
        assert time.monotonic() - started < 10
        await asyncio.gather(asking, return_exceptions=True)


async def test_only_its_owner_can_read_its_files(twitch: Twitch, webhook: Webhook, tmp_path: Path) -> None:
    async with relay(twitch, tmp_path):
        modes = {file.name: file.stat().st_mode & 0o077 for file in tmp_path.iterdir() if file.name != "log"}
        assert modes == dict.fromkeys(modes, 0)
        assert "messages.db" in modes


def test_pauses_grow_to_half_a_minute_and_no_further() -> None:
    assert [_pause(attempt) for attempt in (0, 1, 7, 8, 5_000)] == [0.2, 0.4, 25.6, 30, 30]


async def test_it_says_that_twitch_refused_the_secret_and_does_not_show_it(
    twitch: Twitch, tmp_path: Path
) -> None:
    wrong = Relay(twitch, tmp_path, secret="a wrong secret")
    assert await asyncio.to_thread(wrong.process.wait, 60) == 1
    log = wrong.log.read_text()
    assert "invalid client secret" in log
    assert "a wrong secret" not in log
