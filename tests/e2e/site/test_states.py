"""Every state of the site, at three widths and in both themes: it fits, and anybody can use it.

Screenshots: ``.artifacts/site/<width>-<theme>/<state>.png``.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.access import AXE, problems, views
from tests.e2e.conftest import REPOSITORY
from tests.e2e.site.conftest import OpenPage
from tests.e2e.site.stand_in import CONSENTED, EVENT_TYPES, OPEN, StandIn, event

SHOTS = REPOSITORY / ".artifacts" / "site"
WIDTH, HEIGHT = 360, 900
TITLE = "Any% practice, then games with chat"
NAMES = ("ada", "isolde", "cleo", "benedikt", "ottoline", "pixelpaul", "cozy_kim", "wren")


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
        viewport = {"width": WIDTH, "height": HEIGHT}
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

    def overlay(self, query: str = "duration=30") -> Page:
        """Open the overlay as OBS does: alerts stay for long enough to be looked at at every width."""
        page = self.open(f"/overlay/marlowe?{query}#key=id.secret")
        expect(page.get_by_test_id("overlay")).to_have_attribute("data-status", "live")
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
    expect(page.get_by_test_id("saved-channel")).to_have_count(3)
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


def long_texts(stand_in: StandIn) -> None:
    """An event of each type, in which every text is as long as none of Twitch's."""

    def lengthened(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: lengthened(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [lengthened(inner) for inner in value]
        kept = name.endswith(("_at", "id", "type", "status", "tier", "currency"))
        return value if kept or not isinstance(value, str) else ("W" * 5_000 + " so well" * 625)

    for number, event_type in enumerate(EVENT_TYPES):
        one = event(event_type, 10 + 70 * number)
        stand_in.record([{**one, "payload": lengthened(one["payload"])}])


def watch_long_texts(visit: Visit) -> None:
    long_texts(visit.stand_in)
    page = visit.watch()
    page.get_by_test_id("earlier").click()
    expect(page.get_by_test_id("event")).to_have_count(len(EVENT_TYPES))


def watch_long_details(visit: Visit) -> None:
    long_texts(visit.stand_in)
    page = visit.watch()
    page.get_by_test_id("event").nth(2).locator("button").click()
    expect(page.get_by_test_id("fields")).to_be_visible()


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
    expect(page.get_by_test_id("notice")).to_contain_text("Fanfare tries again in")


def watch_refused(visit: Visit) -> None:
    visit.stand_in.failing["watch"] = 403
    page = visit.open("/watch/marlowe", signed_in=True)
    expect(page.locator("[data-error=refused]")).to_be_visible()


def overlay_waiting(visit: Visit) -> None:
    lively(visit.stand_in)
    page = visit.overlay()
    expect(page.get_by_test_id("alert")).to_have_count(0)


def overlay_alert(visit: Visit) -> None:
    page = visit.overlay()
    visit.stand_in.happen(event("channel.raid", viewer="cozy_kim", viewers=120))
    expect(page.get_by_test_id("alert")).to_contain_text("120 viewers")


def overlay_burst(visit: Visit) -> None:
    page = visit.overlay("position=bottom-right&size=large&duration=30")
    visit.stand_in.happen(*(event("channel.follow", viewer=name) for name in NAMES))
    expect(page.get_by_test_id("alert")).to_contain_text("8 new followers")


def overlay_long_message(visit: Visit) -> None:
    page = visit.overlay("position=bottom-left&size=small&duration=30")
    visit.stand_in.happen(
        event("channel.cheer", viewer="isolde", bits=500, message="W" * 200 + " so well" * 40)
    )
    expect(page.get_by_test_id("alert")).to_be_visible()


def overlay_options_that_cannot_be_read(visit: Visit) -> None:
    page = visit.overlay("types=nonsense&position=nowhere&size=huge&duration=never")
    visit.stand_in.happen(event("channel.update", title=TITLE), event("channel.raid", viewers=5))
    expect(page.get_by_test_id("alert")).to_have_attribute("data-event-type", "channel.raid")


def overlay_reconnecting(visit: Visit) -> None:
    page = visit.overlay()
    visit.stand_in.sockets_refused = True
    visit.stand_in.break_off()
    expect(page.get_by_test_id("overlay")).to_have_attribute("data-status", "reconnecting")


def overlay_key_ended(visit: Visit) -> None:
    visit.stand_in.failing["watch"] = 401
    page = visit.open("/overlay/marlowe#key=id.secret")
    expect(page.get_by_test_id("problem")).to_be_visible()


def overlay_without_a_key(visit: Visit) -> None:
    page = visit.open("/overlay/marlowe")
    expect(page.get_by_test_id("problem")).to_be_visible()


def overlay_of_no_channel(visit: Visit) -> None:
    page = visit.open("/overlay/not%20a%20channel#key=id.secret")
    expect(page.get_by_test_id("problem")).to_be_visible()


def overlay_setup(visit: Visit) -> None:
    page = visit.open("/watch/marlowe/overlay", signed_in=True)
    expect(page.get_by_test_id("make-key")).to_be_visible()


def overlay_setup_signed_out(visit: Visit) -> None:
    page = visit.open("/watch/marlowe/overlay")
    expect(page.get_by_test_id("sign-in")).to_be_visible()


def overlay_setup_of_no_channel(visit: Visit) -> None:
    page = visit.open("/watch/not%20a%20channel/overlay")
    expect(page.locator("[data-error=unknown-channel]")).to_be_visible()


def overlay_setup_test_alert(visit: Visit) -> None:
    overlay_setup(visit)
    page = visit.page
    page.get_by_test_id("seconds").fill("30")
    page.get_by_test_id("position").select_option("bottom-right")
    page.get_by_test_id("test-subs").click()
    expect(page.get_by_test_id("alert")).to_contain_text("14 months")
    page.get_by_test_id("preview").scroll_into_view_if_needed()


def overlay_setup_test_burst(visit: Visit) -> None:
    overlay_setup(visit)
    page = visit.page
    page.get_by_test_id("seconds").fill("30")
    page.get_by_test_id("size").select_option("large")
    page.get_by_test_id("test-burst").click()
    expect(page.get_by_test_id("alert")).to_contain_text("12 new followers")
    page.evaluate("scrollTo(0, 0)")


def overlay_setup_address(visit: Visit) -> None:
    overlay_setup(visit)
    visit.page.get_by_test_id("make-key").click()
    expect(visit.page.get_by_test_id("address")).to_be_visible()


def overlay_setup_address_ended(visit: Visit) -> None:
    overlay_setup_address(visit)
    visit.page.get_by_test_id("revoke-key").click()
    expect(visit.page.get_by_test_id("revoked")).to_be_visible()


def overlay_setup_failed(visit: Visit) -> None:
    overlay_setup(visit)
    visit.stand_in.failing["key"] = 503
    visit.page.get_by_test_id("make-key").click()
    expect(visit.page.get_by_role("alert")).to_be_visible()


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
    watch_long_texts,
    watch_long_details,
    watch_history,
    watch_history_failed,
    watch_record_failed,
    watch_reconnecting,
    watch_offline,
    watch_asked_to_wait,
    watch_refused,
    overlay_waiting,
    overlay_alert,
    overlay_burst,
    overlay_long_message,
    overlay_options_that_cannot_be_read,
    overlay_reconnecting,
    overlay_key_ended,
    overlay_without_a_key,
    overlay_of_no_channel,
    overlay_setup,
    overlay_setup_signed_out,
    overlay_setup_of_no_channel,
    overlay_setup_test_alert,
    overlay_setup_test_burst,
    overlay_setup_address,
    overlay_setup_address_ended,
    overlay_setup_failed,
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
    for view in views(page, HEIGHT):
        found += problems(page, view)
        page.screenshot(path=SHOTS / view / f"{state.__name__.replace('_', '-')}.png")
    assert found == []
