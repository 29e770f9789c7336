"""The simulated Twitch's control page sends events and shows the answer to each delivery."""

from playwright.sync_api import Page, expect

from tests.e2e.access import AXE, problems, views
from tests.e2e.clients import Cloud, Viewer
from tests.e2e.conftest import ARTIFACTS

LINES = """cell => {
    const text = document.createRange();
    text.selectNodeContents(cell);
    return text.getClientRects().length;
}"""


def test_the_control_page_sends_events_and_shows_each_answer(
    page: Page, cloud: Cloud, viewer: Viewer, channel: str
) -> None:
    viewer.until_watched(channel)
    cloud.until_subscribed(channel)
    page.add_init_script(path=AXE)
    page.goto(cloud.twitch)
    page.locator("#login").fill(channel)
    page.locator("#raid").click()
    expect(page.locator("#result.good")).to_contain_text("channel.raid: 204")
    delivered = page.locator("#deliveries li").filter(has_text="channel.raid").first
    expect(delivered.locator("strong")).to_have_text("204")
    page.locator("#subscribe").click()
    expect(page.locator("#result.bad")).to_contain_text("Nobody is subscribed to channel.subscribe")

    found = []
    for view in views(page, 900):
        if (lines := page.locator("#subscriptions td.good").first.evaluate(LINES)) != 1:
            found.append(f"{view}: 'enabled' is broken into {lines} lines")
        found += problems(page, view)
        page.screenshot(path=ARTIFACTS / f"control-{view}.png", full_page=True)
    assert found == []
