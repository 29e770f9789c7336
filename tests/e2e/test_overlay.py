"""A streamer makes an overlay; OBS shows its alerts without a sign-in, until the key is revoked."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.clients import Cloud
from tests.e2e.conftest import ARTIFACTS, both_sign_ins, new_context
from tests.e2e.test_journey import watch


@pytest.fixture
def streamer(browser: Browser) -> Iterator[BrowserContext]:
    with new_context(browser) as context:
        yield context


@pytest.fixture
def obs(browser: Browser) -> Iterator[Page]:
    """A browser source in OBS: a browser in which nobody is signed in."""
    with new_context(browser, viewport={"width": 1920, "height": 1080}) as context:
        yield context.new_page()


@both_sign_ins
def test_an_overlay_shows_alerts_until_its_key_is_revoked(
    cloud: Cloud, streamer: BrowserContext, obs: Page, channel: str
) -> None:
    page = streamer.new_page()
    watch(page, cloud, channel, "stella_streamer")
    page.get_by_test_id("overlay-link").click()
    page.get_by_test_id("seconds").fill("30")
    page.get_by_test_id("test-raids").click()
    expect(page.get_by_test_id("alert")).to_contain_text("120")
    page.get_by_test_id("make-key").click()
    address = page.get_by_test_id("address").input_value()
    assert re.search(rf"/overlay/{channel}\?\S*duration=30\S*#key=\w+\.", address)
    page.screenshot(path=ARTIFACTS / "overlay-setup.png", full_page=True)

    requested: list[str] = []
    obs.on("request", lambda request: requested.append(request.url))
    obs.clock.install()
    obs.goto(address)
    expect(obs.get_by_test_id("overlay")).to_have_attribute("data-status", "live")
    background = "getComputedStyle(document.body).backgroundColor"
    assert obs.evaluate(background) == "rgba(0, 0, 0, 0)"
    cloud.simulate("channel.raid", channel, event={"viewers": 77})
    expect(obs.get_by_test_id("alert")).to_contain_text("77 viewers")
    obs.screenshot(path=ARTIFACTS / "overlay.png", omit_background=True)
    obs.clock.fast_forward(30_000)
    expect(obs.get_by_test_id("alert")).to_have_count(0)
    key = address.split("#key=")[1]
    assert not [url for url in requested if key.split(".")[1] in url.split("#")[0]], (
        "the key is in no URL sent"
    )

    page.get_by_test_id("revoke-key").click()
    expect(page.get_by_test_id("revoked")).to_be_visible()
    obs.reload()
    expect(obs.get_by_test_id("problem")).to_be_visible()
