"""The sign-in of a real browser: on the way to it, in several tabs, and without storage."""

from playwright.sync_api import Page, Route, expect

from tests.e2e.site.conftest import SIGN_IN, OpenPage
from tests.e2e.site.stand_in import IDENTITY, StandIn, event

FORBIDDEN = """for (const name of ["sessionStorage", "localStorage"]) Object.defineProperty(window, name, {
    get() { throw new DOMException("forbidden", "SecurityError") },
})"""


def revocations(page: Page) -> list[str]:
    """The bodies of this tab's requests to revoke a token; the user pool's other pages answer."""
    asked: list[str] = []

    def answer(route: Route) -> None:
        if route.request.url.endswith("/oauth2/revoke"):
            asked.append(route.request.post_data or "")
        route.fulfill(body="signed out")

    page.route(f"{IDENTITY['domain']}/**", answer)
    return asked


def test_signing_out_in_one_tab_signs_out_in_the_other(watching: OpenPage, stand_in: StandIn) -> None:
    first = watching()
    second = first.context.new_page()
    second.goto(f"{stand_in.url}/watch/wren")
    expect(second.get_by_test_id("connection-state")).to_have_attribute("data-state", "live")
    asked = {page: revocations(page) for page in (first, second)}
    with second.expect_response("**/oauth2/revoke"):
        first.get_by_test_id("sign-out").click()
    first.wait_for_url(f"{IDENTITY['domain']}/logout?**")
    expect(second.get_by_test_id("signed-out")).to_be_visible()
    assert [len(tokens) for tokens in asked.values()] == [1, 1]
    assert all("token=refresh" in tokens[0] for tokens in asked.values())


def test_a_viewer_signs_in_once_for_all_tabs(open_page: OpenPage, stand_in: StandIn) -> None:
    first = open_page("/", signed_in=False)
    first.evaluate(SIGN_IN)
    first.reload()
    expect(first.get_by_test_id("sign-out")).to_be_visible()
    tabs = [first.context.new_page() for _ in range(2)]
    for tab in tabs:
        tab.goto(f"{stand_in.url}/watch/wren")
        expect(tab.get_by_test_id("connection-state")).to_have_attribute("data-state", "live")
        first.close()
    # The tokens are gone with the last tab.
    context = tabs[0].context
    for tab in tabs:
        tab.close()
    later = context.new_page()
    later.goto(f"{stand_in.url}/watch/wren")
    expect(later.get_by_test_id("signed-out")).to_be_visible()


def test_the_sign_in_can_be_begun_again_after_the_browser_was_stopped(open_page: OpenPage) -> None:
    page = open_page("/", signed_in=False)
    # As after the browser's Stop, the page is not left, and is not told so.
    page.route(f"{IDENTITY['domain']}/**", lambda route: route.fulfill(status=204))
    page.get_by_test_id("channel-input").fill("marlowe")
    for _ in range(2):
        with page.expect_request(f"{IDENTITY['domain']}/oauth2/authorize?**"):
            page.get_by_test_id("channel-submit").click()


def test_the_sign_in_can_be_begun_again_after_going_back(open_page: OpenPage) -> None:
    page = open_page("/", signed_in=False)
    page.route(f"{IDENTITY['domain']}/**", lambda route: route.fulfill(body="sign in"))
    page.get_by_test_id("channel-input").fill("marlowe")
    page.get_by_test_id("channel-submit").click()
    page.wait_for_url(f"{IDENTITY['domain']}/oauth2/authorize?**")
    page.go_back()
    page.get_by_test_id("channel-input").fill("marlowe")
    page.get_by_test_id("channel-submit").click()
    page.wait_for_url(f"{IDENTITY['domain']}/oauth2/authorize?**")


def test_without_storage_public_pages_work_and_signing_in_says_what_it_needs(
    open_page: OpenPage, stand_in: StandIn
) -> None:
    stand_in.leaders = [{"streamer_id": "1", "streamer_name": "wren", "total": 3}]
    page = open_page("/", signed_in=False, storage=FORBIDDEN)
    page.get_by_test_id("channel-input").fill("marlowe")
    page.get_by_test_id("channel-submit").click()
    expect(page.get_by_test_id("error")).to_contain_text("cookies and site data")
    page.goto(f"{stand_in.url}/watch/marlowe")
    page.get_by_test_id("sign-in").click()
    expect(page.get_by_test_id("error")).to_contain_text("cookies and site data")
    page.goto(f"{stand_in.url}/callback?code=code&state=state")
    expect(page.get_by_test_id("error")).to_contain_text("cookies and site data")
    page.goto(f"{stand_in.url}/leaderboard")
    expect(page.get_by_text("wren")).to_be_visible()


def test_without_storage_the_overlay_shows_alerts(open_page: OpenPage, stand_in: StandIn) -> None:
    page = open_page("/overlay/marlowe#key=viewer.secret", signed_in=False, storage=FORBIDDEN)
    expect(page.get_by_test_id("overlay")).to_have_attribute("data-status", "live")
    stand_in.happen(event("channel.raid", viewers=42))
    expect(page.get_by_test_id("alert")).to_contain_text("42 viewers")
