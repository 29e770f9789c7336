"""Which licences may ship."""

from email.message import Message
from types import SimpleNamespace

import pytest

from ops import licences
from ops.licences import allowed, shipped


@pytest.mark.parametrize(
    ("expression", "may"),
    [
        ("MIT", True),
        ("LGPL-2.1-only OR MIT", True),
        ("(MIT AND Apache-2.0)", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT OR GPL-3.0-only) AND GPL-3.0-only", False),
        ("GPL-3.0-only AND (GPL-3.0-only OR (MIT))", False),
        ("((MIT OR GPL-3.0-only) AND ISC) OR GPL-3.0-only", True),
        ("MIT AND (ISC OR GPL-3.0-only)", True),
        ("MIT AND ()", False),
        ("(MIT", False),
        ("GPL-3.0-only", False),
        ("SEE LICENSE IN LICENSE.md", False),
        ("not said", False),
    ],
)
def test_an_alternative_has_to_be_on_the_list_with_all_its_parts(expression: str, may: bool) -> None:
    assert allowed(expression) == may


def test_a_package_with_several_classifiers_is_under_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = Message()
    for licence in ("MIT License", "GNU General Public License v3 (GPLv3)"):
        metadata["Classifier"] = f"License :: OSI Approved :: {licence}"
    monkeypatch.setattr(licences, "distribution", lambda _: SimpleNamespace(metadata=metadata))
    assert not allowed(dict(shipped())["psycopg"])


def test_what_ships_is_what_both_locks_say_without_the_tools() -> None:
    names = [name for name, _ in shipped()]
    assert {"pydantic", "pycurl", "vue", "oidc-client-ts"} <= {*names}
    assert not {"vite", "eslint", "boto3", "tzdata"} & {*names}
