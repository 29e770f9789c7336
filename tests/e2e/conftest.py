"""The deployed local cloud, started once for all end-to-end tests, a viewer, and browsers.

Set FANFARE_ENDPOINTS to the endpoints.json of a running `make run` to test that one, and start none.
"""

import contextlib
import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.e2e.clients import LIMIT, Cloud, Viewer
from tests.e2e.local_cloud import LocalCloud

REPOSITORY = Path(__file__).resolve().parents[2]
ARTIFACTS = REPOSITORY / ".artifacts" / "e2e"
expect.set_options(timeout=LIMIT * 1000)


@pytest.fixture(scope="session")
def local_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """The local cloud that this run starts, with its processes."""
    local_cloud = LocalCloud(tmp_path_factory.mktemp("cloud"), ARTIFACTS / "run.log")
    try:
        local_cloud.start()
        yield local_cloud
    finally:
        status = local_cloud.stop()
    assert status == 0, local_cloud.log.read_text()[-2000:]
    assert not local_cloud.endpoints.exists(), "endpoints.json is deleted when the cloud stops"


@pytest.fixture(scope="session")
def cloud(request: pytest.FixtureRequest) -> Cloud:
    if running := os.environ.get("FANFARE_ENDPOINTS"):
        return Cloud.from_file(Path(running))
    local_cloud: LocalCloud = request.getfixturevalue("local_cloud")
    return Cloud.from_file(local_cloud.endpoints)


@pytest.fixture(scope="module")
def viewer(cloud: Cloud, request: pytest.FixtureRequest) -> Viewer:
    """A viewer without a browser, one for each module: nobody may follow more than 20 channels at once."""
    name = request.module.__name__.rpartition(".")[2].removeprefix("test_")
    return Viewer.sign_in(cloud, f"viewer_{name}"[:25])


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Headless Chromium."""
    path, arguments = chromium()
    browser = playwright.chromium.launch(executable_path=path, args=arguments)
    yield browser
    browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with new_context(browser) as context:
        yield context


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda message: problems.append(message.text) if "Content Security Policy" in message.text else None,
    )
    yield page
    assert problems == []


@pytest.fixture
def channel() -> str:
    """A channel without events and viewers."""
    return f"channel_{secrets.token_hex(4)}"


@contextlib.contextmanager
def new_context(browser: Browser, **options: Any) -> Iterator[BrowserContext]:
    """A browser context, which is somebody of their own: it shares no sign-in with another one."""
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
    context.set_default_timeout(LIMIT * 1000)
    yield context
    context.close()


def chromium() -> tuple[str, list[str]]:
    """The Chrome at CHROME_PATH or the one that npm installs (Linux x64), and its arguments."""
    quiet = [
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    if installed := os.environ.get("CHROME_PATH"):
        return installed, quiet
    script = (
        "import('@sparticuz/chromium').then(async ({default: chromium}) =>"
        " console.log(JSON.stringify([await chromium.executablePath(), chromium.args])))"
    )
    answer = subprocess.run(
        ["node", "--eval", script], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    path, arguments = json.loads(answer.stdout)
    unwanted = ("--headless", "--single-process", "--no-zygote", "--user-data-dir", "--disable-web-security")
    return path, [a for a in arguments if not a.startswith(unwanted)] + quiet
