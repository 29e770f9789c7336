"""Settings are read once and complained about by name."""

import dataclasses

import pytest

from lambdas.common.settings import SettingsError, from_environment


@dataclasses.dataclass(frozen=True)
class Settings:
    """One of each kind."""

    table: str
    seconds: int
    file: str = ""


def test_settings_are_read_from_variables_named_like_them() -> None:
    assert from_environment(Settings, {"TABLE": "t", "SECONDS": "60", "OTHER": "x"}) == Settings("t", 60)
    assert from_environment(Settings, {"TABLE": "t", "SECONDS": "60", "FILE": "f"}) == Settings("t", 60, "f")


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({"SECONDS": "60"}, "TABLE"),
        ({"TABLE": "", "SECONDS": "60"}, "TABLE"),
        ({"TABLE": "t"}, "SECONDS"),
        ({"TABLE": "t", "SECONDS": "a minute"}, "SECONDS"),
    ],
)
def test_a_missing_or_wrong_setting_is_named(environment: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        from_environment(Settings, environment)
