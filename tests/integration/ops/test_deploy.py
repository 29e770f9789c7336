"""`make deploy`: a renewed Twitch secret reaches the identity providers."""

import json
from collections.abc import Callable, Iterator

import boto3
import pytest
from moto import mock_aws

from ops import deploy


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, ...]]]:
    """The arguments of each run of the CDK, in an account in which nothing exists yet."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("CI", raising=False)
    with mock_aws():
        yield []


def recorded(commands: list[tuple[str, ...]]) -> Callable[..., int]:
    """Stands for the CDK's command line."""

    def run(*arguments: str) -> int:
        commands.append(arguments)
        return 0

    return run


def version_passed(command: tuple[str, ...]) -> str:
    (parameter,) = (
        value for value in command if value.startswith("Fanfare-dev-App:TwitchCredentialsVersion=")
    )
    return parameter.partition("=")[2]


def test_each_version_of_the_secret_is_passed_on(commands: list[tuple[str, ...]]) -> None:
    manager = boto3.client("secretsmanager", region_name="eu-central-1")
    first = manager.create_secret(Name="fanfare/dev/twitch", SecretString=json.dumps({"client_id": "1"}))
    assert deploy.main(["dev", "cdk.out/dev"], recorded(commands)) == 0
    renewed = manager.put_secret_value(SecretId="fanfare/dev/twitch", SecretString="{}")
    assert deploy.main(["dev", "cdk.out/dev"], recorded(commands)) == 0
    assert [version_passed(command) for command in commands] == [first["VersionId"], renewed["VersionId"]]
    assert all(command[:4] == ("deploy", "--all", "--app", "cdk.out/dev") for command in commands)


def test_a_workflow_is_not_asked(commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    boto3.client("secretsmanager", region_name="eu-central-1").create_secret(
        Name="fanfare/dev/twitch", SecretString="{}"
    )
    monkeypatch.setenv("CI", "true")
    deploy.main(["dev", "cdk.out/dev"], recorded(commands))
    assert commands[0][-2:] == ("--require-approval", "never")


def test_a_missing_secret_is_said_before_anything_is_deployed(
    commands: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.main(["dev", "cdk.out/dev"], recorded(commands)) == 1
    assert commands == []
    assert "there is no secret fanfare/dev/twitch" in capsys.readouterr().out
