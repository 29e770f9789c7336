"""A library that was written against the real Twitch works against the simulated one.

PyPI's twitchAPI receives webhooks over TLS only, so its receiver has a certificate of its own, which the
simulator trusts.
"""

import asyncio
import datetime as dt
import gc
import ipaddress
import ssl
import threading
import warnings
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import twitchio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twitchAPI.eventsub.webhook import EventSubWebhook
from twitchAPI.eventsub.websocket import EventSubWebsocket
from twitchAPI.object.eventsub import ChannelRaidEvent, ChannelUpdateEvent
from twitchAPI.twitch import Twitch as TwitchClient
from twitchAPI.type import EventSubSubscriptionConflict, TwitchResourceNotFound
from twitchio.eventsub import websockets
from twitchio.eventsub.subscriptions import ChannelRaidSubscription, SubscriptionPayload
from twitchio.http import Route
from twitchio.models.eventsub_ import ChannelRaid, SubscriptionRevoked

from local.ports import any_free_port
from tests.integration.twitch.support import CLIENT_ID, CLIENT_SECRET, Twitch, eventually, simulated_twitch


def certificate_for_this_machine(folder: Path) -> Path:
    """A fresh self-signed certificate for 127.0.0.1, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "receiver.pem"
    file.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return file


class Receiver(EventSubWebhook):  # type: ignore[misc]
    """The library's webhook, with a ``close`` that ends everything.

    The library's ``stop`` runs in the caller's event loop, and does not end its thread and loop.
    """

    async def _keep_loop_alive(self) -> None:
        self.loop, self.thread, self.stopped = (
            asyncio.get_running_loop(),
            threading.current_thread(),
            asyncio.Event(),
        )
        await self.stopped.wait()

    async def close(self) -> None:
        """Delete its subscriptions, stop listening, and end the thread."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._stop_in_its_loop(), self.loop))
        await asyncio.to_thread(self.thread.join)
        self.loop.close()
        # Connections still in their TLS shutdown warn when they are collected: now, not in another test.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    async def _stop_in_its_loop(self) -> None:
        await self.stop()
        self.stopped.set()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return certificate_for_this_machine(tmp_path)


@pytest.fixture
async def twitch(certificate: Path) -> AsyncIterator[Twitch]:
    """A simulator that trusts the receiver's certificate and no other."""
    trust = ssl.create_default_context(cafile=certificate)
    async with simulated_twitch(callback_tls=trust) as running:
        yield running


@pytest.fixture
async def client(twitch: Twitch) -> AsyncIterator[TwitchClient]:
    """The library's Helix client, with an app token that it fetched itself."""
    client = await TwitchClient(
        CLIENT_ID,
        CLIENT_SECRET,
        base_url=f"{twitch.settings.base_url}/helix/",
        auth_base_url=f"{twitch.settings.issuer}/",
    )
    yield client
    await client.close()


@pytest.fixture
async def receiver(client: TwitchClient, certificate: Path) -> AsyncIterator[Receiver]:
    """The library's webhook, listening; it deletes its subscriptions when it stops."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    port = any_free_port()
    receiver = Receiver(
        f"https://127.0.0.1:{port}",
        port,
        client,
        ssl_context=tls,
        host_binding="127.0.0.1",
        callback_loop=asyncio.get_running_loop(),
    )
    receiver.start()
    yield receiver
    await receiver.close()


async def test_it_passes_the_challenge_and_receives_an_event(twitch: Twitch, receiver: Receiver) -> None:
    received: asyncio.Queue[ChannelUpdateEvent] = asyncio.Queue()
    alice = await twitch.user_id("alice")
    subscription_id = await receiver.listen_channel_update_v2(alice, received.put)
    assert (await twitch.until_verified(subscription_id))["status"] == "enabled"

    sent = await twitch.control(
        "/events", event_type="channel.update", login="alice", event={"title": "Hello"}
    )
    assert [delivery["status"] for delivery in sent.json["deliveries"]] == [200]
    update = await asyncio.wait_for(received.get(), 60)
    assert update.subscription.id == subscription_id
    assert (update.event.broadcaster_user_id, update.event.title) == (alice, "Hello")
    assert update.metadata.message_id == sent.json["deliveries"][0]["message_id"]


async def test_it_shows_a_duplicate_once(twitch: Twitch, receiver: Receiver) -> None:
    received: asyncio.Queue[ChannelRaidEvent] = asyncio.Queue()
    alice = await twitch.user_id("alice")
    subscription_id = await receiver.listen_channel_raid(received.put, to_broadcaster_user_id=alice)
    await twitch.until_verified(subscription_id)
    await twitch.control("/faults", duplicates=1)
    sent = await twitch.control("/events", event_type="channel.raid", login="alice", event={"viewers": 120})
    assert len(sent.json["deliveries"]) == 2
    raid = await asyncio.wait_for(received.get(), 60)
    assert raid.event.viewers == 120
    assert received.empty()


async def test_it_receives_a_revocation(twitch: Twitch, receiver: Receiver) -> None:
    revoked: asyncio.Queue[dict[str, dict[str, str]]] = asyncio.Queue()
    receiver.revokation_handler = revoked.put
    ignored: asyncio.Queue[ChannelUpdateEvent] = asyncio.Queue()
    subscription_id = await receiver.listen_channel_update_v2(await twitch.user_id("alice"), ignored.put)
    await twitch.control("/revoke", subscription_id=subscription_id, reason="user_removed")
    received = await asyncio.wait_for(revoked.get(), 60)
    assert received["subscription"]["status"] == "user_removed"


async def test_it_knows_a_conflict_from_other_errors(twitch: Twitch, receiver: Receiver) -> None:
    ignored: asyncio.Queue[ChannelUpdateEvent] = asyncio.Queue()
    alice = await twitch.user_id("alice")
    await receiver.listen_channel_update_v2(alice, ignored.put)
    with pytest.raises(EventSubSubscriptionConflict):
        await receiver.listen_channel_update_v2(alice, ignored.put)


async def test_it_creates_lists_and_deletes_subscriptions(twitch: Twitch, client: TwitchClient) -> None:
    for number in range(1, 103):
        await client.create_eventsub_subscription(
            "stream.online",
            "1",
            {"broadcaster_user_id": str(number)},
            {"method": "webhook", "callback": "https://127.0.0.1:9/", "secret": "0123456789"},
        )
    listed = await client.get_eventsub_subscriptions(sub_type="stream.online")
    assert (listed.total, listed.max_total_cost) == (102, 10_000)
    subscriptions = [subscription async for subscription in listed]
    assert len({subscription.id for subscription in subscriptions}) == 102

    await client.delete_eventsub_subscription(subscriptions[0].id)
    with pytest.raises(TwitchResourceNotFound):
        await client.delete_eventsub_subscription(subscriptions[0].id)


async def test_it_finds_users(client: TwitchClient) -> None:
    users = [user async for user in client.get_users(logins=["alice", "nosuchchannel"])]
    assert [(user.login, user.display_name) for user in users] == [("alice", "Alice")]


@pytest.fixture
async def websocket(twitch: Twitch, client: TwitchClient) -> AsyncIterator[EventSubWebsocket]:
    """The library's WebSocket, connected, with a user's token."""
    token = await twitch.user_token("alice", "openid channel:read:subscriptions")
    await client.set_user_authentication(token, [], "", validate=False)
    websocket = EventSubWebsocket(
        client,
        connection_url=twitch.settings.socket_url,
        callback_loop=asyncio.get_running_loop(),
    )
    await asyncio.to_thread(websocket.start)
    yield websocket
    await asyncio.to_thread(asyncio.run, websocket.stop())
    await asyncio.to_thread(websocket._socket_thread.join)
    websocket._socket_loop.close()


async def test_its_websocket_receives_events_and_a_revocation(
    twitch: Twitch, websocket: EventSubWebsocket
) -> None:
    received: asyncio.Queue[ChannelUpdateEvent] = asyncio.Queue()
    revoked: asyncio.Queue[dict[str, dict[str, str]]] = asyncio.Queue()
    websocket.revokation_handler = revoked.put
    alice = await twitch.user_id("alice")
    await websocket.listen_channel_update_v2(alice, received.put)
    sent = await twitch.control("/events", event_type="channel.update", login="alice")
    assert [delivery["status"] for delivery in sent.json["deliveries"]] == [200]
    update = await asyncio.wait_for(received.get(), 60)
    assert update.metadata.message_id == sent.json["deliveries"][0]["message_id"]
    await twitch.control("/revoke", login="alice", event_type="channel.update", reason="user_removed")
    assert (await asyncio.wait_for(revoked.get(), 60))["subscription"]["status"] == "user_removed"


async def test_its_websocket_reconnects_when_it_is_asked_to(
    twitch: Twitch, websocket: EventSubWebsocket
) -> None:
    received: asyncio.Queue[ChannelUpdateEvent] = asyncio.Queue()
    await websocket.listen_channel_update_v2(await twitch.user_id("alice"), received.put)
    session_id = websocket.active_session.id
    acting = asyncio.create_task(twitch.control("/sockets", do="reconnect"))

    async def reconnected() -> bool:
        return bool(websocket.active_session.id != session_id)

    await eventually(reconnected)
    sent = await twitch.control("/events", event_type="channel.update", login="alice")
    assert [delivery["status"] for delivery in sent.json["deliveries"]] == [200]
    assert (await asyncio.wait_for(received.get(), 60)).event.broadcaster_user_login == "alice"
    acting.cancel()
    await asyncio.gather(acting, return_exceptions=True)


class AutoClient(twitchio.AutoClient):  # type: ignore[misc]
    """TwitchIO's client, which makes a conduit and keeps the WebSockets of its shards."""

    def __init__(self, twitch: Twitch, subscriptions: list[SubscriptionPayload]) -> None:
        super().__init__(client_id=CLIENT_ID, client_secret=CLIENT_SECRET, subscriptions=subscriptions)
        self.raids: asyncio.Queue[ChannelRaid] = asyncio.Queue()
        self.revoked: asyncio.Queue[SubscriptionRevoked] = asyncio.Queue()

    async def event_raid(self, payload: ChannelRaid) -> None:
        await self.raids.put(payload)

    async def event_subscription_revoked(self, payload: SubscriptionRevoked) -> None:
        await self.revoked.put(payload)


async def test_twitchios_conduit_receives_events_before_and_after_it_reconnects(
    twitch: Twitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = twitch.settings.base_url
    monkeypatch.setattr(websockets, "WSS", twitch.settings.socket_url)
    monkeypatch.setattr(Route, "BASE", f"{base}/helix/")
    monkeypatch.setattr(Route, "ID_BASE", f"{base}/")
    alice = await twitch.user_id("alice")
    async with AutoClient(twitch, [ChannelRaidSubscription(to_broadcaster_user_id=alice)]) as client:
        await client.login(load_tokens=False, save_tokens=False)
        [conduit] = (await twitch.helix("GET", "/eventsub/conduits")).json["data"]
        assert conduit["shard_count"] == 2

        async def session_ids() -> set[str]:
            path = f"/eventsub/conduits/shards?conduit_id={conduit['id']}"
            shards = (await twitch.helix("GET", path)).json["data"]
            return {each["transport"]["session_id"] for each in shards if each["status"] == "enabled"}

        async def receive(viewers: int) -> None:
            sent = await twitch.control(
                "/events", event_type="channel.raid", login="alice", event={"viewers": viewers}
            )
            assert [delivery["status"] for delivery in sent.json["deliveries"]] == [200]
            assert (await asyncio.wait_for(client.raids.get(), 60)).viewer_count == viewers

        first = await session_ids()
        assert len(first) == 2
        await receive(1)
        acting = asyncio.create_task(twitch.control("/sockets", do="reconnect"))

        async def reconnected() -> bool:
            return len((await session_ids()) - first) == 2

        await eventually(reconnected)
        await receive(2)
        await twitch.control("/revoke", login="alice", event_type="channel.raid", reason="user_removed")
        assert (await asyncio.wait_for(client.revoked.get(), 60)).raw["status"] == "user_removed"
        acting.cancel()
        await asyncio.gather(acting, return_exceptions=True)
