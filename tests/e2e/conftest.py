"""The deployed local cloud, once for all end-to-end tests, and the people who use it.

Set FANFARE_ENDPOINTS to the endpoints.json of a running `make run` to test that one, and start none.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.e2e.clients import Cloud, Viewer

REPOSITORY = Path(__file__).resolve().parents[2]
ARTIFACTS = REPOSITORY / ".artifacts" / "e2e"
# The machine may be busy with other suites; what must be fast says so itself.
expect.set_options(timeout=10_000)
START_TIMEOUT = 300  # seconds; a first run also installs the emulator and the functions' wheels


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    if running := os.environ.get("FANFARE_ENDPOINTS"):
        yield Cloud.from_file(Path(running))
        return
    state = tmp_path_factory.mktemp("cloud")
    log = ARTIFACTS / "run.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local", "run", "--state-dir", str(state)],
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        endpoints = state / "endpoints.json"
        started = time.monotonic()
        while not endpoints.exists():
            if process.poll() is not None:
                pytest.fail(f"`make run` ended with {process.returncode}:\n{log.read_text()[-4000:]}")
            if time.monotonic() - started > START_TIMEOUT:
                pytest.fail(f"`make run` was not ready after {START_TIMEOUT} s:\n{log.read_text()[-4000:]}")
            time.sleep(0.2)
        yield Cloud.from_file(endpoints)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(30)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    assert status == 0, log.read_text()[-2000:]
    assert not endpoints.exists(), "endpoints.json must go when the cloud does"


@pytest.fixture(scope="session")
def viewer(cloud: Cloud) -> Viewer:
    """Somebody signed in, without a browser."""
    return Viewer.sign_in(cloud, "vera_viewer")


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
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(15_000)
    yield context
    context.close()


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
    """A channel that nothing happened on yet, also where the cloud has been running for long."""
    return f"channel_{secrets.token_hex(4)}"


def chromium() -> tuple[str, list[str]]:
    """An installed Chrome where there is one, else the one that npm brings (Linux x64), and its arguments."""
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
