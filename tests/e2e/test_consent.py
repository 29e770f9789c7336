"""Consent, in a real browser: what any channel shows, what its streamer unlocks, and how it ends."""

import re
from urllib.parse import urljoin

from playwright.sync_api import Browser, Page, expect

from tests.e2e.clients import Cloud, eventually, request
from tests.e2e.test_journey import screenshot, watch
from tests.e2e.test_upkeep import CHANNELS, channel_item, invoke

FREE = ["stream.online", "stream.offline", "channel.update", "channel.raid", "user.update"]
EVERY_TOPIC = 22


def topics(page: Page, standing: str) -> list[str]:
    """The topics that the page lists as standing so, at one instant."""
    items = page.locator(f"[data-standing={standing}] [data-testid=topic]")
    types: list[str] = items.evaluate_all("items => items.map(item => item.dataset.eventType)")
    return types


def order(cloud: Cloud, lever: str, **body: str) -> None:
    """Pull a lever of the simulated Twitch."""
    answer = request("POST", f"{cloud.twitch}/simulator/{lever}", json=body)
    assert answer.status == 200, answer.data


def granted(cloud: Cloud, login: str) -> list[str]:
    """The scopes that a user has granted to the app."""
    grants = request("GET", f"{cloud.twitch}/simulator/state").json()["grants"]
    (scopes,) = (grant["scopes"] for grant in grants if grant["login"] == login)
    return list(scopes)


def give_consent(page: Page, cloud: Cloud, channel: str) -> None:
    """Watch one's own channel and let Fanfare read everything of it."""
    watch(page, cloud, channel, channel)
    page.get_by_test_id("sign-in-streamer").click()
    page.locator("#login").fill(channel)
    expect(page.locator("main")).to_contain_text("moderator:read:followers")
    page.locator("#sign-in").click()
    page.wait_for_url(urljoin(cloud.site, f"watch/{channel}"))


def test_a_streamers_consent_comes_and_goes_on_the_open_page(
    page: Page, browser: Browser, cloud: Cloud, channel: str
) -> None:
    watch(page, cloud, channel, "plain_viewer")
    eventually("the five free topics are live", lambda: topics(page, "live") == FREE)
    assert len(topics(page, "consent")) == EVERY_TOPIC - len(FREE)
    assert granted(cloud, "plain_viewer") == ["openid"], "a plain viewer is asked for nothing else"
    screenshot(page, "consent-1-missing")

    own = browser.new_context(viewport={"width": 1280, "height": 900})
    own.set_default_timeout(15_000)
    streamer = own.new_page()
    give_consent(streamer, cloud, channel)
    for viewed in (streamer, page):
        eventually("everything is live", lambda: len(topics(viewed, "live")) == EVERY_TOPIC, seconds=30)  # noqa: B023
        expect(viewed.get_by_test_id("sign-in-streamer")).to_have_count(0)
    screenshot(page, "consent-2-given")

    (follow,) = cloud.simulate("channel.follow", channel, event={"user_login": "wren"})
    assert follow["status"] == 204
    expect(page.locator(f"[data-event-id='{follow['message_id']}']")).to_contain_text("Wren followed")

    order(cloud, "disconnect", login=channel)
    invoke(cloud, "reconciler")
    eventually("only the free topics are left", lambda: topics(page, "live") == FREE)
    follows = page.locator("[data-testid=topic][data-event-type='channel.follow']")
    expect(follows).to_contain_text(re.compile("taken back"))
    screenshot(page, "consent-3-taken-back")

    own.close()
    page.close()
    eventually("nobody is connected", lambda: not cloud.connections(channel))
    # As if the grace period had passed since somebody last watched.
    cloud.aws("dynamodb").update_item(
        TableName=CHANNELS,
        Key={"streamer_id": channel_item(cloud, channel)["streamer_id"]},
        UpdateExpression="SET watched_at = watched_at - :hour",
        ExpressionAttributeValues={":hour": {"N": "3600"}},
    )
    invoke(cloud, "reconciler")
    assert cloud.subscriptions(channel) == []
