"""The site in a real browser: what was stored is text, and a page that was away has everything again."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from local.twitch.example_events import Scene
from local.twitch.subscription_types import SUBSCRIPTION_TYPES
from local.twitch.users import Users
from tests.chaos.laboratory import Laboratory
from tests.chaos.ledger import Channel, Delivery, notify
from tests.e2e.clients import eventually, request
from tests.e2e.conftest import chromium, new_context
from tests.e2e.test_journey import watch

#: As text it is seen; as markup it makes elements of the class, and would run a script.
MARKUP = (
    '<img class=owned src=x onerror="owned=1">"\'></title></textarea><script class=owned>owned=1</script>'
    '<svg class=owned onload="owned=1"></svg><a class=owned href="javascript:owned=1">x</a>{{owned=1}}'
)
OWNED = (
    "'owned' in window || document.querySelector('.owned, [href^=javascript], [src^=javascript]') !== null"
)


@contextlib.contextmanager
def _browser(laboratory: Laboratory) -> Iterator[BrowserContext]:
    """Somebody's browser. Dialogs, errors and what a page's policy refuses are problems of the row."""
    path, arguments = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        with new_context(browser) as context:
            context.on("dialog", lambda dialog: laboratory.problems.append(f"a dialog: {dialog.message}"))
            context.on("weberror", lambda error: laboratory.problems.append(f"an error: {error.error}"))
            context.on(
                "console",
                lambda message: (
                    laboratory.problems.append(message.text)
                    if "Content Security Policy" in message.text
                    else None
                ),
            )
            yield context
        browser.close()


def stored_markup(laboratory: Laboratory) -> None:
    """Markup in every text of every type of event is shown as text: live, recorded, and as an alert."""
    with _browser(laboratory) as context:
        page, overlay = context.new_page(), context.new_page()
        channel = _watch(page, laboratory, "marked_up")
        path = f"api/overlays/{channel.login}/key"
        key = request("POST", urljoin(laboratory.cloud.site, path), headers=laboratory.viewer.headers).json()[
            "key"
        ]
        overlay.goto(urljoin(laboratory.cloud.site, f"overlay/{channel.login}?duration=1#key={key}"))
        expect(overlay.get_by_test_id("overlay")).to_have_attribute("data-status", "live")
        marked = _marked(channel.login)
        for event_type, events in marked.items():
            sent = [notify(channel, laboratory.traffic.secret, event_type, event) for event in events]
            for delivery in sent:
                _send(laboratory, delivery)
            row = page.locator(f"[data-event-id='{sent[-1].id}']")
            expect(row).to_be_visible()
            _look(laboratory, page, f"{event_type}, live")
            if event_type == "channel.raid":
                expect(overlay.get_by_test_id("alert")).to_contain_text("<img class=owned")
            _look(laboratory, overlay, f"{event_type}, as an alert")
            row.locator("button").click()
            expect(page.get_by_test_id("drawer")).to_be_visible()
            if (burst := page.locator("[data-testid=drawer] .several button")).count():
                burst.first.click()
            expect(page.get_by_test_id("fields")).to_contain_text("<img class=owned")
            _look(laboratory, page, f"{event_type}, in detail")
            page.get_by_test_id("drawer-close").click()
            page.mouse.move(5, 5)  # off the feed, which stands still under it
        number = sum(map(len, marked.values()))
        laboratory.tries += number
        eventually("all are recorded", lambda: laboratory.recorded_of(channel) == number)
        page.reload()
        end = page.get_by_test_id("history-end")
        while end.count() == 0:
            page.get_by_test_id("earlier").click()
            expect(page.get_by_test_id("earlier").or_(end)).to_be_enabled()
        _look(laboratory, page, "from the record")
        page.goto(urljoin(laboratory.cloud.site, "leaderboard"))
        expect(page.get_by_text(channel.login).first).to_be_visible()
        _look(laboratory, page, "the leaderboard")
        laboratory.notes.append(f"{number} events of {len(marked)} types")


def _look(laboratory: Laboratory, page: Page, where: str) -> None:
    if page.evaluate(OWNED):
        laboratory.problems.append(f"markup is an element: {where}")


def _watch(page: Page, laboratory: Laboratory, login: str) -> Channel:
    watch(page, laboratory.cloud, login, "a_page")
    channel = laboratory.viewer.until_watched(login)["channel"]
    return Channel(channel["id"], channel["login"])


def _send(laboratory: Laboratory, delivery: Delivery) -> None:
    answer = request("POST", laboratory.cloud.webhook, body=delivery.body, headers=delivery.headers)
    assert answer.status == 204, (answer.status, answer.data)


def _marked(login: str) -> dict[str, list[dict[str, Any]]]:
    """By type, its example with markup in one text after the other, and at last in all of them."""
    users, number = Users(), itertools.count()
    channel, viewer = users.by_login(login), users.by_login("wren")
    assert channel
    assert viewer
    marked: dict[str, list[dict[str, Any]]] = {}
    for kind in SUBSCRIPTION_TYPES:
        example = kind.make_event(Scene(channel, viewer, datetime.now(UTC)))
        paths = list(_texts(example))
        all_but_the_channel = [path for path in paths if path != ("broadcaster_user_login",)]
        for chosen in (*([path] for path in paths), all_but_the_channel):
            # The page shows events about the same thing as one, and no update that changes nothing.
            own = {"id": str(next(number))} if "id" in example else {}
            marked.setdefault(kind.name, []).append(_with_markup(example | own, chosen, next(number)))
    return marked


def _texts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all texts in a JSON value."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*path, index))


def _with_markup(value: Any, paths: list[tuple[Any, ...]], number: int) -> Any:
    """The value with markup at the paths, which ends with the number."""
    if () in paths:
        return f"{MARKUP}{number}"

    def inside(key: Any, inner: Any) -> Any:
        return _with_markup(inner, [path[1:] for path in paths if path and path[0] == key], number)

    if isinstance(value, list):
        return [inside(index, inner) for index, inner in enumerate(value)]
    return {key: inside(key, inner) for key, inner in value.items()} if isinstance(value, dict) else value


def a_page_that_was_away(laboratory: Laboratory) -> None:
    """A page without a network gets by itself what happened meanwhile, once."""
    with _browser(laboratory) as context:
        page = context.new_page()
        channel = _watch(page, laboratory, "gone_for_a_while")
        context.set_offline(True)
        laboratory.cloud.close_connections(channel.login)
        expect(page.get_by_test_id("connection-state")).not_to_have_attribute("data-state", "live")
        # Of a type that is never shown as a burst.
        event_type, event = "channel.poll.begin", {"broadcaster_user_login": channel.login}
        sent = [notify(channel, laboratory.traffic.secret, event_type, event) for _ in range(5)]
        for delivery in sent:
            _send(laboratory, delivery)
        laboratory.tries += len(sent)
        eventually("all are recorded", lambda: laboratory.recorded_of(channel) == len(sent))
        back = time.monotonic()
        context.set_offline(False)
        rows = page.get_by_test_id("event")
        expect(rows).to_have_count(len(sent))
        laboratory.notes.append(f"everything is shown {time.monotonic() - back:.1f} s after it is back")
        shown = rows.evaluate_all("rows => rows.map(row => row.dataset.eventId)")
        if sorted(shown) != sorted(delivery.id for delivery in sent):
            laboratory.problems.append(f"shown: {shown}")
