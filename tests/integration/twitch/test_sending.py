"""The simulated Twitch's messages to callbacks: challenges, signatures, retries and revocations."""

import asyncio
import re
import socket

import aiohttp
import pytest
from aiohttp import web

from local.twitch.subscription_types import SUBSCRIPTION_TYPES, SubscriptionType
from tests.integration.twitch.support import SECRET, Twitch, Webhook, eventually, serve, simulated_twitch


async def test_the_challenge_is_signed_and_contains_the_subscription(
    twitch: Twitch, webhook: Webhook
) -> None:
    subscription = await twitch.enabled(webhook.url, "alice")
    [challenge] = webhook.messages
    assert challenge.type == "webhook_callback_verification"
    assert challenge.is_signed_with(SECRET)
    assert challenge.json["subscription"]["id"] == subscription["id"]
    assert SECRET not in challenge.body


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="something else"),
        lambda: web.Response(status=500),
        lambda: web.Response(status=302, headers={"Location": "/elsewhere"}),
    ],
)
async def test_a_callback_that_fails_the_challenge_gets_nothing(
    twitch: Twitch, webhook: Webhook, answer: type[web.Response]
) -> None:
    webhook.answers.append(answer())
    subscription = await twitch.enabled(webhook.url, "alice")
    assert subscription["status"] == "webhook_callback_verification_failed"
    sent = await twitch.control("/events", event_type="stream.online", login="alice")
    assert sent.json == {"deliveries": []}


async def test_the_challenge_must_be_answered_as_plain_text(twitch: Twitch) -> None:
    async def html(request: web.Request) -> web.Response:
        return web.Response(text=(await request.json())["challenge"], content_type="text/html")

    app = web.Application()
    app.router.add_post("/", html)
    async with serve(app, socket.create_server(("127.0.0.1", 0))) as base:
        subscription = await twitch.enabled(f"{base}/", "alice")
    assert subscription["status"] == "webhook_callback_verification_failed"


async def test_a_callback_that_is_not_there_fails_the_challenge(twitch: Twitch) -> None:
    subscription = await twitch.enabled("http://127.0.0.1:9/", "alice")
    assert subscription["status"] == "webhook_callback_verification_failed"


async def test_a_notification_carries_twitchs_headers_and_body(twitch: Twitch, webhook: Webhook) -> None:
    subscription = await twitch.enabled(webhook.url, "alice")
    sent = await twitch.control("/events", event_type="stream.online", login="alice")
    [notification] = webhook.of_type("notification")
    assert notification.is_signed_with(SECRET)
    assert notification.headers["Twitch-Eventsub-Message-Retry"] == "0"
    assert notification.headers["Twitch-Eventsub-Subscription-Type"] == "stream.online"
    assert notification.headers["Twitch-Eventsub-Subscription-Version"] == "1"
    timestamp = notification.headers["Twitch-Eventsub-Message-Timestamp"]
    assert timestamp == "2027-01-15T08:00:00.123456789Z"
    assert re.fullmatch(r"[0-9a-f-]{36}", notification.id)
    assert notification.json["subscription"] == subscription
    event = notification.json["event"]
    assert event["broadcaster_user_id"] == await twitch.user_id("alice")
    assert (event["broadcaster_user_login"], event["broadcaster_user_name"]) == ("alice", "Alice")
    [delivery] = sent.json["deliveries"]
    assert delivery.pop("milliseconds") > 0
    assert delivery == {
        "subscription_id": subscription["id"],
        "message_id": notification.id,
        "status": 204,
        "attempts": 1,
    }


async def test_only_the_matching_subscription_gets_an_event(twitch: Twitch, webhook: Webhook) -> None:
    await twitch.enabled(webhook.url, "alice")
    await twitch.enabled(webhook.url, "bob")
    await twitch.enabled(webhook.url, "alice", "stream.offline")
    await twitch.control("/events", event_type="stream.online", login="alice")
    [notification] = webhook.of_type("notification")
    assert notification.json["event"]["broadcaster_user_login"] == "alice"


async def test_fields_of_the_event_can_be_chosen(twitch: Twitch, webhook: Webhook) -> None:
    await twitch.enabled(webhook.url, "alice", "channel.update")
    await twitch.control("/events", event_type="channel.update", login="alice", event={"title": "Hello"})
    [notification] = webhook.of_type("notification")
    assert notification.json["event"]["title"] == "Hello"


async def test_a_raid_is_sent_to_both_channels(twitch: Twitch, webhook: Webhook) -> None:
    alice, bob = await twitch.user_id("alice"), await twitch.user_id("bob")
    conditions = (
        {"to_broadcaster_user_id": alice},
        {"from_broadcaster_user_id": alice},
        {"to_broadcaster_user_id": bob},
        {"from_broadcaster_user_id": bob},
    )
    for condition in conditions:
        created = await twitch.subscribe(webhook.url, "channel.raid", condition=condition)
        await twitch.until_verified(created.json["data"][0]["id"])
    overrides = {"to_broadcaster_user_login": "bob", "viewers": 120}
    await twitch.control("/events", event_type="channel.raid", login="alice", event=overrides)
    sent = [message.json for message in webhook.of_type("notification")]
    assert sorted(tuple(sorted(each["subscription"]["condition"].items())) for each in sent) == [
        (("from_broadcaster_user_id", ""), ("to_broadcaster_user_id", bob)),
        (("from_broadcaster_user_id", alice), ("to_broadcaster_user_id", "")),
    ]
    event = sent[0]["event"]
    assert (event["from_broadcaster_user_login"], event["to_broadcaster_user_name"]) == ("alice", "Bob")
    assert event["viewers"] == 120


async def test_a_raid_without_a_target_goes_to_the_channel(twitch: Twitch, webhook: Webhook) -> None:
    alice = await twitch.user_id("alice")
    created = await twitch.subscribe(webhook.url, "channel.raid", condition={"to_broadcaster_user_id": alice})
    await twitch.until_verified(created.json["data"][0]["id"])
    await twitch.control("/events", event_type="channel.raid", login="alice")
    [raid] = webhook.of_type("notification")
    assert raid.json["event"]["to_broadcaster_user_login"] == "alice"


@pytest.mark.parametrize("chosen", SUBSCRIPTION_TYPES, ids=lambda chosen: chosen.name)
async def test_every_type_can_be_subscribed_to_and_sent(
    twitch: Twitch, webhook: Webhook, chosen: SubscriptionType
) -> None:
    alice = await twitch.user_id("alice")
    if chosen.scope is not None:
        await twitch.authorize("alice", chosen.scope)
    created = await twitch.subscribe(
        webhook.url, chosen.name, version=chosen.version, condition=dict.fromkeys(chosen.conditions[0], alice)
    )
    assert created.status == 202, created.text
    await twitch.until_verified(created.json["data"][0]["id"])
    sent = await twitch.control("/events", event_type=chosen.name, login="alice")
    assert [delivery["status"] for delivery in sent.json["deliveries"]] == [204]


async def test_a_refused_notification_is_sent_again_under_the_same_id(
    twitch: Twitch, webhook: Webhook
) -> None:
    await twitch.enabled(webhook.url, "alice")
    webhook.answers += [web.Response(status=500), web.Response(status=403)]
    sent = await twitch.control("/events", event_type="stream.online", login="alice")
    notifications = webhook.of_type("notification")
    assert [message.headers["Twitch-Eventsub-Message-Retry"] for message in notifications] == ["0", "1", "2"]
    assert len({message.id for message in notifications}) == 1
    assert all(message.is_signed_with(SECRET) for message in notifications)
    assert (sent.json["deliveries"][0]["status"], sent.json["deliveries"][0]["attempts"]) == (204, 3)


async def test_a_callback_that_takes_too_long_counts_as_no_answer() -> None:
    async def never_answer(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    app = web.Application()
    app.router.add_post("/", never_answer)
    async with (
        serve(app, socket.create_server(("127.0.0.1", 0))) as base,
        simulated_twitch(delivery_timeout=0.1) as twitch,
    ):
        subscription = await twitch.enabled(f"{base}/", "alice")
        assert subscription["status"] == "webhook_callback_verification_failed"
        [delivery] = (await twitch.request("GET", "/simulator/state")).json["deliveries"]
        assert (delivery["status"], delivery["attempts"]) == (None, 1)


async def test_after_too_many_failures_in_a_row_the_subscription_is_revoked(webhook: Webhook) -> None:
    async with simulated_twitch(failures_before_revocation=2, retry_delays=()) as twitch:
        subscription = await twitch.enabled(webhook.url, "alice")
        for status in (500, 204, 500, 500):
            assert (await twitch.subscription(subscription["id"]))["status"] == "enabled"
            webhook.answers.append(web.Response(status=status))
            await twitch.control("/events", event_type="stream.online", login="alice")
        dead = await twitch.subscription(subscription["id"])
        assert dead["status"] == "notification_failures_exceeded"
        [revocation] = webhook.of_type("revocation")
        assert revocation.json["subscription"]["status"] == "notification_failures_exceeded"


async def test_a_revocation_has_the_reason_and_no_event(twitch: Twitch, webhook: Webhook) -> None:
    subscription = await twitch.enabled(webhook.url, "alice")
    sent = await twitch.control("/revoke", subscription_id=subscription["id"], reason="user_removed")
    assert sent.json["deliveries"][0]["status"] == 204
    [revocation] = webhook.of_type("revocation")
    assert revocation.is_signed_with(SECRET)
    assert revocation.json == {"subscription": subscription | {"status": "user_removed"}}
    assert (await twitch.control("/events", event_type="stream.online", login="alice")).json[
        "deliveries"
    ] == []


async def test_a_channels_subscription_type_can_be_revoked_with_its_grant(
    twitch: Twitch, webhook: Webhook
) -> None:
    condition = {"broadcaster_user_id": await twitch.user_id("alice")}
    await twitch.authorize("alice", "bits:read")
    created = await twitch.subscribe(webhook.url, "channel.cheer", condition=condition)
    await twitch.until_verified(created.json["data"][0]["id"])
    await twitch.control("/revoke", login="alice", event_type="channel.cheer", reason="authorization_revoked")
    assert (await twitch.subscribe(webhook.url, "channel.cheer", condition=condition)).status == 403


async def test_an_anonymous_gift_has_no_name(twitch: Twitch, webhook: Webhook) -> None:
    await twitch.authorize("alice", "channel:read:subscriptions")
    condition = {"broadcaster_user_id": await twitch.user_id("alice")}
    created = await twitch.subscribe(webhook.url, "channel.subscription.gift", condition=condition)
    await twitch.until_verified(created.json["data"][0]["id"])
    anonymous = {"is_anonymous": True, "cumulative_total": None}
    await twitch.control("/events", event_type="channel.subscription.gift", login="alice", event=anonymous)
    [notification] = webhook.of_type("notification")
    event = notification.json["event"]
    assert (event["user_id"], event["user_login"], event["user_name"]) == (None, None, None)
    assert event["broadcaster_user_login"] == "alice"


async def test_many_events_at_a_rate(twitch: Twitch, webhook: Webhook) -> None:
    await twitch.enabled(webhook.url, "alice")
    body = {"event_type": "stream.online", "login": "alice", "count": 5, "per_second": 100}
    sent = await twitch.control("/events", **body)
    assert len(sent.json["deliveries"]) == 5
    assert len({message.id for message in webhook.of_type("notification")}) == 5


async def test_a_message_id_can_be_chosen(twitch: Twitch, webhook: Webhook) -> None:
    await twitch.enabled(webhook.url, "alice")
    await twitch.control("/events", event_type="stream.online", login="alice", count=2, message_id="m-1")
    assert [message.id for message in webhook.of_type("notification")] == ["m-1", "m-1"]


async def test_a_fault_can_send_duplicates(twitch: Twitch, webhook: Webhook) -> None:
    await twitch.enabled(webhook.url, "alice")
    await twitch.control("/faults", duplicates=2, count=1)
    await twitch.control("/events", event_type="stream.online", login="alice", count=1)
    assert len(webhook.of_type("notification")) == 3
    assert len({message.id for message in webhook.of_type("notification")}) == 1
    await twitch.control("/events", event_type="stream.online", login="alice", count=1)
    assert len(webhook.of_type("notification")) == 4


async def test_a_fault_refuses_a_number_of_requests(twitch: Twitch) -> None:
    await twitch.control("/faults", status=429, count=1)
    await twitch.control("/faults", status=503, path="/helix/users", count=1)
    answers = [await twitch.helix("GET", "/users?login=alice") for _ in range(3)]
    assert [answer.status for answer in answers] == [429, 503, 200]
    assert answers[0].headers["Ratelimit-Remaining"] == "0"


async def test_faults_apply_until_they_are_deleted(twitch: Twitch) -> None:
    await twitch.control("/faults", status=500, path="/oauth2/token")
    answers = [await twitch.fetch_token(grant_type="client_credentials") for _ in range(2)]
    assert [answer.status for answer in answers] == [500, 500]
    assert (await twitch.request("DELETE", "/simulator/faults")).json == {"faults": []}
    assert (await twitch.fetch_token(grant_type="client_credentials")).status == 200


async def test_a_fault_can_apply_to_one_method(twitch: Twitch, webhook: Webhook) -> None:
    subscription = await twitch.enabled(webhook.url, "alice")
    await twitch.control("/faults", method="DELETE", status=500)
    assert await twitch.subscription(subscription["id"]) == subscription
    answer = await twitch.helix("DELETE", "/eventsub/subscriptions", params={"id": subscription["id"]})
    assert answer.status == 500


async def test_a_lost_request_has_no_effect_and_a_lost_answer_has_one(
    twitch: Twitch, webhook: Webhook
) -> None:
    condition = {"broadcaster_user_id": await twitch.user_id("alice")}
    for lost, listed in (("request", 0), ("answer", 1)):
        await twitch.control("/faults", method="POST", lost=lost, count=1)
        with pytest.raises(aiohttp.ClientConnectionError):
            await twitch.subscribe(webhook.url, condition=condition)
        subscriptions = (await twitch.helix("GET", "/eventsub/subscriptions")).json["data"]
        assert len(subscriptions) == listed


async def test_a_challenge_can_come_before_the_answer_or_never(twitch: Twitch, webhook: Webhook) -> None:
    condition = {"broadcaster_user_id": await twitch.user_id("alice")}
    await twitch.control("/faults", method="POST", latency_ms=600_000, count=1)
    created = asyncio.create_task(twitch.subscribe(webhook.url, condition=condition))

    async def challenged() -> bool:
        return bool(webhook.of_type("webhook_callback_verification"))

    await eventually(challenged)
    assert not created.done()
    created.cancel()

    await twitch.control("/faults", lost="challenge", count=1)
    condition = {"broadcaster_user_id": await twitch.user_id("bob")}
    silent = (await twitch.subscribe(webhook.url, condition=condition)).json["data"][0]
    # The next one's challenge would have followed it.
    await twitch.enabled(webhook.url, "carol")
    assert (await twitch.subscription(silent["id"]))["status"] == "webhook_callback_verification_pending"
    assert len(webhook.of_type("webhook_callback_verification")) == 2


@pytest.mark.parametrize("lost", ["notification", "revocation"])
async def test_messages_can_get_lost(twitch: Twitch, webhook: Webhook, lost: str) -> None:
    subscription = await twitch.enabled(webhook.url, "alice")
    await twitch.control("/faults", lost=lost)
    await twitch.control("/events", event_type="stream.online", login="alice")
    await twitch.control("/revoke", subscription_id=subscription["id"], reason="version_removed")
    arrived = {message.type for message in webhook.messages}
    assert arrived == {"webhook_callback_verification", "notification", "revocation"} - {lost}
    assert (await twitch.subscription(subscription["id"]))["status"] == "version_removed"


async def test_a_fault_can_delay_an_answer(twitch: Twitch) -> None:
    await twitch.control("/faults", latency_ms=80, count=1)
    loop = asyncio.get_running_loop()
    started = loop.time()
    await twitch.helix("GET", "/users?login=alice")
    assert loop.time() - started >= 0.08


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/events", {"event_type": "channel.nothing", "login": "alice"}, "channel.nothing"),
        ("/events", {"event_type": "stream.online", "login": "nosuch1"}, "nosuch1"),
        ("/events", {"event_type": "stream.online"}, "login"),
        ("/events", {"event_type": "stream.online", "login": "alice", "count": 0}, "count"),
        ("/events", {"event_type": "stream.online", "login": "alice", "count": "3"}, "count"),
        ("/events", {"event_type": "stream.online", "login": "alice", "per_second": -1}, "per_second"),
        ("/events", {"event_type": "stream.online", "login": "alice", "event": []}, "event"),
        ("/revoke", {"subscription_id": "unknown"}, "no live subscription"),
        ("/revoke", {"subscription_id": "unknown", "reason": "bored"}, "reason"),
        ("/faults", {}, "status, a body, latency_ms, lost or duplicates"),
        ("/faults", {"lost": "mind"}, "lost"),
        ("/faults", {"status": 500, "method": "PATCH"}, "method"),
        ("/disconnect", {"login": "nosuch1"}, "nosuch1"),
        ("/moderators", {"login": "alice"}, "moderators"),
        ("/moderators", {"login": "alice", "moderators": [7]}, "moderators.0"),
        ("/rename", {"login": "alice", "to": "not a login"}, "not a login"),
        ("/rename", {"login": "alice", "to": "alice"}, "taken"),
        ("/delete", {}, "login"),
        ("/limits", {"max_total_cost": -1}, "max_total_cost"),
        ("/faults", {"status": 200}, "status"),
        ("/faults", {"status": 500, "count": 0}, "count"),
        ("/faults", {"status": 500, "path": "/simulator"}, "path"),
    ],
)
async def test_invalid_bodies_are_refused(
    twitch: Twitch, path: str, body: dict[str, object], said: str
) -> None:
    answer = await twitch.control(path, **body)
    assert answer.status == 400
    assert said in answer.json["error"]["message"]


@pytest.mark.parametrize("body", ["{", "[]", '"x"'])
async def test_a_body_must_be_a_json_object(twitch: Twitch, body: str) -> None:
    assert (await twitch.request("POST", "/simulator/events", data=body)).status == 400


async def test_the_state_shows_what_happened(twitch: Twitch, webhook: Webhook) -> None:
    await twitch.authorize("alice", "openid bits:read")
    subscription = await twitch.enabled(webhook.url, "alice")
    await twitch.control("/events", event_type="stream.online", login="alice")
    state = (await twitch.request("GET", "/simulator/state")).json
    assert [channel["login"] for channel in state["channels"]] == ["alice"]
    assert [entry["id"] for entry in state["subscriptions"]] == [subscription["id"]]
    assert [entry["scopes"] for entry in state["grants"]] == [["bits:read", "openid"]]
    assert [entry["message_type"] for entry in state["deliveries"]] == [
        "notification",
        "webhook_callback_verification",
    ]
    assert SECRET not in str(state)


async def test_a_deleted_subscription_is_not_retried(webhook: Webhook) -> None:
    async with simulated_twitch(retry_delays=(0.05,) * 10_000) as twitch:
        subscription = await twitch.enabled(webhook.url, "alice")
        webhook.answers += [web.Response(status=500) for _ in range(10_000)]
        request = twitch.control("/events", event_type="stream.online", login="alice")
        sending = asyncio.create_task(request)

        async def first_attempt() -> bool:
            return bool(webhook.of_type("notification"))

        await eventually(first_attempt)
        await twitch.helix("DELETE", "/eventsub/subscriptions", params={"id": subscription["id"]})
        [delivery] = (await sending).json["deliveries"]
        assert delivery["status"] == 500
        assert delivery["attempts"] < 10_000
