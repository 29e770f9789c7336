"""The deployed local cloud, started once for all end-to-end tests, a viewer, and browsers.

Set FANFARE_ENDPOINTS to the endpoints.json of a running `make run` to test that one, and start none.
"""

import contextlib
import dataclasses
import functools
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Playwright,
    expect,
    sync_playwright,
)
from xdist.scheduler import LoadScopeScheduling

from local.twitch.settings import CLIENT_SECRET
from tests.e2e import webkit
from tests.e2e.clients import LIMIT, Cloud, Viewer, request
from tests.e2e.local_cloud import LocalCloud

REPOSITORY = Path(__file__).resolve().parents[2]
ARTIFACTS = REPOSITORY / ".artifacts" / "e2e"
expect.set_options(timeout=LIMIT * 1000)


# Tests of what a viewer sees, once with each way to sign in.
both_sign_ins = pytest.mark.parametrize("cloud", ["cognito", "twitch"], indirect=True, scope="session")
# And with TWITCH=real, where a simulated Twitch takes the place of the real one.
real_twitch = pytest.mark.parametrize("cloud", ["real"], indirect=True, scope="session")
every_cloud = pytest.mark.parametrize("cloud", ["cognito", "twitch", "real"], indirect=True, scope="session")


class _ProcessForEachCloud(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """With ``-n 2``, one process has the cloud with Cognito, and the other one the others."""

    def _split_scope(self, nodeid: str) -> str:
        return "others" if re.search(r"\[(.*-)?(twitch|real)\b", nodeid) else "cognito"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _ProcessForEachCloud(config, log)


@pytest.fixture(scope="session")
def start_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], LocalCloud]]:
    """Starts the local cloud with this way to sign in, if this run has not started it yet."""
    with contextlib.ExitStack() as running:

        @functools.cache
        def start(sign_in: str) -> LocalCloud:
            state, log = tmp_path_factory.mktemp(sign_in), ARTIFACTS / f"run-{sign_in}.log"
            environ = running.enter_context(_stand_in()) if sign_in == "real" else {}
            return running.enter_context(_run(LocalCloud(state, log, sign_in, environ)))

        yield start


@contextlib.contextmanager
def _stand_in() -> Iterator[dict[str, str]]:
    """A simulated Twitch in the real one's place: the environment that leads to it, empty at the end."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        port, site_port = one.getsockname()[1], two.getsockname()[1]
    base, secret = f"http://127.0.0.1:{port}", secrets.token_urlsafe(16)
    # The supervisor ends it when this process is killed, too.
    command = [sys.executable, "local/supervisor.py", str(signal.SIGKILL.value), "--"]
    command += [sys.executable, "-m", "local.twitch", "--port", str(port), "--client-id", "own-application"]
    command += ["--cognito-callback-base", base]
    environ = {**os.environ, CLIENT_SECRET: secret}
    twitch = subprocess.Popen(command, cwd=REPOSITORY, env=environ, stdin=subprocess.PIPE)
    try:
        yield {
            "TWITCH_CLIENT_ID": "own-application",
            "TWITCH_CLIENT_SECRET": secret,
            "FANFARE_REAL_TWITCH": base,
            "FANFARE_PORT": str(site_port),
        }
        left = request("GET", f"{base}/simulator/state").json()
        assert (left["subscriptions"], left["conduits"]) == ([], [])
    finally:
        twitch.communicate()


@contextlib.contextmanager
def _run(local_cloud: LocalCloud) -> Iterator[LocalCloud]:
    try:
        local_cloud.start()
        yield local_cloud
    finally:
        status = local_cloud.stop()
    assert status == 0, local_cloud.log.read_text()[-2000:]
    assert not local_cloud.endpoints.exists(), "endpoints.json is deleted when the cloud stops"


@pytest.fixture(scope="session")
def local_cloud(start_cloud: Callable[[str], LocalCloud]) -> LocalCloud:
    """The local cloud that this run starts, with its processes."""
    return start_cloud("cognito")


@pytest.fixture(scope="session")
def cloud(request: pytest.FixtureRequest) -> Cloud:
    """The local cloud; with Cognito unless the test is marked with others."""
    wanted: str | None = getattr(request, "param", None)
    if wanted in ("twitch", "real") and os.environ.get("FANFARE_BROWSER") == "webkit":
        pytest.skip("WebKit keeps no secure cookie of a page without TLS")
    if running := os.environ.get("FANFARE_ENDPOINTS"):
        cloud = Cloud.from_file(Path(running))
        if wanted not in (None, cloud.get("config.json").json()["identity"]["kind"]):
            pytest.skip(f"the running local cloud has another sign-in than {wanted}")
        return cloud
    start: Callable[[str], LocalCloud] = request.getfixturevalue("start_cloud")
    started = start(wanted or "cognito")
    cloud = Cloud.from_file(started.endpoints)
    # Tests speak to Twitch, not to the relay.
    return dataclasses.replace(cloud, twitch=started.environ.get("FANFARE_REAL_TWITCH", cloud.twitch))


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
    """Headless Chromium, or what FANFARE_BROWSER names: ``firefox`` or ``webkit`` (docs/site.md)."""
    match os.environ.get("FANFARE_BROWSER", "chromium"):
        case "webkit":
            with webkit.launch() as browser:
                yield cast("Browser", browser)
            return
        case "firefox":
            path = shutil.which("firefox-esr") or shutil.which("firefox")
            launched = playwright.firefox.launch(executable_path=path, channel="moz-firefox")
        case _:
            path, arguments = chromium()
            launched = playwright.chromium.launch(executable_path=path, args=arguments)
    yield launched
    launched.close()


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
    # Firefox refuses the style with which Playwright takes a screenshot.
    assert [problem for problem in problems if "(style-src-elem)" not in problem] == []


@pytest.fixture
def channel() -> str:
    """A channel without events and viewers."""
    return f"channel_{secrets.token_hex(4)}"


@contextlib.contextmanager
def new_context(browser: Browser, **options: Any) -> Iterator[BrowserContext]:
    """A browser context, which is somebody of their own: it shares no sign-in with another one."""
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
    context.set_default_timeout(LIMIT * 1000)
    try:
        yield context
    finally:
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
