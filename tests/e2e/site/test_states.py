"""Every state of the site, at three widths and in both themes: it fits, and anybody can use it.

Screenshots: ``.artifacts/site/<width>-<theme>/<state>.png``.
"""

import json
from collections.abc import Callable
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import REPOSITORY
from tests.e2e.site.conftest import OpenPage
from tests.e2e.site.stand_in import CONSENTED, OPEN, StandIn, event

SHOTS = REPOSITORY / ".artifacts" / "site"
AXE = REPOSITORY / "node_modules" / "axe-core" / "axe.min.js"
WIDTHS = (360, 1024, 1920)
HEIGHT = 900
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
CHECKED = {(360, "dark"), (1024, "light")}
TITLE = "Any% practice, then games with chat"
NAMES = ("ada", "isolde", "cleo", "benedikt", "ottoline", "pixelpaul", "cozy_kim", "wren")

RUN_AXE = """axe.run(document, {iframes: false, resultTypes: ["violations"]}).then(({violations}) =>
    violations.flatMap(({id, nodes}) => nodes.map(node => `${id}: ${node.html} ${node.failureSummary}`)))"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def _place(login: str, favourite: bool) -> dict[str, Any]:
    return {
        "login": login,
        "displayName": login.capitalize(),
        "avatarUrl": f"/avatars/{login}.svg",
        "favourite": favourite,
    }


PLACES = json.dumps([_place("marlowe", True), _place("ottoline", True), _place("wren", False)])
REMEMBER = f'; if (top === self) localStorage.setItem("fanfare.channels", {json.dumps(PLACES)})'


def lively(stand_in: StandIn) -> None:
    """A channel in the middle of a good evening."""
    stand_in.topics = [
        {"event_type": name, "status": "enabled", "reason": None} for name in (*OPEN, *CONSENTED)
    ]
    stand_in.earlier = [
        {"channel.follow": (day * 37) % 60, "channel.cheer": (day * 13) % 23} if day % 6 else {}
        for day in range(30)
    ]
    stand_in.record(
        [
            event("stream.online", 4000),
            event("channel.update", 3900, title=TITLE, category_name="Celeste"),
            event("channel.raid", 1500, viewer="pixelpaul", viewers=1240),
            *(event("channel.follow", 900 + 4 * n, viewer=name) for n, name in enumerate(NAMES)),
            event("channel.subscription.message", 700, viewer="wren", cumulative_months=14, streak_months=3),
            event("channel.cheer", 400, viewer="isolde", bits=500, message="for the lighthouse"),
            event("channel.hype_train.begin", 300, level=1),
            event("channel.subscription.gift", 250, viewer="cleo", total=5, cumulative_total=40),
            event("channel.poll.begin", 120, title="Next game?"),
            event("channel.raid", 20, viewer="cozy_kim", viewers=18),
            *(event("channel.follow", 2000 + 70 * n, viewer=f"early_{n}") for n in range(120)),
            event("stream.offline", 9000, login="ottoline"),
        ]
    )
    stand_in.leaders = [
        {"streamer_id": str(n), "streamer_name": name, "event_count": 1200 // (n + 1)}
        for n, name in enumerate(("marlowe", *NAMES))
    ]


State = Callable[["Visit"], None]


class Visit:
    """A viewer, who is brought into a state."""

    def __init__(self, open_page: OpenPage, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        self._open_page = open_page
        self.page: Page

    def open(self, path: str, *, signed_in: bool = False, storage: str = "") -> Page:
        viewport = {"width": WIDTHS[0], "height": HEIGHT}
        self.page = self._open_page(
            path,
            signed_in=signed_in,
            storage=AXE.read_text() + storage,
            viewport=viewport,
            reduced_motion="reduce",
        )
        return self.page

    def watch(self) -> Page:
        page = self.open("/watch/marlowe", signed_in=True)
        expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", "live")
        return page


def first_page(visit: Visit) -> None:
    visit.open("/")
    expect(visit.page.get_by_test_id("channel-submit")).to_be_visible()


def first_page_malformed(visit: Visit) -> None:
    page = visit.open("/")
    page.get_by_test_id("channel-input").fill("not a channel!")
    expect(page.locator("#channel-help.wrong")).to_be_visible()


def first_page_with_favourites(visit: Visit) -> None:
    lively(visit.stand_in)
    page = visit.open("/", signed_in=True, storage=REMEMBER)
    expect(page.get_by_test_id("place")).to_have_count(3)
    expect(page.locator("[data-login=marlowe]")).to_have_attribute("data-live", "true")
    expect(page.locator("[data-login=ottoline]")).to_contain_text("Ended")


def leaderboard(visit: Visit) -> None:
    lively(visit.stand_in)
    page = visit.open("/leaderboard")
    expect(page.get_by_test_id("leader")).to_have_count(9)


def leaderboard_empty(visit: Visit) -> None:
    page = visit.open("/leaderboard")
    expect(page.get_by_test_id("no-leaders")).to_be_visible()


def leaderboard_loading(visit: Visit) -> None:
    visit.stand_in.held.add("leaderboard")
    page = visit.open("/leaderboard")
    expect(page.locator(".blank").first).to_be_visible()


def leaderboard_failed(visit: Visit) -> None:
    visit.stand_in.failing["leaderboard"] = 503
    page = visit.open("/leaderboard")
    expect(page.get_by_test_id("error")).to_be_visible()


def watch_loading(visit: Visit) -> None:
    visit.stand_in.held |= {"watch", "events", "counts"}
    page = visit.open("/watch/marlowe", signed_in=True)
    expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", "connecting")


def watch_empty(visit: Visit) -> None:
    page = visit.watch()
    expect(page.get_by_test_id("no-events")).to_be_visible()


def watch_lively(visit: Visit) -> None:
    lively(visit.stand_in)
    page = visit.watch()
    expect(page.get_by_test_id("event")).to_have_count(10)
    expect(page.get_by_test_id("burst")).to_have_text("8 new followers")


def watch_numbers(visit: Visit) -> None:
    watch_lively(visit)
    page = visit.page
    if page.get_by_test_id("part-numbers").is_visible():
        page.get_by_test_id("part-numbers").click()
    expect(page.get_by_test_id("daily-chart").locator("canvas")).to_be_visible()
    page.get_by_test_id("daily-chart").scroll_into_view_if_needed()


def watch_chat(visit: Visit) -> None:
    watch_lively(visit)
    if visit.page.get_by_test_id("part-chat").is_visible():
        visit.page.get_by_test_id("part-chat").click()
    expect(visit.page.locator(".chat iframe")).to_be_visible()


def watch_paused(visit: Visit) -> None:
    watch_lively(visit)
    page = visit.page
    page.get_by_test_id("event").first.locator("button").focus()
    page.keyboard.press("Tab")
    visit.stand_in.happen(*(event("channel.raid", viewer=name, viewers=5) for name in NAMES[:3]))
    expect(page.get_by_test_id("show-new")).to_have_text("3 new")


def watch_filtered(visit: Visit) -> None:
    watch_lively(visit)
    visit.page.locator("[data-family=raids]").click()
    expect(visit.page.get_by_test_id("event")).to_have_count(2)


def watch_none_of_these(visit: Visit) -> None:
    watch_lively(visit)
    visit.page.locator("[data-family=rewards]").click()
    expect(visit.page.get_by_test_id("none-of-these")).to_be_visible()


def watch_details(visit: Visit) -> None:
    watch_lively(visit)
    visit.page.locator("[data-event-type='channel.cheer'] button").click()
    expect(visit.page.get_by_test_id("fields")).to_contain_text("for the lighthouse")


def watch_details_of_a_burst(visit: Visit) -> None:
    watch_lively(visit)
    visit.page.get_by_test_id("burst").click()
    expect(visit.page.get_by_test_id("drawer").locator(".one")).to_have_count(8)


def watch_history(visit: Visit) -> None:
    watch_lively(visit)
    visit.page.get_by_test_id("earlier").click()
    expect(visit.page.get_by_test_id("back-to-live")).to_be_visible()


def watch_history_failed(visit: Visit) -> None:
    watch_lively(visit)
    visit.stand_in.failing["events"] = 503
    visit.page.get_by_test_id("earlier").click()
    expect(visit.page.get_by_role("alert")).to_be_visible()


def watch_record_failed(visit: Visit) -> None:
    visit.stand_in.failing |= {"events": 503, "counts": 503}
    page = visit.watch()
    expect(page.get_by_test_id("notice")).to_contain_text("cannot be read")


def watch_reconnecting(visit: Visit) -> None:
    watch_lively(visit)
    visit.stand_in.sockets_refused = True
    visit.stand_in.break_off()
    expect(visit.page.get_by_test_id("connection-state")).to_have_attribute("data-state", "reconnecting")


def watch_offline(visit: Visit) -> None:
    watch_lively(visit)
    visit.page.context.set_offline(True)
    visit.stand_in.break_off()
    expect(visit.page.get_by_test_id("connection-state")).to_have_attribute("data-state", "offline")


def watch_asked_to_wait(visit: Visit) -> None:
    visit.stand_in.failing["watch"] = 429
    page = visit.open("/watch/marlowe", signed_in=True)
    expect(page.get_by_test_id("notice")).to_contain_text("asked to wait")


def watch_refused(visit: Visit) -> None:
    visit.stand_in.failing["watch"] = 403
    page = visit.open("/watch/marlowe", signed_in=True)
    expect(page.locator("[data-error=refused]")).to_be_visible()


def unknown_channel(visit: Visit) -> None:
    page = visit.open("/watch/nosuch_channel", signed_in=True)
    expect(page.locator("[data-error=unknown-channel]")).to_be_visible()


def signed_out(visit: Visit) -> None:
    page = visit.open("/watch/marlowe")
    expect(page.get_by_test_id("signed-out")).to_be_visible()


def sign_in_failed(visit: Visit) -> None:
    page = visit.open("/callback?error=access_denied&state=unknown")
    expect(page.get_by_test_id("error")).to_be_visible()


def not_found(visit: Visit) -> None:
    page = visit.open("/no/such/page")
    expect(page.get_by_test_id("error")).to_be_visible()


def could_not_start(visit: Visit) -> None:
    visit.stand_in.failing["config.json"] = 503
    page = visit.open("/")
    expect(page.get_by_test_id("error")).to_be_visible()


STATES: tuple[State, ...] = (
    first_page,
    first_page_malformed,
    first_page_with_favourites,
    leaderboard,
    leaderboard_empty,
    leaderboard_loading,
    leaderboard_failed,
    watch_loading,
    watch_empty,
    watch_lively,
    watch_numbers,
    watch_chat,
    watch_paused,
    watch_filtered,
    watch_none_of_these,
    watch_details,
    watch_details_of_a_burst,
    watch_history,
    watch_history_failed,
    watch_record_failed,
    watch_reconnecting,
    watch_offline,
    watch_asked_to_wait,
    watch_refused,
    unknown_channel,
    signed_out,
    sign_in_failed,
    not_found,
    could_not_start,
)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__.replace("_", "-"))
def test_a_state_fits_and_can_be_used_by_everybody(
    state: State, open_page: OpenPage, stand_in: StandIn
) -> None:
    visit = Visit(open_page, stand_in)
    state(visit)
    page = visit.page
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            if (overflow := page.evaluate(OVERFLOW)) > 0:
                found.append(f"{width} {theme}: {overflow} px wider than the window")
            # Each theme and each layout once: what the rules look at depends on little more.
            if (width, theme) in CHECKED:
                found += page.evaluate(RUN_AXE)
            name = f"{state.__name__.replace('_', '-')}.png"
            page.screenshot(path=SHOTS / f"{width}-{theme}" / name)
    assert found == []
