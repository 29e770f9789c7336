"""`make deploy`: renewed secrets reach the identity providers and CloudFront."""

import pytest

from ops.checks import Failure
from ops.deploy import deploy
from ops.stage_settings import settings_of
from tests.integration.ops.fake_account import FakeAccount

ORIGIN_SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:HttpApiOriginSecret-abcdef"
OUTPUTS = [{"OutputKey": "OriginSecretArn", "OutputValue": ORIGIN_SECRET}]
DEPLOYED = {"Stacks": [{"StackName": "Fanfare-dev-App", "Outputs": OUTPUTS}]}


def account(**versions: str) -> FakeAccount:
    """A stage that is deployed, whose secrets have these current versions."""

    def describe(asked: dict[str, str]) -> object:
        name = "origin" if asked["SecretId"] == ORIGIN_SECRET else "twitch"
        return {"VersionIdsToStages": {"former": ["AWSPREVIOUS"], versions[name]: ["AWSCURRENT"]}}

    return FakeAccount({"DescribeSecret": describe, "DescribeStacks": DEPLOYED})


def command(of: FakeAccount, **changes: object) -> tuple[str, ...]:
    """The arguments with which the CDK is run, for dev with these settings changed."""
    found: list[tuple[str, ...]] = []

    def run(*arguments: str) -> int:
        found.append(arguments)
        return 0

    assert deploy(of, settings_of("dev").model_copy(update=changes), "cdk.out/dev", run) == 0
    return found[0]


@pytest.fixture(autouse=True)
def _not_in_a_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)


def test_the_present_versions_of_both_secrets_are_passed_on() -> None:
    for twitch, origin in (("t1", "o1"), ("t2", "o2")):
        assert command(account(twitch=twitch, origin=origin)) == (
            *("deploy", "--all", "--app", "cdk.out/dev"),
            *("--parameters", f"Fanfare-dev-App:TwitchCredentialsVersion={twitch}"),
            *("--parameters", f"Fanfare-dev-App:OriginHeaderVersion={origin}"),
        )


def test_without_cognito_no_template_refers_to_the_twitch_secret() -> None:
    arguments = command(account(twitch="t1", origin="o1"), sign_in="twitch")
    assert [value for value in arguments if "Version=" in value] == ["Fanfare-dev-App:OriginHeaderVersion=o1"]


def test_the_first_deployment_makes_the_origin_secret() -> None:
    empty = account(twitch="t1")
    empty.answers["DescribeStacks"] = "ValidationError"
    assert not any("OriginHeaderVersion" in argument for argument in command(empty))


def test_a_workflow_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert command(account(twitch="t1", origin="o1"))[-2:] == ("--require-approval", "never")


def test_a_missing_secret_is_said_before_anything_is_deployed() -> None:
    empty = account(origin="o1")
    empty.answers["DescribeSecret"] = "ResourceNotFoundException"
    with pytest.raises(Failure, match="there is no secret fanfare/dev/twitch"):
        command(empty)
