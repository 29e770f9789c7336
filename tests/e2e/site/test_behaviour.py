"""What the page does under hostile text, hands on a keyboard, and a flood of events."""

import json
import re
import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.access import OVERFLOW
from tests.e2e.site.conftest import OpenPage
from tests.e2e.site.stand_in import EVENT_TYPES, StandIn, event
from tests.e2e.site.test_states import SHOTS

#: How long the flood is measured.
MEASURED_SECONDS = 60
TEN_MINUTES = 600
PER_SECOND = 50

OBSERVE = """window.longTasks = [];
new PerformanceObserver(list => longTasks.push(...list.getEntries().map(entry => Math.round(entry.duration))))
    .observe({type: "longtask"})"""

HOSTILE = {
    "markup": "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>",
    "right-to-left": "\u202e\u2066evil\u202e txt.exe \u05d0\u05d1\u05d2",
    "long word": "W" * 500,
    "zero width": "z\u200b\u200d\ufeff" * 100 + "e\u0301" + "\u0336" * 60,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈" * 60,
    "lines": "\n\r\t\u2028 a \u2029 b" * 40,
}


def test_hostile_text_is_shown_harmlessly_and_breaks_no_layout(watching: OpenPage, stand_in: StandIn) -> None:
    page = watching()
    for name, text in HOSTILE.items():
        title = event("channel.update", title=text, category_name=text, broadcaster_user_name=text)
        poll = event("channel.poll.begin", title=text)  # of a type that is never shown as a burst
        stand_in.happen(title, poll)
        expect(page.locator(f"[data-event-id='{poll['id']}']")).to_be_visible()
        for width in (360, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate(OVERFLOW) <= 0, (name, width)
            overlaps = "item => item.scrollWidth > item.clientWidth + 1"
            assert not page.locator("[data-testid=event]").first.evaluate(overlaps), (name, width)
        page.locator(f"[data-event-id='{poll['id']}'] button").click()
        expect(page.get_by_test_id("fields")).to_be_visible()
        assert page.get_by_test_id("drawer").evaluate("d => d.scrollWidth <= d.clientWidth + 1"), name
        page.screenshot(path=SHOTS / f"hostile-{name.replace(' ', '-')}.png")
        page.get_by_test_id("drawer-close").click()
        page.mouse.move(5, 5)  # off the feed, which stands still under it
    assert page.title() != "owned"
    assert page.locator("img[src=x], [data-testid=event] script").count() == 0
    # Each run of foreign text is isolated from ours, whatever direction it claims.
    assert page.locator("[data-testid=event] bdi").first.evaluate("b => getComputedStyle(b).unicodeBidi") in (
        "isolate",
        "plaintext",
    )


#: What may stand in place of every field of an event.
ODD: dict[str, Any] = {
    "null": None,
    "empty": "",
    "number": 7,
    "list": [None, "x"],
    "object": {"a": {}},
    "long-word": "W" * 10_000,
    "long-text": "so well " * 1_250,
    "long-emoji": "👩‍👩‍👧‍👦" * 910,
    "long-lines": "a\n" * 5_000,
}


@pytest.mark.parametrize("odd", [*ODD, "absent"])
def test_events_with_odd_fields_break_no_layout(watching: OpenPage, stand_in: StandIn, odd: str) -> None:
    for number, event_type in enumerate(EVENT_TYPES):
        one = event(event_type, 10 + 70 * number)  # too far apart for a burst
        stand_in.record([one | {"payload": dict.fromkeys(one["payload"], ODD[odd]) if odd in ODD else {}}])
    page = watching()
    page.get_by_test_id("earlier").click()
    rows = page.get_by_test_id("event")
    expect(rows).to_have_count(len(EVENT_TYPES))
    wide = "rows => rows.filter(row => row.scrollWidth > row.clientWidth + 1).map(row => row.innerText)"
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate(OVERFLOW) <= 0, width
        assert rows.evaluate_all(wide) == []
        page.locator(".scroll").screenshot(path=SHOTS / f"odd-{odd}-{width}.png")
        for sentence in page.get_by_test_id("event-sentence").all_inner_texts():
            assert re.fullmatch(r"\S.* .*\S", sentence, re.DOTALL), sentence
        rows.first.get_by_role("button").click()
        expect(page.get_by_test_id("drawer")).to_be_visible()
        assert page.get_by_test_id("drawer").evaluate("d => d.scrollWidth <= d.clientWidth + 1")
        page.get_by_test_id("drawer-close").click()


def test_the_keyboard_reaches_everything_and_comes_back(watching: OpenPage, stand_in: StandIn) -> None:
    stand_in.record([event("channel.raid", 60, viewer="wren", viewers=9), event("channel.cheer", 50)])
    page = watching()
    expect(page.get_by_test_id("event")).to_have_count(2)
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.dataset.testid ?? document.activeElement.className")
        )
        if page.evaluate("document.activeElement.matches('[data-testid=event] button')"):
            break
    assert {"skip", "theme", "sign-out", "favourite", "filter-all", "filter"} <= reached
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("drawer")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("drawer")).not_to_be_visible()
    assert page.evaluate("document.activeElement.matches('[data-testid=event] button')")


def test_the_numbers_move_at_once_and_agree_with_the_record(watching: OpenPage, stand_in: StandIn) -> None:
    stand_in.record([event("channel.raid", 60)])
    page = watching()
    expect(page.get_by_test_id("total")).to_have_text("1")
    stand_in.held = {"counts"}  # the record does not answer: what moves now has arrived live
    stand_in.happen(event("channel.raid"), event("channel.cheer"))
    expect(page.get_by_test_id("total")).to_have_text("3")
    expect(page.locator("[data-testid=count][data-event-type='channel.raid'] .n")).to_have_text("2")
    stand_in.held = set()
    page.reload()
    expect(page.get_by_test_id("total")).to_have_text("3")


@pytest.mark.parametrize("hours", [2, -2])
def test_the_page_keeps_the_servers_time_where_the_devices_clock_is_off(
    watching: OpenPage, stand_in: StandIn, hours: int
) -> None:
    stand_in.record([event("channel.raid", 60 * minutes) for minutes in (1, 10, 20, 50)])
    ahead = f"const now = Date.now; Date.now = () => now() + {hours} * 3600000"
    page = watching(storage=ahead)
    expect(page.get_by_test_id("last-hour")).to_have_text("4")
    expect(page.get_by_test_id("event").first).to_contain_text("1 min ago")
    stand_in.happen(event("channel.cheer"))
    expect(page.get_by_test_id("event").first).to_contain_text("just now")
    expect(page.get_by_test_id("last-hour")).to_have_text("5")


def test_on_a_channels_first_day_the_chart_has_what_the_total_has(
    watching: OpenPage, stand_in: StandIn
) -> None:
    page = watching()
    expect(page.get_by_test_id("daily-chart")).to_contain_text("Nothing in these days")
    stand_in.held = {"counts", "daily", "minutely"}  # what moves now has arrived live
    stand_in.happen(*(event("channel.cheer") for _ in range(16)))
    expect(page.get_by_test_id("total")).to_have_text("16")
    expect(page.get_by_test_id("daily-chart")).to_contain_text("16 events, most on")


def test_another_key_in_an_overlays_address_connects_with_that_key(
    open_page: OpenPage, stand_in: StandIn
) -> None:
    page = open_page("/overlay/marlowe#key=old.secret", signed_in=False)
    expect(page.get_by_test_id("overlay")).to_have_attribute("data-status", "live")
    for key in ("new.secret", "another.secret"):
        with page.expect_request("**/api/overlays/marlowe/watch") as request:
            page.goto(f"{stand_in.url}/overlay/marlowe#key={key}")  # the same document
        assert request.value.headers["authorization"] == f"Bearer {key}"
        expect(page.get_by_test_id("overlay")).to_have_attribute("data-status", "live")
    stand_in.happen(event("channel.raid", viewers=42))
    expect(page.get_by_test_id("alert")).to_have_count(1)


def test_after_a_long_sleep_the_overlay_announces_only_what_has_just_happened(
    open_page: OpenPage, stand_in: StandIn
) -> None:
    page = open_page("/overlay/marlowe?duration=30#key=viewer.secret", signed_in=False)
    expect(page.get_by_test_id("overlay")).to_have_attribute("data-status", "live")
    stand_in.break_off()
    stand_in.record([event("channel.raid", 8 * 3600 + n, viewers=n) for n in range(12)])
    stand_in.record([event("channel.cheer", 5, bits=77)])
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.get_by_test_id("alert")).to_contain_text("77 bits")
    expect(page.get_by_test_id("alert")).to_have_attribute("data-count", "1")


def heap(page: Page) -> float:
    """The page's memory in MB, without what may be collected."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used: float = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return used / 1e6


@pytest.mark.measured
def test_a_flood_of_events_neither_fills_the_memory_nor_stops_the_page(
    watching: OpenPage, stand_in: StandIn
) -> None:
    page = watching(storage=OBSERVE)
    # As many events as come in ten minutes, as fast as they can be sent.
    stand_in.flood(2, 500).result(60)
    before = heap(page)
    stand_in.flood(20, TEN_MINUTES * PER_SECOND // 20).result(120)
    after = heap(page)

    seconds = MEASURED_SECONDS
    page.evaluate("longTasks.length = 0")
    session = page.context.new_cdp_session(page)
    # In time of the page's own thread, so that a busy machine does not count.
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy() -> float:
        metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
        return float(metrics["TaskDuration"])

    busy_before, started = busy(), time.monotonic()
    stand_in.flood(seconds, PER_SECOND).result(seconds + 60)
    share = (busy() - busy_before) / (time.monotonic() - started)
    long_tasks = page.evaluate("longTasks")
    figures = {
        "events_per_second": PER_SECOND,
        "seconds": seconds,
        "main_thread_busy": round(share, 3),
        "longest_task_ms": max(long_tasks, default=0),
        "long_tasks": len(long_tasks),
        "heap_mb_after_1000_events": round(before, 1),
        "heap_mb_after_31000_events": round(after, 1),
    }
    (SHOTS / "flood.json").write_text(json.dumps(figures, indent=2) + "\n")
    assert after < before * 1.2 + 1, figures
    assert share < 0.5, figures
    assert figures["longest_task_ms"] <= 100, figures
    # And it is still there for its viewer.
    page.locator("[data-family=raids]").click()
    expect(page.locator("[data-testid=event]").first).to_have_attribute("data-event-type", "channel.raid")
