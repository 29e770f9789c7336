"""What Lighthouse says of the deployed site, as on a middling phone in a slow network.

Reports: ``.artifacts/site/lighthouse-<page>.html``; the scores: ``.artifacts/site/lighthouse.json``.
"""

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from playwright.sync_api import Page, Playwright, expect

from tests.e2e.clients import Cloud
from tests.e2e.conftest import REPOSITORY, chromium
from tests.e2e.test_journey import EVENTS, watch

SHOTS = REPOSITORY / ".artifacts" / "site"
ENOUGH = 95
RUNS = 3


@pytest.fixture
def debugged(playwright: Playwright) -> Iterator[tuple[Page, int]]:
    """A tab, and the port at which Lighthouse finds its browser."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    path, arguments = chromium()
    # As in people's browsers, other sites' frames have processes of their own.
    arguments += ["--site-per-process", f"--remote-debugging-port={port}"]
    browser = playwright.chromium.launch(executable_path=path, args=arguments)
    yield browser.new_page(no_viewport=True), port
    browser.close()


def audit(port: int, address: str, name: str) -> dict[str, int]:
    """The score of each category, of 100: the median of some runs, as they differ by a few points."""
    report = SHOTS / f"lighthouse-{name}"
    report.parent.mkdir(parents=True, exist_ok=True)
    runs = [_run(port, address, report) for _ in range(RUNS)]
    return {category: round(median(run[category] for run in runs)) for category in runs[0]}


def _run(port: int, address: str, report: Path) -> dict[str, int]:
    script = Path(__file__).with_name("run.mjs")
    subprocess.run(["node", script, str(port), address, report], cwd=REPOSITORY, check=True, timeout=120)
    result: dict[str, Any] = json.loads(report.with_suffix(".json").read_text())
    return {name: round(category["score"] * 100) for name, category in result["categories"].items()}


@pytest.mark.measured
def test_lighthouse_gives_both_pages_at_least_95_in_all_categories(
    debugged: tuple[Page, int], cloud: Cloud, channel: str
) -> None:
    page, port = debugged
    page.goto(cloud.site)
    scores = {"first-page": audit(port, cloud.site, "first-page")}
    watch(page, cloud, channel, "vera_viewer")
    for event_type in ("stream.online", "channel.update", "channel.raid"):
        cloud.simulate(event_type, channel)
    expect(page.locator(EVENTS)).to_have_count(3)
    scores["watch-page"] = audit(port, page.url, "watch-page")
    (SHOTS / "lighthouse.json").write_text(json.dumps(scores, indent=2) + "\n")
    below = {
        (name, category): score
        for name, page_scores in scores.items()
        for category, score in page_scores.items()
        if score < ENOUGH
    }
    assert not below, scores
