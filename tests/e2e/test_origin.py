"""Reads come through CloudFront, which knows a secret that can be renewed at any time."""

import json
from pathlib import Path

import pytest

from local.environment import aws_variables
from ops.account import Account
from ops.deploy import deploy
from ops.stage_settings import session, settings_of
from tests import runbook
from tests.e2e.clients import Cloud, request

HEADER = "x-origin-secret"
READ = "api/channels/any_channel/counts"


@pytest.fixture(autouse=True)
def _operator(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the commands with the local cloud's credentials."""
    for name, value in aws_variables(cloud.aws_endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CI", "true")


def around_cloudfront(cloud: Cloud, path: str, *, method: str = "GET", secret: str | None = None) -> int:
    """The status of a request to the API's own URL."""
    headers = {HEADER: secret} if secret else {}
    return request(method, f"{cloud.outputs['HttpApiUrl']}/{path}", headers=headers).status


def test_what_anyone_may_call_is_refused_at_the_apis_own_url(cloud: Cloud) -> None:
    assert cloud.get(READ).status == 200
    for path in (READ, "api/leaderboard", "api/openapi.json"):
        assert around_cloudfront(cloud, path) == 401
        assert around_cloudfront(cloud, path, secret="guessed") == 403
        assert around_cloudfront(cloud, path, method="HEAD") == 401
    for path in ("api/overlays/any_channel/watch", "api/channels/any_channel/watch"):
        assert around_cloudfront(cloud, path, method="POST") == 401
    # Twitch delivers there: it is refused for its signature, by the function.
    assert around_cloudfront(cloud, "webhooks/twitch", method="POST") == 403


def test_what_a_caller_says_in_the_header_does_not_pass_cloudfront(cloud: Cloud) -> None:
    assert request("GET", f"{cloud.api}/{READ}", headers={HEADER: "guessed"}).status == 200


def test_the_secret_is_renewed_without_an_interruption(cloud: Cloud, tmp_path: Path) -> None:
    manager, arn = cloud.aws("secretsmanager"), cloud.outputs["OriginSecretArn"]
    settings = settings_of("local", str(cloud.settings_file))
    former = manager.get_secret_value(SecretId=arn)["SecretString"]
    assert around_cloudfront(cloud, READ, secret=former) == 200
    for _ in range(2):
        runbook.run("Renewing the origin secret", aws_variables(cloud.aws_endpoint), tmp_path)
        renewed = manager.get_secret_value(SecretId=arn)["SecretString"]
        assert renewed != former
        # CloudFront still sends the former one.
        assert cloud.get(READ).status == 200
        assert (
            deploy(Account(session(settings.region)), settings, str(cloud.settings_file.with_name("cdk.out")))
            == 0
        )
        assert cloud.get(READ).status == 200
        assert around_cloudfront(cloud, READ, secret=renewed) == 200
    config = cloud.aws("cloudfront").get_distribution_config(Id=cloud.outputs["DistributionId"])
    assert json.dumps(config["DistributionConfig"]["Origins"], default=str).count(renewed) == 1
