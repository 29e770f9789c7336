"""docs/roles.md lists every role and what it may do."""

from ops.roles import DOCUMENT, page
from tests.infrastructure.template import Stage


def test_the_page_of_roles_is_as_the_templates_are(prod: Stage, twitch: Stage, pipeline: Stage) -> None:
    written = page([*pipeline.paths.values(), *prod.paths.values()], twitch.paths.values())
    assert DOCUMENT.read_text() == written, "run `make roles`, and look at what it changed"
