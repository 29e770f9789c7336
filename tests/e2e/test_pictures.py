"""The documentation's pictures, taken of the deployed local cloud (``make screenshots``)."""

import io
import time
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.e2e.clients import Cloud, Viewer, eventually
from tests.e2e.conftest import REPOSITORY, new_context
from tests.e2e.test_consent import SUBSCRIPTION_TYPES, give_consent, listed_types
from tests.e2e.test_journey import EVENTS, MOVING, watch

pytestmark = pytest.mark.measured

PICTURES = REPOSITORY / "docs" / "images"
CHANNEL = "night_owl_arcade"
OTHERS = {"harbour_lights": 21, "pixelpaul": 14, "marlowe": 9, "cozy_kim": 6, "ottoline": 3}
# A subscription type and fields of its event.
Event = tuple[str, dict[str, Any]]

FOLLOWERS = ("ada", "isolde", "cleo", "benedikt", "ottoline", "pixelpaul", "wren", "cozy_kim")
EVENTS_BEFORE: tuple[Event, ...] = (
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
#: The events in the film, each with its second.
FILMED: tuple[tuple[float, Event], ...] = (
    (0.8, ("channel.raid", {"from_broadcaster_user_login": "cozy_kim", "viewers": 86})),
    (2.2, ("channel.follow", {"user_login": "ada"})),
    (3.2, ("channel.follow", {"user_login": "marlowe"})),
    (4.2, ("channel.subscribe", {"user_login": "ada", "tier": "1000"})),
    (5.6, ("channel.channel_points_custom_reward_redemption.add", {"user_login": "benedikt"})),
    (7.0, ("channel.hype_train.progress", {"level": 2})),
)
FILM_SECONDS = 9.0
FILM_SIZE = (1120, 630)


@pytest.fixture(scope="module", autouse=True)
def channels_with_events(browser: Browser, cloud: Cloud, viewer: Viewer) -> None:
    """A channel with events of all types, and some other channels."""
    with new_context(browser) as context:
        page = context.new_page()
        give_consent(page, cloud, CHANNEL)
        eventually("all types are live", lambda: len(listed_types(page, "live")) == SUBSCRIPTION_TYPES)
        for event_type, event in EVENTS_BEFORE:
            cloud.simulate(event_type, CHANNEL, event=event)
    for login, count in OTHERS.items():
        viewer.until_watched(login)
        cloud.until_subscribed(login)
        cloud.simulate("channel.update", login, count=count)
        cloud.simulate("stream.online", login)


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> Literal["light", "dark"]:
    return "dark" if request.param == "dark" else "light"


@pytest.fixture
def page(browser: Browser, theme: Literal["light", "dark"]) -> Iterator[Page]:
    with new_context(browser, viewport={"width": 1440, "height": 810}, color_scheme=theme) as context:
        yield context.new_page()


def picture(page: Page, name: str) -> None:
    eventually("nothing moves any more", lambda: not page.evaluate(MOVING))
    page.screenshot(path=PICTURES / f"{name}.png")


def watch_channel(page: Page, cloud: Cloud) -> None:
    watch(page, cloud, CHANNEL, "vera_viewer")
    expect(page.locator(EVENTS)).to_have_count(9)
    expect(page.locator(EVENTS).first).to_contain_text("1,240 viewers")


def test_pages(page: Page, cloud: Cloud, theme: str) -> None:
    watch_channel(page, cloud)
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
    waiting = list(FILMED)
    frames: list[tuple[float, bytes]] = []
    with new_context(browser, viewport={"width": 1440, "height": 810}, color_scheme="dark") as context:
        page = context.new_page()
        watch_channel(page, cloud)
        started = time.monotonic()
        while (at := time.monotonic() - started) < FILM_SECONDS:
            if waiting and waiting[0][0] <= at:
                _, (event_type, event) = waiting.pop(0)
                cloud.simulate(event_type, CHANNEL, event=event)
            frames.append((time.monotonic() - started, page.screenshot()))
    ends = [at for at, _ in frames[1:]] + [FILM_SECONDS]
    first, *others = (Image.open(io.BytesIO(frame)).convert("RGB").resize(FILM_SIZE) for _, frame in frames)
    first.save(
        PICTURES / "live.webp",
        save_all=True,
        append_images=others,
        duration=[round((end - at) * 1000) for (at, _), end in zip(frames, ends, strict=True)],
        loop=0,
        quality=65,
    )
