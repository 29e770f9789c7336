"""Consent in a real browser: what every channel shows, what needs the streamer's consent, and how it ends."""

import re
from urllib.parse import urljoin

from playwright.sync_api import Browser, Page, expect

from tests.e2e.clients import Cloud, eventually
from tests.e2e.conftest import both_sign_ins, new_context
from tests.e2e.test_journey import screenshot, watch
from tests.e2e.test_upkeep import CHANNELS, channel_item

FREE_TYPES = ["stream.online", "stream.offline", "channel.update", "channel.raid", "user.update"]
SUBSCRIPTION_TYPES = 29


def listed_types(page: Page, standing: str) -> list[str]:
    """The subscription types that the page lists in this state (``data-standing``)."""
    items = page.locator(f"[data-standing={standing}] [data-testid=topic]")
    types: list[str] = items.evaluate_all("items => items.map(item => item.dataset.eventType)")
    return types


def granted(cloud: Cloud, login: str) -> list[str]:
    """The scopes that a user has granted to the app."""
    grants = cloud.twitch_state()["grants"]
    (scopes,) = (grant["scopes"] for grant in grants if grant["login"] == login)
    return list(scopes)


def give_consent(page: Page, cloud: Cloud, channel: str) -> None:
    """Watch the channel as its streamer and grant Fanfare all scopes."""
    watch(page, cloud, channel, channel)
    page.get_by_test_id("sign-in-streamer").click()
    page.locator("#login").fill(channel)
    expect(page.locator("main")).to_contain_text("moderator:read:followers")
    page.locator("#sign-in").click()
    page.wait_for_url(urljoin(cloud.site, f"watch/{channel}"))
    expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", "live")
    # Raids have two subscriptions.
    subscribed = ["enabled"] * (SUBSCRIPTION_TYPES + 1)
    eventually(
        "Twitch has all subscriptions",
        lambda: [s["status"] for s in cloud.subscriptions(channel)] == subscribed,
    )
    # If Twitch verifies a subscription before `watch` has stored it, the reconciler finds out.
    cloud.invoke("reconciler")


@both_sign_ins
def test_a_streamers_consent_comes_and_goes_on_the_open_page(
    page: Page, browser: Browser, cloud: Cloud, channel: str
) -> None:
    watch(page, cloud, channel, "plain_viewer")
    eventually("the five free types are live", lambda: listed_types(page, "live") == FREE_TYPES)
    assert len(listed_types(page, "consent")) == SUBSCRIPTION_TYPES - len(FREE_TYPES)
    assert granted(cloud, "plain_viewer") == ["openid"], "a plain viewer is asked for nothing else"
    screenshot(page, "consent-1-missing")

    with new_context(browser) as own:
        streamer = own.new_page()
        give_consent(streamer, cloud, channel)
        for viewed in (streamer, page):
            eventually("all types are live", lambda: len(listed_types(viewed, "live")) == SUBSCRIPTION_TYPES)  # noqa: B023
            expect(viewed.get_by_test_id("sign-in-streamer")).to_have_count(0)
        screenshot(page, "consent-2-given")

        (follow,) = cloud.simulate("channel.follow", channel, event={"user_login": "wren"})
        assert follow["status"] == 204
        expect(page.locator(f"[data-event-id='{follow['message_id']}']")).to_contain_text("Wren followed")

        cloud.control("disconnect", login=channel)
        cloud.invoke("reconciler")
        # What could not be told is made up for by the next run of the reconciler, within five minutes.
        eventually("only the free types are live", lambda: listed_types(page, "live") == FREE_TYPES, 400)
        follows = page.locator("[data-testid=topic][data-event-type='channel.follow']")
        expect(follows).to_contain_text(re.compile("taken back"))
        screenshot(page, "consent-3-taken-back")
    page.close()
    eventually("nobody is connected", lambda: not cloud.connections(channel))
    streamer_id = channel_item(cloud, channel)["streamer_id"]

    def unsubscribed() -> bool:
        """A run by the schedule that had counted the page's viewer may end meanwhile, and write that down."""
        # Let the grace period after the last watch pass.
        cloud.aws("dynamodb").update_item(
            TableName=CHANNELS,
            Key={"streamer_id": streamer_id},
            UpdateExpression="SET watched_at = watched_at - :hour",
            ExpressionAttributeValues={":hour": {"N": "3600"}},
        )
        cloud.invoke("reconciler")
        return cloud.subscriptions(channel) == []

    eventually("nothing is subscribed", unsubscribed)
