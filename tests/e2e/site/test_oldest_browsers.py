"""The oldest browsers that the pages are for, and browsers that lack what came later."""

import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.e2e.clients import eventually
from tests.e2e.conftest import REPOSITORY
from tests.e2e.site.conftest import OpenPage
from tests.e2e.site.stand_in import StandIn, event
from tests.e2e.site.test_states import SHOTS, lively

PACKAGES = REPOSITORY / "tests" / "e2e" / "old_browsers" / "node_modules"
UNPACK = """
const { createReadStream, createWriteStream } = require("node:fs");
const { createBrotliDecompress } = require("node:zlib");
const [packed, unpacked] = process.argv.slice(1);
createReadStream(packed).pipe(createBrotliDecompress()).pipe(createWriteStream(unpacked, { mode: 0o755 }));
"""

#: What browsers got after the oldest that the pages are for, and has been used here, or may be.
LATER = """
for (const [owner, names] of [
    [Array.prototype, ["toReversed", "toSorted", "toSpliced", "with"]],
    [Set.prototype, ["union", "intersection", "difference", "isSubsetOf"]],
    [String.prototype, ["isWellFormed", "toWellFormed"]],
    [Promise, ["withResolvers", "try"]],
    [Object, ["groupBy"]],
    [Map, ["groupBy"]],
    [Array, ["fromAsync"]],
    [URL, ["canParse", "parse"]],
    [AbortSignal, ["any"]],
    [Element.prototype, ["checkVisibility"]],
    [Document.prototype, ["startViewTransition"]],
    [HTMLElement.prototype, ["showPopover"]],
    [window, ["requestIdleCallback", "Iterator", "scheduler", "navigation"]],
]) for (const name of names) delete owner[name];
"""


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browsers")


@pytest.fixture
def browser(
    browser: Browser, request: pytest.FixtureRequest, playwright: Playwright, unpacked: Path
) -> Iterator[Browser]:
    """Chromium of the version that the test names; the present one if it names none."""
    if getattr(request, "param", None) is None:
        yield browser
        return
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("npm has old browsers for Linux x64 only")
    program = unpacked / f"chromium-{request.param}"
    if not program.exists():
        packed = PACKAGES / program.name / "bin" / "chromium.br"
        subprocess.run(["node", "--eval", UNPACK, packed, program], check=True)
    arguments = ["--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-background-networking"]
    old = playwright.chromium.launch(executable_path=program, args=arguments)
    assert old.version.startswith(f"{request.param}.")
    yield old
    old.close()


def show_an_alert(open_page: OpenPage, stand_in: StandIn, **options: str) -> Page:
    """An overlay in OBS's canvas, with one alert."""
    size = {"width": 1920, "height": 1080}
    address = "/overlay/marlowe?duration=30#key=viewer.secret"
    page = open_page(address, signed_in=False, viewport=size, **options)
    status = "document.querySelector('[data-testid=overlay]')?.dataset.status"
    eventually("live", lambda: page.evaluate(status) == "live")
    stand_in.happen(event("channel.raid", viewer="ottoline", viewers=42))
    expect(page.get_by_test_id("alert")).to_contain_text("with 42 viewers")
    return page


LOOK = """() => {
    const alert = document.querySelector("[data-testid=alert]");
    const { left, right, top } = alert.getBoundingClientRect();
    const { backgroundColor, fontSize } = getComputedStyle(alert);
    const icon = getComputedStyle(alert.firstElementChild);
    const whole = pixels => Math.round(parseFloat(pixels));
    return [whole((left + right) / 2), whole(top), backgroundColor, fontSize, whole(icon.width), icon.color];
}"""


# The browser source of OBS 30. It lacks what Playwright needs to wait for something visible.
@pytest.mark.parametrize("browser", [103, None], indirect=True)
def test_an_alert_looks_the_same_in_the_oldest_obs_as_today(open_page: OpenPage, stand_in: StandIn) -> None:
    page = show_an_alert(open_page, stand_in)
    # Vue's class is there from the start, the animation only from the next frame on.
    arriving = "document.querySelectorAll('.alert-enter-active').length"
    eventually("it has arrived", lambda: page.evaluate(arriving) == 0)
    page.screenshot(path=SHOTS / f"overlay-{page.evaluate('navigator.userAgent').split('/')[-2][:3]}.png")
    assert page.evaluate(LOOK) == [
        960,
        58,
        "rgba(255, 253, 250, 0.94)",
        "28.704px",
        75,
        "rgb(169, 48, 25)",
    ]


@pytest.mark.parametrize("browser", [111], indirect=True)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_site_works_in_the_oldest_chromium(watching: OpenPage, stand_in: StandIn, theme: str) -> None:
    lively(stand_in)
    page = watching(color_scheme=theme)
    stand_in.happen(event("channel.raid", viewer="ottoline", viewers=42))
    expect(page.get_by_test_id("event").first).to_contain_text("with 42 viewers")
    page.get_by_test_id("daily-chart").scroll_into_view_if_needed()
    expect(page.get_by_test_id("daily-chart").locator("canvas")).to_be_visible()
    page.screenshot(path=SHOTS / f"watch-chromium-111-{theme}.png")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark == ("rgb(18, 17, 16)" if theme == "dark" else "rgb(248, 245, 239)")
    page.get_by_test_id("theme").click()  # light, whatever the system says
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(248, 245, 239)"
    page.goto(f"{stand_in.url}/leaderboard")
    expect(page.get_by_test_id("leader")).to_have_count(9)
    page.goto(f"{stand_in.url}/watch/marlowe/overlay")
    page.get_by_test_id("test-raids").click()
    expect(page.get_by_test_id("alert")).to_be_visible()


def test_an_overlay_needs_nothing_that_came_later(open_page: OpenPage, stand_in: StandIn) -> None:
    page = show_an_alert(open_page, stand_in, storage=LATER)
    assert page.evaluate("[typeof [].toReversed, typeof URL.canParse]") == ["undefined", "undefined"]


def test_the_site_needs_nothing_that_came_later(watching: OpenPage, stand_in: StandIn) -> None:
    lively(stand_in)
    page = watching(storage=LATER)
    stand_in.happen(event("channel.raid", viewer="ottoline", viewers=42))
    expect(page.get_by_test_id("event").first).to_contain_text("with 42 viewers")
    page.get_by_test_id("favourite").click()
    page.get_by_role("link", name="Fanfare", exact=True).click()
    expect(page.get_by_test_id("saved-channel")).to_have_count(1)
