"""What a viewer sees in a real browser, from the form to the live feed and the sign-out."""

import re
import time
from statistics import median
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response

from tests.e2e.access import OVERFLOW
from tests.e2e.clients import Cloud, eventually, request
from tests.e2e.conftest import ARTIFACTS, both_sign_ins, every_cloud, new_context
from tests.e2e.webkit import expect

EVENTS = "[data-testid=event]"
# For `evaluate`: the page's content security policy forbids `wait_for_function`.
MOVING = """document.getAnimations().some(
    animation => animation.playState === "running" && animation.effect.getTiming().iterations !== Infinity
)"""


def screenshot(page: Page, name: str) -> None:
    page.screenshot(path=ARTIFACTS / f"{name}.png")


def watch(page: Page, cloud: Cloud, channel: str, viewer: str) -> None:
    """Go from the first page to the live feed."""
    page.goto(cloud.site)
    page.get_by_test_id("channel-input").fill(channel)
    page.get_by_test_id("channel-submit").click()
    page.wait_for_url(re.compile(r".*/oauth2/authorize.*|.*/watch/.*"))
    if "/oauth2/authorize" in page.url:
        page.locator("#login").fill(viewer)
        page.locator("#sign-in").click()
    page.wait_for_url(urljoin(cloud.site, f"watch/{channel}"))
    expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", "live")
    cloud.until_subscribed(channel)


def shown(page: Page) -> list[str]:
    """The ids of the events in the feed, top first."""
    ids: list[str] = page.locator(EVENTS).evaluate_all("items => items.map(item => item.dataset.eventId)")
    return ids


@every_cloud
def test_a_viewer_signs_in_and_sees_the_newest_ten_events_live(
    page: Page, context: BrowserContext, cloud: Cloud, channel: str
) -> None:
    page.goto(cloud.site)
    screenshot(page, "1-first-page")
    page.get_by_test_id("channel-input").fill("not a channel!")
    expect(page.locator("#channel-help.wrong")).to_be_visible()
    screenshot(page, "2-malformed-channel")

    watch(page, cloud, channel, "vera_viewer")
    screenshot(page, "3-watching-nothing-yet")

    sent = []
    for number in range(10):
        deliveries = cloud.simulate("channel.update", channel, event={"title": f"Title {number}"})
        assert [d["status"] for d in deliveries] in ([204], [200])  # by the webhook, or by the relay
        sent.append(deliveries[0]["message_id"])
    expect(page.locator(EVENTS)).to_have_count(10)
    eventually("the newest first", lambda: shown(page) == sent[::-1])

    stranger = context.new_page()
    watch(stranger, cloud, f"other_{channel}", "vera_viewer")

    latencies = []
    for number in range(5):
        started = time.monotonic()
        (raid,) = cloud.simulate("channel.raid", channel, event={"viewers": 120 + number})[:1]
        page.locator(f"[data-event-id='{raid['message_id']}']").wait_for()
        latencies.append(time.monotonic() - started)
        sent.append(raid["message_id"])
    (ARTIFACTS / "latency.txt").write_text(
        f"event to screen, median of {len(latencies)}: {median(latencies) * 1000:.0f} ms\n"
    )
    expect(page.locator(EVENTS).first).to_contain_text("raid")
    expect(page.locator(EVENTS).first).to_contain_text("124 viewers")
    eventually("the newest ten, the oldest have left", lambda: shown(page) == sent[:-11:-1])
    assert shown(stranger) == [], "a viewer of another channel sees nothing of it"
    screenshot(page, "4-live")

    eventually("everything recorded", lambda: recorded(cloud, channel) == sent[::-1])
    page.reload()
    expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", "live")
    expect(page.locator(EVENTS)).to_have_count(10)
    eventually("a reload shows the newest ten that are recorded", lambda: shown(page) == sent[:-11:-1])

    page.get_by_test_id("sign-out").click()
    page.wait_for_url(cloud.site)
    expect(page.get_by_test_id("channel-input")).to_be_visible()
    page.goto(urljoin(cloud.site, f"watch/{channel}"))
    expect(page.get_by_test_id("signed-out")).to_be_visible()
    screenshot(page, "5-signed-out")


@both_sign_ins
def test_the_way_from_the_form_to_the_watch_page_is_short(
    browser: Browser, cloud: Cloud, channel: str
) -> None:
    seconds = []
    for number in range(7):
        with new_context(browser) as context:
            page, redirects = context.new_page(), 0

            def count(response: Response) -> None:
                nonlocal redirects
                redirects += response.request.is_navigation_request() and response.status in (302, 303)

            page.goto(cloud.site)
            page.on("response", count)
            page.get_by_test_id("channel-input").fill(channel)
            started = time.monotonic()
            page.get_by_test_id("channel-submit").click()
            page.locator("#login").fill(f"vera_viewer_{number}")
            page.locator("#sign-in").click()
            page.wait_for_url(urljoin(cloud.site, f"watch/{channel}"))
            seconds.append(time.monotonic() - started)
    kind = cloud.get("config.json").json()["identity"]["kind"]
    report = f"{kind}: {redirects} redirects, {median(seconds):.2f} s from the form to the watch page\n"
    (ARTIFACTS / f"sign-in-{kind}.txt").write_text(report)
    assert redirects == {"cognito": 3, "twitch": 1}[kind]


def recorded(cloud: Cloud, channel: str) -> list[str]:
    """The ids of the events in the read route, in the order of Twitch's times, newest first (at most 100).

    The route's order is that of recording, which may differ for events of the same second.
    """
    answer = request("GET", f"{cloud.api.rstrip('/')}/api/channels/{channel}/events?limit=100")
    events = sorted(answer.json()["events"], key=lambda event: str(event["occurred_at"]), reverse=True)
    return [event["id"] for event in events]


def test_an_unknown_channel_says_so(page: Page, cloud: Cloud) -> None:
    page.goto(cloud.site)
    page.get_by_test_id("channel-input").fill("nosuch_channel")
    page.get_by_test_id("channel-submit").click()
    page.locator("#login").fill("vera_viewer")
    page.locator("#sign-in").click()
    expect(page.locator("[data-error=unknown-channel]")).to_be_visible()
    screenshot(page, "6-unknown-channel")


def test_after_a_lost_connection_nothing_is_missed_or_shown_twice(
    page: Page, cloud: Cloud, channel: str
) -> None:
    watch(page, cloud, channel, "vera_viewer")
    before = cloud.simulate("stream.online", channel)[0]["message_id"]
    page.locator(f"[data-event-id='{before}']").wait_for()

    page.context.set_offline(True)
    cloud.close_connections(channel)
    expect(page.get_by_test_id("connection-state")).not_to_have_attribute("data-state", "live")
    screenshot(page, "7-reconnecting")
    missed = cloud.simulate("channel.update", channel)[0]["message_id"]
    eventually("recorded", lambda: missed in recorded(cloud, channel))
    page.context.set_offline(False)

    page.locator(f"[data-event-id='{missed}']").wait_for()
    expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", "live")
    assert shown(page) == [missed, before]


def test_hostile_text_is_shown_as_text(page: Page, cloud: Cloud, channel: str) -> None:
    watch(page, cloud, channel, "vera_viewer")
    title = "<img src=x onerror=alert(1)> \u202e evil"
    sent = cloud.simulate("channel.update", channel, event={"title": title})[0]["message_id"]
    item = page.locator(f"[data-event-id='{sent}']")
    expect(item).to_contain_text("<img src=x onerror=alert(1)>")
    assert item.locator("img[src=x]").count() == 0


def test_the_deployed_policy_blocks_inline_script(context: BrowserContext, cloud: Cloud) -> None:
    page = context.new_page()
    page.goto(cloud.site)
    page.evaluate("""() => {
        window.refused = [];
        document.addEventListener("securitypolicyviolation", it => refused.push(it.effectiveDirective));
        const script = document.createElement("script");
        script.textContent = "document.title = 'owned'";
        const button = document.createElement("button");
        button.setAttribute("onclick", "document.title = 'owned'");
        document.body.append(script, button);
        button.click();
    }""")
    expected = ["script-src-attr", "script-src-elem"]
    eventually("both refused", lambda: sorted(page.evaluate("refused")) == expected)
    assert page.title() == "Fanfare"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1920])
def test_it_fits_small_and_large_screens_in_light_and_dark(
    browser: Browser, cloud: Cloud, channel: str, width: int, theme: str
) -> None:
    viewport = {"width": width, "height": 800 if width < 1000 else 1080}
    with new_context(browser, viewport=viewport, color_scheme=theme) as context:
        page = context.new_page()
        page.goto(cloud.site)
        screenshot(page, f"first-page-{width}-{theme}")
        watch(page, cloud, channel, "vera_viewer")
        for event_type in ("stream.online", "channel.update", "channel.raid", "user.update"):
            cloud.simulate(event_type, channel)
        expect(page.locator(EVENTS).first).to_be_visible()
        assert page.evaluate(OVERFLOW) <= 0, "no sideways scrolling"
        eventually("nothing moves any more", lambda: not page.evaluate(MOVING))
        page.screenshot(path=ARTIFACTS / f"watch-{width}-{theme}.png", full_page=True)
