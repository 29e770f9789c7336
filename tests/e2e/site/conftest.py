"""The built site with a stand-in behind it, and pages that are signed in to it."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from cdk import packaging
from tests.e2e.clients import LIMIT
from tests.e2e.site.stand_in import IDENTITY, StandIn

OpenPage = Callable[..., Page]

# What oidc-client-ts keeps of a sign-in, and what is kept without Cognito.
_USER = json.dumps(
    {
        "access_token": "token",
        "refresh_token": "refresh",
        "token_type": "Bearer",
        "profile": {
            "sub": "viewer",
            "iss": IDENTITY["authority"],
            "aud": "site",
            "exp": 4102444800,
            "iat": 0,
        },
        "expires_at": int(time.time()) + 86_400,
    }
)
_KEY = f"oidc.user:{IDENTITY['authority']}:{IDENTITY['client_id']}"
# Frames that could not be loaded have no storage.
SIGN_IN = f"""try {{
    sessionStorage.setItem({json.dumps(_KEY)}, {json.dumps(_USER)})
    localStorage.setItem("fanfare.signed-in", "")
}} catch {{ /* no page */ }}"""


@pytest.fixture(scope="session")
def server() -> Iterator[StandIn]:
    with StandIn(packaging.site().path) as server:
        yield server


@pytest.fixture
def stand_in(server: StandIn) -> StandIn:
    server.reset()
    return server


@pytest.fixture
def open_page(browser: Browser, stand_in: StandIn) -> Iterator[OpenPage]:
    """Opens a path of the site in a context of its own; what the page's policy forbids fails the test."""
    contexts = []
    problems: list[str] = []

    def open_page(path: str, *, signed_in: bool = True, storage: str = "", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(LIMIT * 1000)
        contexts.append(context)
        if signed_in:
            context.add_init_script(SIGN_IN)
        if storage:
            context.add_init_script(storage)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda message: (
                problems.append(message.text) if "Content Security Policy" in message.text else None
            ),
        )
        page.goto(f"{stand_in.url}{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def watching(open_page: OpenPage) -> OpenPage:
    """Opens a channel's page and waits until it is live."""

    def watching(channel: str = "marlowe", **options: Any) -> Page:
        page = open_page(f"/watch/{channel}", **options)
        expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", "live")
        return page

    return watching
