"""Signed in without Cognito: what the cookie is good for, what it is not, and that each grant is needed."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.clients import Cloud, Response, Viewer, eventually, follow_sign_in, request
from tests.e2e.conftest import new_context
from tests.e2e.grants import without_grant
from tests.e2e.local_cloud import ROOT, deploy
from tests.e2e.test_journey import screenshot, watch

pytestmark = pytest.mark.parametrize("cloud", ["twitch"], indirect=True, scope="session")

COOKIE = "__Host-session"
TABLE = "fanfare-local-sessions"
DAY = 86_400


def cookie_of(context: BrowserContext) -> Any:
    return next((cookie for cookie in context.cookies() if cookie["name"] == COOKIE), None)


def send(cloud: Cloud, method: str, path: str, viewer: Viewer, **headers: str) -> Response:
    return request(method, urljoin(cloud.site, path), headers={**viewer.headers, **headers})


def test_a_viewer_is_signed_in_once_for_all_tabs_and_after_a_restart_of_the_browser(
    page: Page, context: BrowserContext, browser: Browser, cloud: Cloud, channel: str
) -> None:
    watch(page, cloud, channel, "vera_viewer")
    cookie = cookie_of(context)
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Lax")
    assert 89 * DAY < cookie["expires"] - time.time() <= 90 * DAY
    assert page.evaluate("document.cookie") == ""

    tab = context.new_page()
    tab.goto(cloud.site)
    expect(tab.get_by_test_id("channel-submit")).to_have_text("Watch")
    screenshot(tab, "signed-in-everywhere")
    kept = context.storage_state()
    with new_context(browser, storage_state=kept) as restarted:
        other = restarted.new_page()
        other.goto(urljoin(cloud.site, f"watch/{channel}"))
        expect(other.get_by_test_id("connection-state")).to_have_attribute("data-state", "live")

        page.get_by_test_id("sign-out").click()
        expect(tab.get_by_test_id("channel-submit")).to_have_text("Sign in with Twitch")
        assert cookie_of(context) is None
        # The cookie that somebody has kept is worth nothing now.
        other.reload()
        expect(other.get_by_test_id("signed-out")).to_be_visible()


def test_a_viewer_can_sign_out_on_all_devices(
    page: Page, browser: Browser, cloud: Cloud, channel: str
) -> None:
    watch(page, cloud, channel, "vera_viewer")
    with new_context(browser) as context:
        device = context.new_page()
        watch(device, cloud, channel, "vera_viewer")
        page.goto(cloud.site)
        page.get_by_test_id("sign-out-everywhere").click()
        expect(page.get_by_test_id("channel-submit")).to_have_text("Sign in with Twitch")
        device.reload()
        expect(device.get_by_test_id("signed-out")).to_be_visible()


def test_a_code_that_somebody_else_began_with_signs_nobody_in(page: Page, cloud: Cloud) -> None:
    """Login CSRF: a link to the callback with the attacker's own code."""
    began = cloud.get("api/session").json()["url"] + "&nonce=the-attackers&state=guessed"
    callback = follow_sign_in(cloud, began, "attacker")
    page.goto(cloud.site)
    page.goto(callback)
    expect(page.get_by_test_id("error")).to_be_visible()
    page.get_by_test_id("channel-input").wait_for(state="detached")
    assert cookie_of(page.context) is None
    code = parse_qs(urlsplit(callback).query)["code"][0]
    body = {"code": code, "redirect_uri": urljoin(cloud.site, "callback"), "verifier": "a-guess"}
    origin = {"Origin": cloud.site.rstrip("/")}
    refused = [
        request("POST", urljoin(cloud.site, "api/session"), json=body, headers=origin) for _ in range(2)
    ]
    assert [answer.json()["error"]["code"] for answer in refused] == ["other_browser", "invalid_code"]


def test_another_sites_page_can_do_nothing_with_the_cookie(page: Page, cloud: Cloud, channel: str) -> None:
    watch(page, cloud, channel, "vera_viewer")
    evil = page.context.new_page()
    evil.goto(f"{cloud.twitch}/player/?channel={channel}&parent=localhost")
    script = """async (urls) => { for (const [method, url] of urls) {
        try { await fetch(url, { method, mode: "no-cors", credentials: "include" }) } catch { /* refused */ }
    } }"""
    evil.evaluate(
        script,
        [["POST", urljoin(cloud.site, path)] for path in ("api/session", f"api/overlays/{channel}/key")],
    )
    viewer = Viewer(cloud, "vera_viewer", {"Cookie": f"{COOKIE}={cookie_of(page.context)['value']}"})
    for headers in ({}, {"Origin": cloud.twitch}, {"Origin": "null"}):
        for method, path in (
            ("POST", f"api/channels/{channel}/watch"),
            ("POST", f"api/overlays/{channel}/key"),
            ("DELETE", f"api/overlays/{channel}/key"),
        ):
            assert send(cloud, method, path, viewer, **headers).status == 401
        assert send(cloud, "DELETE", "api/session", viewer, **headers).status == 403
    page.reload()
    expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", "live")
    overlays = cloud.aws("dynamodb").scan(TableName="fanfare-local-overlays")["Items"]
    assert channel not in [overlay["login"]["S"] for overlay in overlays]


def test_reads_get_no_cookie(cloud: Cloud) -> None:
    """CloudFront drops it, so an answer that is cached is nobody's own."""
    viewer = Viewer.sign_in(cloud, "vera_viewer")
    answer = send(cloud, "GET", "api/leaderboard", viewer)
    assert answer.status == 200
    assert "Set-Cookie" not in answer.headers


def test_an_open_page_goes_on_while_its_session_is_prolonged(cloud: Cloud) -> None:
    viewer = Viewer.sign_in(cloud, "patient_viewer")
    item = age(cloud, "patient_viewer", days=20)
    viewer.until_watched("some_channel")
    after = sessions(cloud, "patient_viewer")[0]
    assert int(after["expires_at"]["N"]) - int(item["expires_at"]["N"]) > 19 * DAY


def test_an_open_page_whose_session_has_ended_leads_to_the_sign_in(
    page: Page, cloud: Cloud, channel: str
) -> None:
    watch(page, cloud, channel, "forgotten_viewer")
    age(cloud, "forgotten_viewer", days=91)
    cloud.close_connections(channel)
    expect(page.get_by_test_id("signed-out")).to_be_visible()
    page.get_by_test_id("sign-in").click()
    page.locator("#login").fill("forgotten_viewer")
    page.locator("#sign-in").click()
    page.wait_for_url(urljoin(cloud.site, f"watch/{channel}"))
    expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", "live")


def test_twitchs_tokens_are_given_up(cloud: Cloud) -> None:
    before = cloud.twitch_state()["user_tokens"]
    Viewer.sign_in(cloud, "vera_viewer")
    assert cloud.twitch_state()["user_tokens"] == before


def test_who_disconnects_the_application_at_twitch_is_signed_out(cloud: Cloud) -> None:
    viewer = Viewer.sign_in(cloud, "leaving_viewer")
    cloud.invoke("reconciler")

    def told() -> bool:
        subscriptions = cloud.twitch_state()["subscriptions"]
        return ("user.authorization.revoke", "enabled") in [(s["type"], s["status"]) for s in subscriptions]

    eventually("Twitch tells who disconnects", told)
    viewer.until_watched("some_channel")
    cloud.control("disconnect", login="leaving_viewer")
    eventually("the session has ended", lambda: viewer.watch("some_channel").status == 401)


def sessions(cloud: Cloud, login: str) -> list[Any]:
    grants = cloud.twitch_state()["grants"]
    (viewer_id,) = (grant["user_id"] for grant in grants if grant["login"] == login)
    items: list[Any] = cloud.aws("dynamodb").query(
        TableName=TABLE,
        KeyConditionExpression="viewer_id = :viewer_id",
        ExpressionAttributeValues={":viewer_id": {"S": viewer_id}},
    )["Items"]
    return items


def age(cloud: Cloud, login: str, days: int) -> Any:
    """Let the viewer's session be so many days older; returns it."""
    (item,) = sessions(cloud, login)
    for name in ("signed_in_at", "expires_at"):
        item[name]["N"] = str(int(item[name]["N"]) - days * DAY)
    cloud.aws("dynamodb").put_item(TableName=TABLE, Item=item)
    return item


def signs_in(cloud: Cloud) -> bool:
    try:
        Viewer.sign_in(cloud, "granted_viewer")
    except AssertionError:
        return False
    return True


def signs_out(cloud: Cloud) -> bool:
    viewer = Viewer.sign_in(cloud, "granted_viewer")
    return send(cloud, "DELETE", "api/session", viewer).status == 204


def signs_out_everywhere(cloud: Cloud) -> bool:
    viewer = Viewer.sign_in(cloud, "granted_viewer")
    return send(cloud, "DELETE", "api/session?devices=all", viewer).status == 204


def watches(cloud: Cloud) -> bool:
    return Viewer.sign_in(cloud, "granted_viewer").watch("granted_channel").status == 200


def watches_after_days(cloud: Cloud) -> bool:
    signs_out_everywhere(cloud)
    viewer = Viewer.sign_in(cloud, "granted_viewer")
    age(cloud, "granted_viewer", days=2)
    return viewer.watch("granted_channel").status == 200


def makes_a_key(cloud: Cloud) -> bool:
    viewer = Viewer.sign_in(cloud, "granted_viewer")
    return send(cloud, "POST", "api/overlays/granted_channel/key", viewer).status == 200


@pytest.mark.parametrize(
    ("function", "action", "works"),
    [
        ("session", "dynamodb:PutItem", signs_in),
        ("session", "dynamodb:DeleteItem", signs_out),
        ("session", "dynamodb:Query", signs_out_everywhere),
        ("watch", "dynamodb:GetItem", watches),
        ("watch", "dynamodb:UpdateItem", watches_after_days),
        ("overlay", "dynamodb:GetItem", makes_a_key),
    ],
)
def test_without_its_grant_a_function_fails(
    cloud: Cloud, function: str, action: str, works: Callable[[Cloud], bool]
) -> None:
    eventually("it works with the grant", lambda: works(cloud))
    with without_grant(cloud, function, action):
        assert not works(cloud)
    eventually("it works again", lambda: works(cloud))


def test_a_sign_in_is_logged_without_secrets(cloud: Cloud) -> None:
    viewer = Viewer.sign_in(cloud, "vera_viewer")
    logs = cloud.aws("logs").get_paginator("filter_log_events")
    pages = logs.paginate(logGroupName="/aws/lambda/fanfare-local-session")
    logged = [event["message"] for page in pages for event in page["events"]]
    assert any(
        json.loads(line).get("message") == "A session began" for line in logged if line.startswith("{")
    )
    secret = viewer.headers["Cookie"].rpartition(".")[2]
    assert not [line for line in logged if secret in line]


# No other test with this cloud comes after it.
def test_a_deployed_stage_can_be_given_the_other_way_to_sign_in(
    page: Page, browser: Browser, cloud: Cloud, channel: str, tmp_path: Path
) -> None:
    watch(page, cloud, channel, "vera_viewer")
    viewer = Viewer.sign_in(cloud, "vera_viewer")
    overlays = urljoin(cloud.site, f"api/overlays/{channel}")
    key = request("POST", f"{overlays}/key", headers=viewer.headers).json()["key"]

    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(json.loads(cloud.settings_file.read_text()) | {"sign_in": "cognito"}))
    deployed = deploy(cloud, ROOT, tmp_path / "cdk.out", settings)
    assert deployed.returncode == 0, deployed.stdout[-3000:]
    assert cloud.get("config.json").json()["identity"]["kind"] == "cognito"
    assert TABLE not in cloud.aws("dynamodb").list_tables()["TableNames"]
    assert viewer.watch(channel).status == 401

    # A page that is open goes on until its connection ends, and then signs in the new way.
    (raid,) = cloud.simulate("channel.raid", channel)[:1]
    page.locator(f"[data-event-id='{raid['message_id']}']").wait_for()
    cloud.close_connections(channel)
    expect(page.get_by_test_id("signed-out")).to_be_visible()
    with page.expect_event("load"):
        page.get_by_test_id("sign-in").click()
    page.get_by_test_id("sign-in").click()
    page.locator("#login").fill("vera_viewer")
    page.locator("#sign-in").click()
    expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", "live")
    with new_context(browser) as context:
        watch(context.new_page(), cloud, channel, "somebody_new")

    # Both ways know a viewer by their Twitch id.
    headers = {"Authorization": f"Bearer {key}"}
    assert request("POST", f"{overlays}/watch", headers=headers).status == 200
    again = Viewer.sign_in(cloud, "vera_viewer")
    assert request("DELETE", f"{overlays}/key", headers=again.headers).status == 204
    assert request("POST", f"{overlays}/watch", headers=headers).status == 401
