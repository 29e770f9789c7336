"""The local stage's settings, and the progress that a deployment shows."""

from typing import Any

import pytest

from local import deployment
from local.ports import Ports

PORTS = Ports(emulator=1111, twitch=2222, database=3333)
EVENT = (
    "Fanfare-local-App |  12/131 | 11:27:08 PM | CREATE_COMPLETE      | AWS::SQS::Queue   "
    "| History/Feed/DeadLetters (HistoryFeedDeadLetters6A92DA35)"
)


@pytest.fixture
def settings() -> dict[str, Any]:
    return deployment.settings(PORTS, {})


def test_the_app_finds_this_machines_servers(settings: dict[str, Any]) -> None:
    assert (settings["database"]["host"], settings["database"]["port"]) == ("127.0.0.1", 3333)
    assert settings["twitch"]["issuer"] == "http://127.0.0.1:2222/oauth2"
    assert settings["addresses"]["websocket"] == "ws://127.0.0.1:1111/_aws/execute-api/{api_id}/{stage}"
    assert settings["addresses"]["site"] == "http://{label}.cloudfront.localhost:1111"


def test_the_settings_contain_names_of_secrets_only(settings: dict[str, Any]) -> None:
    assert settings["database"]["secret_name"] == deployment.DATABASE_SECRET
    assert settings["twitch"]["secret_name"] == deployment.TWITCH_SECRET
    assert "password" not in str(settings)


def test_viewers_may_sign_in_without_cognito(settings: dict[str, Any]) -> None:
    assert "sign_in" not in settings
    assert deployment.settings(PORTS, {"FANFARE_SIGN_IN": "twitch"}) == {**settings, "sign_in": "twitch"}


def test_partitions_may_be_shorter_than_the_apps(settings: dict[str, Any]) -> None:
    assert "partition_seconds" not in settings
    environ = {"FANFARE_PARTITION_SECONDS": "60", "FANFARE_RETENTION_SECONDS": ""}
    assert deployment.settings(PORTS, environ) == {**settings, "partition_seconds": "60"}


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"{EVENT} ", "Fanfare-local-App 12/131 History/Feed/DeadLetters"),
        ("building .build/packages/query-host-48ff", "building .build/packages/query-host-48ff"),
        ("Fanfare-local-App: deploying... [2/2]", None),
        ("", None),
    ],
)
def test_progress_shows_the_resource_and_how_many_are_done(line: str, shown: str | None) -> None:
    assert deployment.progress(line) == shown
