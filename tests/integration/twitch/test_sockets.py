"""The EventSub WebSocket and conduits, as Twitch documents them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.integration.twitch.support import Twitch, eventually, simulated_twitch


class Client:
    """A WebSocket of an application."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def receive(self, message_type: str) -> Any:
        """The payload of the next message but keepalives, which must be of this type."""
        message = await self.socket.receive_json(timeout=60)
        while message["metadata"]["message_type"] == "session_keepalive" != message_type:
            message = await self.socket.receive_json(timeout=60)
        assert message["metadata"]["message_type"] == message_type, message
        return message["payload"]

    async def welcome(self) -> Any:
        return (await self.receive("session_welcome"))["session"]

    async def until_closed(self) -> int | None:
        """The code with which the server closes the connection."""
        async with asyncio.timeout(60):
            async for _ in self.socket:
                pass
        return self.socket.close_code


async def connect(twitch: Twitch, url: str = "", **query: str) -> Client:
    return Client(await twitch.session.ws_connect(url or twitch.settings.socket_url, params=query))


async def conduit(twitch: Twitch, shard_count: int = 1) -> str:
    answer = await twitch.helix("POST", "/eventsub/conduits", json={"shard_count": shard_count})
    assert answer.status == 200, answer.text
    return str(answer.json["data"][0]["id"])


async def assign(twitch: Twitch, conduit_id: str, session_id: str, shard: str = "0") -> Any:
    transport = {"method": "websocket", "session_id": session_id}
    body = {"conduit_id": conduit_id, "shards": [{"id": shard, "transport": transport}]}
    answer = await twitch.helix("PATCH", "/eventsub/conduits/shards", json=body)
    assert answer.status == 202, answer.text
    return answer.json


async def shards(twitch: Twitch, conduit_id: str) -> Any:
    path = f"/eventsub/conduits/shards?conduit_id={conduit_id}"
    return (await twitch.helix("GET", path)).json["data"]


async def subscribe(twitch: Twitch, conduit_id: str, login: str = "alice") -> Any:
    transport = {"method": "conduit", "conduit_id": conduit_id}
    condition = {"broadcaster_user_id": await twitch.user_id(login)}
    body = {"type": "stream.online", "version": "1", "condition": condition, "transport": transport}
    return await twitch.helix("POST", "/eventsub/subscriptions", json=body)


async def send(twitch: Twitch, login: str = "alice", **options: Any) -> Any:
    """Send an event; the deliveries."""
    answer = await twitch.control("/events", event_type="stream.online", login=login, **options)
    return answer.json["deliveries"]


async def carried(twitch: Twitch) -> tuple[Client, str]:
    """A conduit with a subscription, whose only shard is an open WebSocket."""
    client, conduit_id = await connect(twitch), await conduit(twitch)
    await assign(twitch, conduit_id, (await client.welcome())["id"])
    assert (await subscribe(twitch, conduit_id)).json["data"][0]["status"] == "enabled"
    return client, conduit_id


@pytest.fixture
async def impatient() -> AsyncIterator[Twitch]:
    """A simulator whose intervals are two seconds."""
    async with simulated_twitch(keepalive_seconds=2, reconnect_seconds=2.0) as twitch:
        yield twitch


async def test_a_conduit_from_its_creation_to_its_deletion(twitch: Twitch) -> None:
    conduit_id = await conduit(twitch, 2)
    listed = await twitch.helix("GET", "/eventsub/conduits")
    assert listed.json == {"data": [{"id": conduit_id, "shard_count": 2}]}
    subscription = (await subscribe(twitch, conduit_id)).json["data"][0]
    assert subscription["transport"] == {"method": "conduit", "conduit_id": conduit_id}
    assert (await subscribe(twitch, conduit_id)).status == 409
    by_conduit = await twitch.helix("GET", f"/eventsub/subscriptions?conduit_id={conduit_id}")
    assert [each["id"] for each in by_conduit.json["data"]] == [subscription["id"]]
    assert (await twitch.helix("DELETE", f"/eventsub/conduits?id={conduit_id}")).status == 204
    assert (await twitch.subscription(subscription["id"]))["status"] == "conduit_deleted"
    assert (await twitch.helix("DELETE", f"/eventsub/conduits?id={conduit_id}")).status == 404
    assert (await subscribe(twitch, conduit_id)).status == 400


async def test_an_application_has_at_most_five_conduits(twitch: Twitch) -> None:
    for _ in range(5):
        await conduit(twitch)
    refused = await twitch.helix("POST", "/eventsub/conduits", json={"shard_count": 1})
    assert (refused.status, refused.json["message"]) == (429, "conduit limit reached")
    for wrong in ({"shard_count": 0}, {"shard_count": 20_001}, {}):
        assert (await twitch.helix("POST", "/eventsub/conduits", json=wrong)).status == 400


async def test_a_shard_takes_open_sessions_only_and_says_what_is_wrong(twitch: Twitch) -> None:
    client, conduit_id = await connect(twitch), await conduit(twitch)
    session_id = (await client.welcome())["id"]
    answer = await assign(twitch, conduit_id, session_id)
    assert answer["errors"] == []
    assert answer["data"] == await shards(twitch, conduit_id)
    assert answer["data"][0]["transport"]["session_id"] == session_id
    for session, shard in ((session_id, "1"), ("unknown", "0")):
        answer = await assign(twitch, conduit_id, session, shard)
        assert (answer["data"], answer["errors"][0]["code"]) == ([], "invalid_parameter")


async def test_a_notification_is_delivered_once_the_client_has_read_it(twitch: Twitch) -> None:
    client, _ = await carried(twitch)
    sending = asyncio.create_task(send(twitch))
    payload = await client.receive("notification")
    assert payload["event"]["broadcaster_user_login"] == "alice"
    assert payload["subscription"]["type"] == "stream.online"
    with pytest.raises(TimeoutError):
        # The client answers the ping behind the message when it reads on.
        await asyncio.wait_for(asyncio.shield(sending), 0.2)
    reading = asyncio.create_task(client.until_closed())
    assert [(each["status"], each["attempts"]) for each in await sending] == [(200, 1)]
    await client.socket.close()
    await asyncio.gather(reading, return_exceptions=True)


async def test_what_the_client_did_not_read_was_not_delivered(twitch: Twitch) -> None:
    client, conduit_id = await carried(twitch)
    sending = asyncio.create_task(send(twitch))
    await client.receive("notification")
    await twitch.control("/sockets", do="cut")
    assert [each["status"] for each in await sending] == [None]

    async def disabled() -> bool:
        [shard] = await shards(twitch, conduit_id)
        assert isinstance(shard["status"], str)
        return shard["status"] == "websocket_disconnected" and "disconnected_at" in shard["transport"]

    await eventually(disabled)
    assert [each["status"] for each in await send(twitch)] == [None]


async def test_a_second_shard_is_tried(impatient: Twitch) -> None:
    url = impatient.settings.socket_url
    deaf = Client(await impatient.session.ws_connect(url, autoping=False))
    second, conduit_id = await connect(impatient), await conduit(impatient, 2)
    await assign(impatient, conduit_id, (await deaf.welcome())["id"], "0")
    await assign(impatient, conduit_id, (await second.welcome())["id"], "1")
    await subscribe(impatient, conduit_id)
    reading = [asyncio.create_task(client.until_closed()) for client in (deaf, second)]
    assert [(each["status"], each["attempts"]) for each in await send(impatient)] == [(200, 2)]
    await second.socket.close()
    await asyncio.gather(*reading, return_exceptions=True)


async def test_the_code_says_why_a_connection_was_closed(impatient: Twitch) -> None:
    unused = await connect(impatient)
    assert await unused.until_closed() == 4003

    talkative = await connect(impatient)
    await talkative.socket.send_str("hello")
    assert await talkative.until_closed() == 4001

    stranger = await connect(impatient, reconnect="unknown")
    assert await stranger.until_closed() == 4007

    closed = await connect(impatient)
    await closed.welcome()
    closing = asyncio.create_task(impatient.control("/sockets", do=4000))
    assert await closed.until_closed() == 4000
    await closing


async def test_a_client_that_answers_no_ping_is_closed(impatient: Twitch) -> None:
    url = impatient.settings.socket_url
    deaf = Client(await impatient.session.ws_connect(url, autoping=False))
    conduit_id = await conduit(impatient)
    await assign(impatient, conduit_id, (await deaf.welcome())["id"])
    assert await deaf.until_closed() == 4002
    assert [each["status"] for each in await shards(impatient, conduit_id)] == ["websocket_failed_ping_pong"]


async def test_keepalives_come_in_the_interval_that_was_asked_for(twitch: Twitch) -> None:
    for asked, granted in (("30", 30), ("3", 10), ("1000", 600), ("x", 10)):
        client = await connect(twitch, keepalive_timeout_seconds=asked)
        assert (await client.welcome())["keepalive_timeout_seconds"] == granted


async def test_a_used_connection_gets_keepalives(impatient: Twitch) -> None:
    client, _ = await carried(impatient)
    assert [await client.receive("session_keepalive") for _ in range(2)] == [{}, {}]


async def test_a_client_that_reconnects_keeps_its_shard(impatient: Twitch) -> None:
    client, conduit_id = await carried(impatient)
    acting = asyncio.create_task(impatient.control("/sockets", do="reconnect"))
    session = (await client.receive("session_reconnect"))["session"]
    assert session["status"] == "reconnecting"
    replacement = await connect(impatient, session["reconnect_url"])
    welcomed = await replacement.welcome()
    [shard] = await shards(impatient, conduit_id)
    assert (shard["transport"]["session_id"], shard["status"]) == (welcomed["id"], "enabled")
    reading = asyncio.create_task(replacement.until_closed())
    assert [each["status"] for each in await send(impatient)] == [200]
    assert await client.until_closed() == 4004
    await acting
    assert [each["status"] for each in await send(impatient)] == [200]
    await replacement.socket.close()
    await asyncio.gather(reading, return_exceptions=True)


async def test_a_client_that_does_not_reconnect_loses_its_shard(impatient: Twitch) -> None:
    client, conduit_id = await carried(impatient)
    acting = asyncio.create_task(impatient.control("/sockets", do="reconnect"))
    assert await client.until_closed() == 4004
    await acting
    [shard] = await shards(impatient, conduit_id)
    assert shard["status"] == "websocket_failed_to_reconnect"


async def test_a_revocation_comes_by_the_conduit(twitch: Twitch) -> None:
    client, _ = await carried(twitch)
    acting = asyncio.create_task(
        twitch.control("/revoke", login="alice", event_type="stream.online", reason="user_removed")
    )
    payload = await client.receive("revocation")
    assert payload["subscription"]["status"] == "user_removed"
    reading = asyncio.create_task(client.until_closed())
    await acting
    await client.socket.close()
    await asyncio.gather(reading, return_exceptions=True)


async def test_transports_need_the_right_token(twitch: Twitch) -> None:
    client = await connect(twitch)
    websocket = {"method": "websocket", "session_id": (await client.welcome())["id"]}
    condition = {"broadcaster_user_id": await twitch.user_id("alice")}
    body = {"type": "stream.online", "version": "1", "condition": condition, "transport": websocket}
    refused = await twitch.helix("POST", "/eventsub/subscriptions", json=body)
    assert (refused.status, refused.json["message"]) == (400, "invalid transport and auth combination")
    twitch.token = await twitch.user_token("alice")
    assert (await twitch.helix("POST", "/eventsub/subscriptions", json=body)).status == 202
    body["transport"] = {"method": "websocket", "session_id": "unknown"}
    assert (await twitch.helix("POST", "/eventsub/subscriptions", json=body)).status == 400
    assert (await twitch.helix("GET", "/eventsub/conduits")).status == 401
