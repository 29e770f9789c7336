"""Checks of a page's accessibility with axe, and that it is not wider than the window, at every width."""

from collections.abc import Iterator
from typing import Literal

from playwright.sync_api import Page

from tests.e2e.conftest import REPOSITORY

#: The script that a page needs for the check.
AXE = REPOSITORY / "node_modules" / "axe-core" / "axe.min.js"
WIDTHS = (360, 1024, 1920)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
RUN_AXE = """axe.run(document, {iframes: false, resultTypes: ["violations"]}).then(({violations}) =>
    violations.flatMap(({id, nodes}) => nodes.map(node => `${id}: ${node.html} ${node.failureSummary}`)))"""


def views(page: Page, height: int) -> Iterator[str]:
    """Show the page in each width and theme; yields the name of each, such as ``360-light``."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": height})
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            yield f"{width}-{theme}"


def problems(page: Page, view: str) -> list[str]:
    """The problems of the page in its present state."""
    overflow = page.evaluate(OVERFLOW)
    found = [f"{overflow} px wider than the window"] if overflow > 0 else []
    return [f"{view}: {problem}" for problem in [*found, *page.evaluate(RUN_AXE)]]
