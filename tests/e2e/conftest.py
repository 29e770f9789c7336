"""The deployed local cloud, started once for all end-to-end tests, a viewer, and browsers.

Set FANFARE_ENDPOINTS to the endpoints.json of a running `make run` to test that one, and start none.
"""

import contextlib
import dataclasses
import functools
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from local.twitch.settings import CLIENT_SECRET
from tests.e2e.clients import LIMIT, Cloud, Viewer

REPOSITORY = Path(__file__).resolve().parents[2]
ARTIFACTS = REPOSITORY / ".artifacts" / "e2e"
expect.set_options(timeout=LIMIT * 1000)
START_LIMIT = 1200  # seconds; the first start also installs the emulator and the functions' wheels


# Tests of what a viewer sees, once with each way to sign in.
both_sign_ins = pytest.mark.parametrize("cloud", ["cognito", "twitch"], indirect=True, scope="session")
# And with TWITCH=real, where a simulated Twitch takes the place of the real one.
real_twitch = pytest.mark.parametrize("cloud", ["real"], indirect=True, scope="session")
every_cloud = pytest.mark.parametrize("cloud", ["cognito", "twitch", "real"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def start_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Cloud]]:
    """Starts the local cloud with this way to sign in, if it is not running yet."""
    with contextlib.ExitStack() as running:

        @functools.cache
        def start(sign_in: str) -> Cloud:
            state = tmp_path_factory.mktemp(sign_in)
            if sign_in == "real":
                return running.enter_context(_run_with_relay(state))
            return running.enter_context(_run_cloud(state, {"FANFARE_SIGN_IN": sign_in}))

        yield start


@pytest.fixture(scope="session")
def cloud(request: pytest.FixtureRequest, start_cloud: Callable[[str], Cloud]) -> Cloud:
    """The local cloud; with Cognito unless the test is marked ``both_sign_ins``."""
    wanted: str | None = getattr(request, "param", None)
    if not (running := os.environ.get("FANFARE_ENDPOINTS")):
        return start_cloud(wanted or "cognito")
    cloud = Cloud.from_file(Path(running))
    kind = cloud.get("config.json").json()["identity"]["kind"]
    if cloud.site.startswith("http://localhost:"):
        kind, cloud = "real", dataclasses.replace(cloud, twitch=os.environ["FANFARE_REAL_TWITCH"])
    if wanted not in (None, kind):
        pytest.skip(f"the running local cloud has another sign-in than {wanted}")
    return cloud


@contextlib.contextmanager
def _run_with_relay(state: Path) -> Iterator[Cloud]:
    """The local cloud with TWITCH=real, and at its end nothing of it is left at Twitch."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        port, site_port = one.getsockname()[1], two.getsockname()[1]
    base, secret = f"http://127.0.0.1:{port}", secrets.token_urlsafe(16)
    command = [sys.executable, "-m", "local.twitch", "--port", str(port), "--client-id", "own-application"]
    command += ["--cognito-callback-base", base]
    twitch = subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, CLIENT_SECRET: secret})
    try:
        environ = {
            "TWITCH_CLIENT_ID": "own-application",
            "TWITCH_CLIENT_SECRET": secret,
            "FANFARE_REAL_TWITCH": base,
            "FANFARE_PORT": str(site_port),
        }
        with _run_cloud(state, environ, "--twitch", "real") as running:
            cloud = dataclasses.replace(running, twitch=base)
            yield cloud
        left = cloud.twitch_state()
        assert (left["subscriptions"], left["conduits"]) == ([], [])
    finally:
        twitch.kill()
        twitch.wait()


@contextlib.contextmanager
def _run_cloud(state: Path, environ: dict[str, str], *options: str) -> Iterator[Cloud]:
    log = ARTIFACTS / f"run-{state.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local", "run", "--state-dir", str(state), *options],
            cwd=REPOSITORY,
            env={**os.environ, **environ},
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
            if time.monotonic() - started > START_LIMIT:
                pytest.fail(f"`make run` was not ready after {START_LIMIT} s:\n{log.read_text()[-4000:]}")
            time.sleep(0.2)
        yield Cloud.from_file(endpoints)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    assert status == 0, log.read_text()[-2000:]
    assert not endpoints.exists(), "endpoints.json is deleted when the cloud stops"


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
