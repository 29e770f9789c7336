"""A streamer sets an overlay up, OBS shows its alerts without a sign-in, and ending its key ends it."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.clients import Cloud
from tests.e2e.conftest import ARTIFACTS
from tests.e2e.test_journey import watch


@pytest.fixture
def streamer(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def obs(browser: Browser) -> Iterator[Page]:
    """A browser source: nobody is signed in, and the page has no colour of its own."""
    context = browser.new_context(viewport={"width": 1920, "height": 1080})
    page = context.new_page()
    yield page
    context.close()


def test_an_overlay_shows_alerts_with_its_own_key_until_that_is_ended(
    cloud: Cloud, streamer: BrowserContext, obs: Page, channel: str
) -> None:
    page = streamer.new_page()
    watch(page, cloud, channel, "stella_streamer")
    page.get_by_test_id("overlay-link").click()
    page.get_by_test_id("test-raids").click()
    expect(page.get_by_test_id("alert")).to_contain_text("120")
    page.get_by_test_id("seconds").fill("3")
    page.get_by_test_id("make-key").click()
    address = page.get_by_test_id("address").input_value()
    assert re.search(rf"/overlay/{channel}\?\S*duration=3\S*#key=\w+\.", address)
    page.screenshot(path=ARTIFACTS / "overlay-setup.png", full_page=True)

    requested: list[str] = []
    obs.on("request", lambda request: requested.append(request.url))
    obs.goto(address)
    expect(obs.get_by_test_id("overlay")).to_have_attribute("data-status", "live", timeout=15_000)
    background = "getComputedStyle(document.body).backgroundColor"
    assert obs.evaluate(background) == "rgba(0, 0, 0, 0)"
    cloud.simulate("channel.raid", channel, event={"viewers": 77})
    expect(obs.get_by_test_id("alert")).to_contain_text("77 viewers")
    obs.screenshot(path=ARTIFACTS / "overlay.png", omit_background=True)
    expect(obs.get_by_test_id("alert")).to_have_count(0)
    key = address.split("#key=")[1]
    assert not [url for url in requested if key.split(".")[1] in url.split("#")[0]], (
        "the key is in no URL sent"
    )

    page.get_by_test_id("revoke-key").click()
    expect(page.get_by_test_id("revoked")).to_be_visible()
    obs.reload()
    expect(obs.get_by_test_id("problem")).to_be_visible()
