"""WebKitGTK's browser by WebDriver, with as much of Playwright's interface as the journey needs.

Playwright drives a WebKit of its own only, which no package registry has. This one is in Debian's packages
``webkit2gtk-driver`` and ``xvfb``. https://www.w3.org/TR/webdriver2/
"""

import base64
import contextlib
import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect as playwright_expect

from tests.e2e.clients import eventually, request

# The key of an element's reference: https://www.w3.org/TR/webdriver2/#elements
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
SEEN = "items => items[0]?.getClientRects().length > 0"
# An element may change, move or go between two commands: then the step is tried again.
PASSING = {
    "stale element reference",
    "element click intercepted",
    "element not interactable",
    "no such element",
}


class DriverError(Exception):
    """WebDriver's answer to a command that failed; ``code`` is its name of the error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Context:
    """A browser of its own, with its tabs."""

    def __init__(self, viewport: Mapping[str, int], display: str, color_scheme: str = "light") -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        theme = "Adwaita:dark" if color_scheme == "dark" else "Adwaita"
        environ = {**os.environ, "DISPLAY": display, "GDK_BACKEND": "x11", "GTK_THEME": theme}
        self._driver = subprocess.Popen(["WebKitWebDriver", f"--port={port}"], env=environ)
        self._url = f"http://127.0.0.1:{port}"
        eventually("the driver answers", self._answers)
        (binary,) = Path("/usr/lib").glob("*/webkit2gtk-4.1/MiniBrowser")
        options = {"binary": str(binary), "args": ["--automation"]}
        capabilities = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        self._url += f"/session/{self('POST', '/session', capabilities=capabilities)['sessionId']}"
        self._viewport = viewport
        self._pages: list[Page] = []

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(self._url[17:]))):
            return True
        return False

    def __call__(self, method: str, path: str, **content: Any) -> Any:
        """One command; returns its value."""
        body = {"json": content} if method == "POST" else {}
        value = request(method, self._url + path, **body).json()["value"]
        if isinstance(value, dict) and "error" in value:
            raise DriverError(value["error"], value["message"])
        return value

    def new_page(self) -> "Page":
        """A new tab; the first is the browser's own."""
        handle = self("POST", "/window/new", type="tab")["handle"] if self._pages else self("GET", "/window")
        page = Page(self, handle)
        self._pages.append(page)
        page.set_viewport_size(self._viewport)
        return page

    def set_offline(self, offline: bool) -> None:
        """WebDriver has no such command."""
        pytest.skip(f"WebKit's driver cannot set offline to {offline}")

    def set_default_timeout(self, milliseconds: float) -> None:
        """Nothing: all waits have the same limit."""

    def close(self) -> None:
        """End the browser and its driver."""
        with contextlib.suppress(Exception):
            self("DELETE", "")
        self._driver.terminate()
        self._driver.wait()


class Page:
    """A tab."""

    def __init__(self, context: Context, handle: str) -> None:
        self.context = context
        self._handle = handle

    def __call__(self, method: str, path: str, **content: Any) -> Any:
        self.context("POST", "/window", handle=self._handle)
        return self.context(method, path, **content)

    def on(self, event: str, handler: Callable[[Any], None]) -> None:
        """WebDriver tells no events: the fixture's checks are left out, tests of others skipped."""
        if event not in ("pageerror", "console"):
            pytest.skip(f"WebKit's driver does not tell {event} events to {handler}")

    def set_viewport_size(self, size: Mapping[str, int]) -> None:
        self("POST", "/window/rect", **size)
        inner = self.evaluate("[innerWidth, innerHeight]")
        grown = {"width": 2 * size["width"] - inner[0], "height": 2 * size["height"] - inner[1]}
        self("POST", "/window/rect", **grown)

    def goto(self, url: str) -> None:
        self("POST", "/url", url=url)

    def reload(self) -> None:
        self("POST", "/refresh")

    @property
    def url(self) -> str:
        return str(self("GET", "/url"))

    def title(self) -> str:
        return str(self("GET", "/title"))

    def wait_for_url(self, wanted: str | re.Pattern[str]) -> None:
        pattern = wanted if isinstance(wanted, re.Pattern) else re.compile(re.escape(wanted) + "$")
        eventually(f"{wanted}", lambda: pattern.match(self.url))

    def evaluate(self, expression: str, *arguments: Any) -> Any:
        script = f"const it = ({expression}); return typeof it === 'function' ? it(...arguments) : it"
        return self("POST", "/execute/sync", script=script, args=list(arguments))

    def screenshot(self, path: Path, *, full_page: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self("GET", "/screenshot")))

    def get_by_test_id(self, name: str) -> "Locator":
        return self.locator(f"[data-testid={name}]")

    def locator(self, selector: str) -> "Locator":
        return Locator(self, selector)


class Locator:
    """The elements that a selector finds, each time anew; only the first of them, or all."""

    def __init__(self, page: Page, selector: str, *, only_first: bool = False) -> None:
        self._page, self._selector, self._only_first = page, selector, only_first

    @property
    def first(self) -> "Locator":
        return Locator(self._page, self._selector, only_first=True)

    def locator(self, selector: str) -> "Locator":
        return Locator(self._page, f"{self._selector} {selector}")

    def evaluate_all(self, function: str) -> Any:
        shown = f"[...document.querySelectorAll({json.dumps(self._selector)})]"
        return self._page.evaluate(f"({function})({shown}{'.slice(0, 1)' if self._only_first else ''})")

    def evaluate(self, function: str) -> Any:
        return self.evaluate_all(f"items => ({function})(items[0])")

    def count(self) -> int:
        return int(self.evaluate_all("items => items.length"))

    def wait_for(self, state: str = "visible") -> None:
        assert state in ("visible", "detached")
        expect(self).to_be_visible() if state == "visible" else expect(self).to_have_count(0)

    def click(self) -> None:
        self._once_possible(lambda path: self._page("POST", f"{path}/click"))

    def fill(self, text: str) -> None:
        def type_in(path: str) -> None:
            self._page("POST", f"{path}/clear")
            self._page("POST", f"{path}/value", text=text)

        self._once_possible(type_in)

    def input_value(self) -> str:
        return str(self.evaluate("it => it.value"))

    def _once_possible(self, step: Callable[[str], Any]) -> None:
        def attempt() -> bool:
            try:
                if not self.evaluate_all(SEEN):
                    return False
                element = self._page("POST", "/element", using="css selector", value=self._selector)
                step(f"/element/{element[ELEMENT]}")
            except DriverError as error:
                if error.code not in PASSING:
                    raise
                return False
            return True

        eventually(f"{self._selector} can be used", attempt)


class Expectation:
    """Waits until something is true of a locator."""

    def __init__(self, locator: Locator) -> None:
        self._locator = locator

    def _until(self, what: str, of_all: str) -> None:
        eventually(what, lambda: self._locator.evaluate_all(of_all))

    def to_be_visible(self) -> None:
        self._until("visible", SEEN)

    def to_have_count(self, number: int) -> None:
        self._until(f"{number} elements", f"items => items.length === {number}")

    def to_contain_text(self, text: str) -> None:
        self._until(text, f"items => items[0]?.textContent.replace(/\\s+/g, ' ').includes({text!r})")

    def to_have_attribute(self, name: str, value: str) -> None:
        self._until(f"{name} is {value}", f"items => items[0]?.getAttribute({name!r}) === {value!r}")


def expect(actual: Any) -> Any:
    """Playwright's ``expect``, which also takes a locator of WebKit's."""
    return Expectation(actual) if isinstance(actual, Locator) else playwright_expect(actual)


class Browser:
    """What Playwright calls a browser: it makes contexts, here on a screen that nobody sees."""

    def __init__(self, display: str) -> None:
        self._display = display

    def new_context(self, **options: Any) -> Context:
        return Context(display=self._display, **options)


@contextlib.contextmanager
def launch() -> Iterator[Browser]:
    """WebKitGTK on a virtual screen."""
    screen = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "2400x1600x24", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert screen.stdout
    try:
        yield Browser(f":{screen.stdout.readline().strip()}")
    finally:
        screen.terminate()
        screen.communicate()
