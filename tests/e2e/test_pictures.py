"""The documentation's pictures, taken of the deployed local cloud (``make screenshots``)."""

import io
import time
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.e2e.clients import Cloud, Viewer, eventually
from tests.e2e.conftest import REPOSITORY
from tests.e2e.test_consent import EVERY_TOPIC, give_consent, topics
from tests.e2e.test_journey import EVENTS, MOVING, watch

pytestmark = pytest.mark.measured

PICTURES = REPOSITORY / "docs" / "images"
CHANNEL = "night_owl_arcade"
OTHERS = {"harbour_lights": 21, "pixelpaul": 14, "marlowe": 9, "cozy_kim": 6, "ottoline": 3}
Happening = tuple[str, dict[str, Any]]

FOLLOWERS = ("ada", "isolde", "cleo", "benedikt", "ottoline", "pixelpaul", "wren", "cozy_kim")
EVENING: tuple[Happening, ...] = (
    ("stream.online", {}),
    ("channel.update", {"title": "Any% practice, then games with chat", "category_name": "Celeste"}),
    *(("channel.follow", {"user_login": name}) for name in FOLLOWERS),
    ("channel.subscription.message", {"user_login": "wren", "cumulative_months": 14, "streak_months": 3}),
    ("channel.poll.begin", {"title": "Next game?"}),
    ("channel.cheer", {"user_login": "isolde", "bits": 500, "message": "for the lighthouse"}),
    ("channel.subscription.gift", {"user_login": "cleo", "total": 5, "cumulative_total": 40}),
    ("channel.hype_train.begin", {"level": 1}),
    ("channel.raid", {"from_broadcaster_user_login": "harbour_lights", "viewers": 1240}),
)
#: What happens while it is filmed, and when, in seconds.
SCENE: tuple[tuple[float, Happening], ...] = (
    (0.8, ("channel.raid", {"from_broadcaster_user_login": "cozy_kim", "viewers": 86})),
    (2.2, ("channel.follow", {"user_login": "ada"})),
    (3.2, ("channel.follow", {"user_login": "marlowe"})),
    (4.2, ("channel.subscribe", {"user_login": "ada", "tier": "1000"})),
    (5.6, ("channel.channel_points_custom_reward_redemption.add", {"user_login": "benedikt"})),
    (7.0, ("channel.hype_train.progress", {"level": 2})),
)
SCENE_SECONDS = 9.0
FILM = (1120, 630)


@pytest.fixture(scope="module", autouse=True)
def evening(browser: Browser, cloud: Cloud, viewer: Viewer) -> None:
    """A channel that lets Fanfare read everything, on a good evening, and some more."""
    context = browser.new_context()
    page = context.new_page()
    give_consent(page, cloud, CHANNEL)
    eventually("everything is live", lambda: len(topics(page, "live")) == EVERY_TOPIC, seconds=60)
    for event_type, event in EVENING:
        cloud.simulate(event_type, CHANNEL, event=event)
    context.close()
    for login, count in OTHERS.items():
        viewer.watch(login)
        cloud.until_subscribed(login)
        cloud.simulate("channel.update", login, count=count)
        cloud.simulate("stream.online", login)


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> Literal["light", "dark"]:
    return "dark" if request.param == "dark" else "light"


@pytest.fixture
def page(browser: Browser, theme: Literal["light", "dark"]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 810}, color_scheme=theme)
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


def picture(page: Page, name: str) -> None:
    eventually("nothing moves any more", lambda: not page.evaluate(MOVING))
    page.screenshot(path=PICTURES / f"{name}.png")


def watch_lively(page: Page, cloud: Cloud) -> None:
    watch(page, cloud, CHANNEL, "vera_viewer")
    expect(page.locator(EVENTS)).to_have_count(9)
    expect(page.locator(EVENTS).first).to_contain_text("1,240 viewers")


def test_pages(page: Page, cloud: Cloud, theme: str) -> None:
    watch_lively(page, cloud)
    expect(page.get_by_test_id("numbers")).to_have_attribute("data-state", "read")
    picture(page, f"watch-{theme}")
    for login in OTHERS:
        watch(page, cloud, login, "vera_viewer")
        page.get_by_test_id("favourite").click()
    page.goto(cloud.site)
    expect(page.locator("[data-testid=saved-channel][data-live=true]")).to_have_count(len(OTHERS) + 1)
    picture(page, f"first-page-{theme}")
    page.get_by_role("link", name="Leaderboard").click()
    expect(page.get_by_test_id("leader").first).to_be_visible()
    picture(page, f"leaderboard-{theme}")
    watch(page, cloud, CHANNEL, "vera_viewer")
    page.get_by_test_id("overlay-link").click()
    page.get_by_test_id("seconds").fill("30")
    page.get_by_test_id("size").select_option("large")
    page.get_by_test_id("test-subs").click()
    expect(page.get_by_test_id("alert")).to_be_visible()
    page.evaluate("scrollTo(0, 0)")
    picture(page, f"overlay-{theme}")


def test_events_arriving(browser: Browser, cloud: Cloud) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 810}, color_scheme="dark")
    page = context.new_page()
    watch_lively(page, cloud)
    waiting = list(SCENE)
    frames: list[tuple[float, bytes]] = []
    started = time.monotonic()
    while (at := time.monotonic() - started) < SCENE_SECONDS:
        if waiting and waiting[0][0] <= at:
            _, (event_type, event) = waiting.pop(0)
            cloud.simulate(event_type, CHANNEL, event=event)
        frames.append((time.monotonic() - started, page.screenshot()))
    context.close()
    ends = [at for at, _ in frames[1:]] + [SCENE_SECONDS]
    first, *others = (Image.open(io.BytesIO(frame)).convert("RGB").resize(FILM) for _, frame in frames)
    first.save(
        PICTURES / "live.webp",
        save_all=True,
        append_images=others,
        duration=[round((end - at) * 1000) for (at, _), end in zip(frames, ends, strict=True)],
        loop=0,
        quality=65,
    )
