"""The simulated Helix API: users, tokens, the rate limit, and the life of an EventSub subscription."""

import functools
from typing import Any

import pytest

from tests.integration.twitch.support import CLIENT_ID, SECRET, Twitch, Webhook, simulated_twitch

FOLLOW_SCOPE = "moderator:read:followers"


async def test_a_user_is_found_by_login_and_by_id(twitch: Twitch) -> None:
    user = (await twitch.helix("GET", "/users", params={"login": "Alice"})).json["data"][0]
    assert (user["login"], user["display_name"], user["id"].isdigit()) == ("alice", "Alice", True)
    assert (await twitch.helix("GET", "/users", params={"id": user["id"]})).json["data"] == [user]


async def test_an_id_is_the_same_in_every_run(twitch: Twitch) -> None:
    async with simulated_twitch() as another:
        assert await another.user_id("alice") == await twitch.user_id("alice")


async def test_an_avatar_is_served(twitch: Twitch) -> None:
    user = (await twitch.helix("GET", "/users", params={"login": "alice"})).json["data"][0]
    avatar = await twitch.request("GET", user["profile_image_url"].removeprefix(twitch.settings.base_url))
    assert (avatar.status, avatar.headers["Content-Type"]) == (200, "image/svg+xml; charset=utf-8")


async def test_logins_that_begin_with_nosuch_have_no_user(twitch: Twitch) -> None:
    answer = await twitch.helix("GET", "/users", params={"login": "nosuchchannel"})
    assert (answer.status, answer.json) == (200, {"data": []})


async def test_several_users_in_one_request(twitch: Twitch) -> None:
    answer = await twitch.helix("GET", "/users?login=alice&login=bob&login=alice&login=nosuch1")
    assert [user["login"] for user in answer.json["data"]] == ["alice", "bob"]


@pytest.mark.parametrize("query", ["", "?login=", "?login=a-b", "?id=x", "?login=" + "a" * 26])
async def test_malformed_logins_and_ids_are_refused(twitch: Twitch, query: str) -> None:
    answer = await twitch.helix("GET", f"/users{query}")
    assert answer.status == 400
    assert answer.json["error"] == "Bad Request"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "OAuth token is missing"),
        ({"Authorization": "Bearer wrong", "Client-Id": CLIENT_ID}, "Invalid OAuth token"),
        ({"Authorization": "Bearer {token}"}, "Client ID is missing"),
        ({"Authorization": "Bearer {token}", "Client-Id": "x"}, "Client ID and OAuth token do not match"),
    ],
)
async def test_the_token_and_the_client_id_must_match(
    twitch: Twitch, headers: dict[str, str], message: str
) -> None:
    filled = {name: value.format(token=twitch.token) for name, value in headers.items()}
    answer = await twitch.request("GET", "/helix/users?login=alice", headers=filled)
    assert (answer.status, answer.json["message"]) == (401, message)


async def test_an_app_token_expires(twitch: Twitch) -> None:
    twitch.clock.advance(61 * 24 * 3600)
    assert (await twitch.helix("GET", "/users?login=alice")).status == 401


async def test_every_answer_has_the_rate_limit_headers(twitch: Twitch) -> None:
    first, second = [await twitch.helix("GET", "/users?login=alice") for _ in range(2)]
    assert [answer.headers["Ratelimit-Limit"] for answer in (first, second)] == ["800", "800"]
    assert [answer.headers["Ratelimit-Remaining"] for answer in (first, second)] == ["799", "798"]
    assert int(second.headers["Ratelimit-Reset"]) >= twitch.clock() // 10**9


async def test_an_empty_bucket_refuses_until_it_has_refilled() -> None:
    async with simulated_twitch(rate_limit=3) as twitch:
        answers = [await twitch.helix("GET", "/users?login=alice") for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert answers[-1].headers["Ratelimit-Remaining"] == "0"
        twitch.clock.advance(20)
        assert (await twitch.helix("GET", "/users?login=alice")).status == 200


async def test_a_subscription_is_pending_until_the_callback_answers_the_challenge(
    twitch: Twitch, webhook: Webhook
) -> None:
    condition = {"broadcaster_user_id": await twitch.user_id("alice")}
    created = await twitch.subscribe(webhook.url, condition=condition)
    subscription = created.json["data"][0]
    assert created.status == 202
    assert subscription["status"] == "webhook_callback_verification_pending"
    assert subscription["transport"] == {"method": "webhook", "callback": webhook.url}
    assert (created.json["total"], created.json["total_cost"], created.json["max_total_cost"]) == (
        1,
        1,
        10_000,
    )
    assert (await twitch.until_verified(subscription["id"]))["status"] == "enabled"


async def test_a_raids_condition_is_listed_with_the_other_field_empty(
    twitch: Twitch, webhook: Webhook
) -> None:
    alice = await twitch.user_id("alice")
    created = await twitch.subscribe(webhook.url, "channel.raid", condition={"to_broadcaster_user_id": alice})
    assert created.json["data"][0]["condition"] == {
        "to_broadcaster_user_id": alice,
        "from_broadcaster_user_id": "",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"secret": "too short"},
        {"secret": "x" * 101},
        {"secret": "gar nicht ascii ü"},
        {"callback": "ftp://example.com/"},
        {"callback": "not a url"},
        {"type_": "channel.nothing"},
        {"type_": "channel.update"},  # which has no version 1 any more
        {"condition": {}},
        {"condition": {"broadcaster_user_id": ""}},
        {"condition": {"user_id": "1"}},
        {"condition": {"broadcaster_user_id": "somebody"}},
    ],
)
async def test_wrong_subscriptions_are_refused(twitch: Twitch, change: dict[str, Any]) -> None:
    valid = {"callback": "http://127.0.0.1:9/", "condition": {"broadcaster_user_id": "1"}, "secret": SECRET}
    answer = await twitch.subscribe(**valid | change)
    assert (answer.status, answer.json["error"]) == (400, "Bad Request")


async def test_a_body_that_is_not_json_is_refused(twitch: Twitch) -> None:
    assert (await twitch.helix("POST", "/eventsub/subscriptions", data="{")).status == 400


async def test_the_same_subscription_twice_is_a_conflict(twitch: Twitch, webhook: Webhook) -> None:
    await twitch.enabled(webhook.url, "alice")
    answer = await twitch.subscribe(
        webhook.url, condition={"broadcaster_user_id": await twitch.user_id("alice")}
    )
    assert (answer.status, answer.json["error"]) == (409, "Conflict")


async def test_a_subscription_that_has_ended_causes_no_conflict(twitch: Twitch, webhook: Webhook) -> None:
    dead = await twitch.enabled(webhook.url, "alice")
    await twitch.control("/revoke", subscription_id=dead["id"], reason="user_removed")
    await twitch.enabled(webhook.url, "alice")
    listed = (await twitch.helix("GET", "/eventsub/subscriptions")).json
    assert [entry["status"] for entry in listed["data"]] == ["user_removed", "enabled"]
    assert listed["total_cost"] == 1


async def test_at_most_three_with_the_same_type_and_condition(twitch: Twitch, webhook: Webhook) -> None:
    for number in range(3):
        await twitch.enabled(f"{webhook.url}?{number}", "alice")
    answer = await twitch.subscribe(
        f"{webhook.url}?3", condition={"broadcaster_user_id": await twitch.user_id("alice")}
    )
    assert answer.status == 429
    # The bucket is not empty: this is the other meaning of 429.
    assert int(answer.headers["Ratelimit-Remaining"]) > 0


async def test_the_cost_budget_is_a_limit(webhook: Webhook) -> None:
    async with simulated_twitch(max_total_cost=1) as twitch:
        await twitch.enabled(webhook.url, "alice")
        answer = await twitch.subscribe(
            webhook.url, condition={"broadcaster_user_id": await twitch.user_id("bob")}
        )
        assert answer.status == 429


async def test_a_channel_whose_owner_authorized_the_application_costs_nothing(
    twitch: Twitch, webhook: Webhook
) -> None:
    await twitch.authorize("alice")
    assert (await twitch.enabled(webhook.url, "alice"))["cost"] == 0
    assert (await twitch.enabled(webhook.url, "bob"))["cost"] == 1


async def test_a_type_that_needs_consent_is_refused_until_the_scope_is_granted(
    twitch: Twitch, webhook: Webhook
) -> None:
    condition = {"broadcaster_user_id": await twitch.user_id("alice")}
    await twitch.authorize("alice", "openid")
    refused = await twitch.subscribe(webhook.url, "channel.cheer", condition=condition)
    assert (refused.status, refused.json["message"]) == (403, "subscription missing proper authorization")
    await twitch.authorize("alice", "openid bits:read")
    granted = await twitch.subscribe(webhook.url, "channel.cheer", condition=condition)
    assert (granted.status, granted.json["data"][0]["cost"]) == (202, 0)


async def test_a_subscription_costs_nothing_while_there_is_a_grant(twitch: Twitch, webhook: Webhook) -> None:
    subscription = await twitch.enabled(webhook.url, "alice")
    await twitch.enabled(webhook.url, "bob")

    async def costs() -> tuple[int, int]:
        listed = (await twitch.helix("GET", "/eventsub/subscriptions")).json
        [cost] = (entry["cost"] for entry in listed["data"] if entry["id"] == subscription["id"])
        return cost, listed["total_cost"]

    assert await costs() == (1, 2)
    await twitch.authorize("alice", "openid")
    assert await costs() == (0, 1)
    await twitch.control("/disconnect", login="alice")
    assert await costs() == (1, 2)
    await twitch.helix("DELETE", "/eventsub/subscriptions", params={"id": subscription["id"]})
    assert (await twitch.helix("GET", "/eventsub/subscriptions")).json["total_cost"] == 1


async def test_the_cost_budget_can_be_changed(twitch: Twitch, webhook: Webhook) -> None:
    await twitch.control("/limits", max_total_cost=0)
    condition = {"broadcaster_user_id": await twitch.user_id("alice")}
    assert (await twitch.subscribe(webhook.url, condition=condition)).status == 429
    await twitch.authorize("alice", "openid")
    assert (await twitch.subscribe(webhook.url, condition=condition)).status == 202, "it costs nothing"


async def test_a_user_who_disconnects_ends_the_subscriptions_that_need_the_grant(
    twitch: Twitch, webhook: Webhook
) -> None:
    condition = {"broadcaster_user_id": await twitch.user_id("alice")}
    code = (await twitch.authorize("alice", "openid bits:read")).headers["Location"]
    token = await twitch.fetch_token(
        grant_type="authorization_code",
        code=code.partition("code=")[2].partition("&")[0],
        redirect_uri="http://127.0.0.1:9/callback",
    )
    cheers = (await twitch.subscribe(webhook.url, "channel.cheer", condition=condition)).json["data"][0]
    await twitch.until_verified(cheers["id"])
    online = await twitch.enabled(webhook.url, "alice")
    await twitch.control("/disconnect", login="alice")
    [revocation] = webhook.of_type("revocation")
    assert revocation.json["subscription"]["id"] == cheers["id"]
    assert revocation.json["subscription"]["status"] == "authorization_revoked"
    assert (await twitch.subscription(online["id"]))["status"] == "enabled"
    assert (await twitch.subscribe(webhook.url, "channel.cheer", condition=condition)).status == 403
    authorization = {"Authorization": f"Bearer {token.json['access_token']}"}
    assert (await twitch.request("GET", "/oauth2/userinfo", headers=authorization)).status == 401


async def test_the_application_is_told_who_disconnects_it(twitch: Twitch, webhook: Webhook) -> None:
    type_ = "user.authorization.revoke"
    assert (await twitch.subscribe(webhook.url, type_, condition={"client_id": "another"})).status == 403
    made = await twitch.subscribe(webhook.url, type_, condition={"client_id": CLIENT_ID})
    await twitch.until_verified(made.json["data"][0]["id"])
    await twitch.authorize("alice", "openid")
    await twitch.control("/disconnect", login="alice")
    [told] = webhook.of_type("notification")
    assert told.json["event"] == {
        "client_id": CLIENT_ID,
        "user_id": await twitch.user_id("alice"),
        "user_login": "alice",
        "user_name": "Alice",
    }


async def test_a_user_who_is_renamed_keeps_the_id_and_causes_an_event(
    twitch: Twitch, webhook: Webhook
) -> None:
    alice = await twitch.user_id("alice")
    created = await twitch.subscribe(webhook.url, "user.update", condition={"user_id": alice})
    await twitch.until_verified(created.json["data"][0]["id"])
    await twitch.control("/rename", login="alice", to="alice_of_old")
    [notification] = webhook.of_type("notification")
    assert notification.json["event"]["user_login"] == "alice_of_old"
    assert await twitch.user_id("alice_of_old") == alice
    assert (await twitch.helix("GET", "/users?login=alice")).json == {"data": []}
    await twitch.control("/rename", login="bob", to="alice")
    assert await twitch.user_id("alice") != alice


async def test_deleting_a_user_ends_every_subscription(twitch: Twitch, webhook: Webhook) -> None:
    subscription = await twitch.enabled(webhook.url, "alice")
    alice = await twitch.user_id("alice")
    await twitch.control("/delete", login="alice")
    assert (await twitch.subscription(subscription["id"]))["status"] == "user_removed"
    for query in ("login=alice", f"id={alice}"):
        assert (await twitch.helix("GET", f"/users?{query}")).json == {"data": []}
    answer = await twitch.subscribe(webhook.url, condition={"broadcaster_user_id": alice})
    assert answer.status == 400
    assert "There is no user" in (await twitch.authorize("alice")).text


async def test_subscriptions_that_have_ended_are_listed_for_ten_days(
    twitch: Twitch, webhook: Webhook
) -> None:
    subscription = await twitch.enabled(webhook.url, "alice")
    await twitch.control("/revoke", subscription_id=subscription["id"], reason="version_removed")
    twitch.clock.advance(10 * 24 * 3600)
    assert (await twitch.subscription(subscription["id"]))["status"] == "version_removed"
    twitch.clock.advance(1)
    assert (await twitch.helix("GET", "/eventsub/subscriptions")).json["total"] == 0


async def test_a_moderators_grant_is_enough_for_follows(twitch: Twitch, webhook: Webhook) -> None:
    alice, moderator = await twitch.user_id("alice"), await twitch.user_id("mod_mia")
    condition = {"broadcaster_user_id": alice, "moderator_user_id": moderator}
    await twitch.authorize("mod_mia", FOLLOW_SCOPE)
    subscribe = functools.partial(
        twitch.subscribe, webhook.url, "channel.follow", version="2", condition=condition
    )
    assert (await subscribe()).status == 403, "she does not moderate yet"
    await twitch.control("/moderators", login="alice", moderators=["mod_mia", "mod_max"])
    answer = await subscribe()
    assert answer.status == 202
    subscription = await twitch.until_verified(answer.json["data"][0]["id"])

    await twitch.control("/events", event_type="channel.follow", login="alice")
    assert len(webhook.of_type("notification")) == 1
    await twitch.control("/moderators", login="alice", moderators=["mod_max"])
    assert (await twitch.subscription(subscription["id"]))["status"] == "moderator_removed"
    assert (await subscribe()).status == 403


async def test_subscriptions_need_the_applications_own_token(twitch: Twitch) -> None:
    redirect_uri = "http://127.0.0.1:9/callback"
    location = (await twitch.authorize("alice")).headers["Location"]
    code = location.partition("code=")[2].partition("&")[0]
    answer = await twitch.fetch_token(grant_type="authorization_code", code=code, redirect_uri=redirect_uri)
    twitch.token = answer.json["access_token"]
    assert (await twitch.helix("GET", "/users?login=alice")).status == 200
    assert (await twitch.helix("GET", "/eventsub/subscriptions")).status == 400


async def test_the_list_comes_in_pages_of_a_hundred(twitch: Twitch) -> None:
    for number in range(1, 106):
        await twitch.subscribe("http://127.0.0.1:9/", condition={"broadcaster_user_id": str(number)})
    first = (await twitch.helix("GET", "/eventsub/subscriptions")).json
    cursor = first["pagination"]["cursor"]
    # A deletion between two pages must not shift the second.
    await twitch.helix("DELETE", "/eventsub/subscriptions", params={"id": first["data"][0]["id"]})
    second = (await twitch.helix("GET", "/eventsub/subscriptions", params={"after": cursor})).json
    users = [entry["condition"]["broadcaster_user_id"] for entry in first["data"] + second["data"]]
    assert users == [str(number) for number in range(1, 106)]
    assert second["pagination"] == {}
    assert (first["total"], second["total"]) == (105, 104)


async def test_filters(twitch: Twitch, webhook: Webhook) -> None:
    online = await twitch.enabled(webhook.url, "alice")
    update = await twitch.enabled(webhook.url, "bob", "channel.update")
    bob = await twitch.user_id("bob")
    await twitch.control("/revoke", subscription_id=online["id"], reason="user_removed")

    async def ids(query: str) -> list[str]:
        answer = await twitch.helix("GET", f"/eventsub/subscriptions?{query}")
        return [entry["id"] for entry in answer.json["data"]]

    assert await ids("status=user_removed") == [online["id"]]
    assert await ids("type=channel.update") == [update["id"]]
    assert await ids(f"user_id={bob}") == [update["id"]]
    assert await ids(f"subscription_id={online['id']}") == [online["id"]]
    assert (await twitch.helix("GET", f"/eventsub/subscriptions?status=enabled&user_id={bob}")).status == 400


async def test_deletion(twitch: Twitch, webhook: Webhook) -> None:
    subscription = await twitch.enabled(webhook.url, "alice")
    query = {"id": subscription["id"]}
    assert (await twitch.helix("DELETE", "/eventsub/subscriptions", params=query)).status == 204
    assert (await twitch.helix("DELETE", "/eventsub/subscriptions", params=query)).status == 404
