"""What could not be loaded is tried again for as long as a page is open."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.e2e.clients import eventually
from tests.e2e.site.conftest import OpenPage
from tests.e2e.site.stand_in import StandIn, event

OVERLAY = "/overlay/marlowe?duration=30#key=viewer.secret"
CHUNKS = {
    "config": "**/config.json",
    "page": "**/assets/lazyPages-*.js",
    "charts": "**/assets/lazyCharts-*.js",
}


def fail(
    target: Page | BrowserContext, what: str, status: int | None, times: int | None = None
) -> list[Route]:
    """Let the first requests for it (or all) fail: with a status, or without an answer; returns them."""
    failed: list[Route] = []

    def answer(route: Route) -> None:
        failed.append(route)
        if status is None:
            route.abort("connectionrefused")
        else:
            route.fulfill(status=status)

    target.route(CHUNKS[what], answer, times=times)
    return failed


@pytest.mark.parametrize("status", [None, 503, 404])
@pytest.mark.parametrize("what", ["config", "page"])
def test_an_overlay_shows_nothing_until_it_is_loaded_and_then_alerts(
    open_page: OpenPage, stand_in: StandIn, what: str, status: int | None
) -> None:
    page = open_page("/robots.txt", signed_in=False)
    failed = fail(page, what, status)
    page.goto(f"{stand_in.url}{OVERLAY}")

    def tried_again_unseen() -> bool:
        assert page.locator("body").inner_text() == ""
        return len(failed) > 1

    eventually("it is tried again", tried_again_unseen)
    page.unroute(CHUNKS[what])
    expect(page.get_by_test_id("overlay")).to_have_attribute("data-status", "live")
    stand_in.happen(event("channel.raid", viewers=42))
    expect(page.get_by_test_id("alert")).to_contain_text("42 viewers")


@pytest.mark.parametrize("status", [None, 503])
@pytest.mark.parametrize("what", ["config", "page", "charts"])
def test_a_page_says_what_it_waits_for_and_goes_on(
    open_page: OpenPage, stand_in: StandIn, what: str, status: int | None
) -> None:
    page = open_page("/robots.txt")
    # The next attempt waits until the test has seen what the page says.
    page.clock.install()
    page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))
    fail(page, what, status, times=1)
    page.goto(f"{stand_in.url}/watch/marlowe")
    if what == "charts":
        page.get_by_test_id("numbers").scroll_into_view_if_needed()
    expect(page.get_by_test_id("error" if what == "config" else "trying-again")).to_be_visible()
    page.clock.run_for(2_000)
    page.clock.resume()
    expect(page.get_by_test_id("daily-chart").locator("canvas")).to_be_visible()
    expect(page.get_by_test_id("trying-again")).to_have_count(0)
    expect(page.get_by_test_id("error")).to_have_count(0)


def test_a_link_that_was_clicked_offline_leads_on_when_the_network_is_back(open_page: OpenPage) -> None:
    page = open_page("/", signed_in=False)
    page.context.set_offline(True)
    page.get_by_role("link", name="Leaderboard").click()
    expect(page.get_by_test_id("trying-again")).to_be_visible()
    page.context.set_offline(False)
    expect(page.get_by_role("heading", name="Leaderboard")).to_be_visible()
    expect(page.get_by_test_id("trying-again")).to_have_count(0)


def test_the_sign_in_can_be_begun_when_the_network_is_back(open_page: OpenPage) -> None:
    page = open_page("/", signed_in=False)
    page.route("https://sign-in.example/**", lambda route: route.fulfill(body="sign in"))
    page.get_by_test_id("channel-input").fill("marlowe")
    page.context.set_offline(True)
    page.get_by_test_id("channel-submit").click()
    expect(page.get_by_test_id("error")).to_contain_text("try again")
    page.context.set_offline(False)
    page.get_by_test_id("channel-submit").click()
    page.wait_for_url("https://sign-in.example/oauth2/authorize?**")
