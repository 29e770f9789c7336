"""The site stays light: what a browser loads before it shows the first page."""

import gzip
import re
from pathlib import Path

import pytest

from cdk import packaging

KB = 1000
FIRST_PAGE_SCRIPTS = 70 * KB


@pytest.fixture(scope="session")
def dist() -> Path:
    return packaging.site().path


def loaded_at_once(dist: Path) -> set[str]:
    """The scripts that the page names, and what they import statically."""
    found: set[str] = set()
    waiting = re.findall(r'(?:src|href)="/(assets/[^"]+\.js)"', (dist / "index.html").read_text())
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            script = (dist / name).read_text()
            waiting += [
                f"assets/{other}" for other in re.findall(r'(?:from|import)\s*"\./([^"]+\.js)"', script)
            ]
    return found


def test_the_first_page_loads_at_most_70_kb_of_compressed_scripts(dist: Path) -> None:
    scripts = {name: len(gzip.compress((dist / name).read_bytes())) for name in loaded_at_once(dist)}
    assert sum(scripts.values()) <= FIRST_PAGE_SCRIPTS, scripts


def test_what_only_some_need_comes_when_they_need_it(dist: Path) -> None:
    at_once = "".join((dist / name).read_text() for name in loaded_at_once(dist))
    for words in ("code_challenge_method", "dppxchange"):  # the sign-in's library, the charts'
        assert words not in at_once, words
        assert any(words in script.read_text() for script in dist.glob("assets/*.js")), words


def test_no_font_is_loaded(dist: Path) -> None:
    assert not [file for file in dist.rglob("*") if file.suffix in {".woff", ".woff2", ".ttf", ".otf"}]
    assert not [file for file in dist.glob("assets/*.css") if "@font-face" in file.read_text()]
