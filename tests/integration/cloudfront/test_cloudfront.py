"""The authorizer of requests that come through CloudFront, against Secrets Manager (moto)."""

import boto3
import pytest

from tests.integration.functions import Function, aws_variables, load

FIRST, SECOND, THIRD = "the-first-secret", "the-second-secret", "the-third-secret"


@pytest.fixture
def admits(
    aws_endpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Function:
    for name, value in aws_variables(aws_endpoint).items():
        monkeypatch.setenv(name, value)
    arn = boto3.client("secretsmanager").create_secret(Name="origin", SecretString=FIRST)["ARN"]
    return load(monkeypatch, capsys, "lambdas.handlers.cloudfront", ORIGIN_SECRET_ARN=arn)


def admitted(function: Function, *values: str) -> list[bool]:
    return [function({"identitySource": [value]})["isAuthorized"] for value in values]


def rotate(value: str) -> None:
    boto3.client("secretsmanager").put_secret_value(SecretId="origin", SecretString=value)


def test_only_the_secret_admits(admits: Function) -> None:
    assert admitted(admits, FIRST, SECOND, "", f"{FIRST},{FIRST}", "é") == [True, *[False] * 4]
    assert FIRST not in admits.logs.getvalue()


def test_a_renewed_secret_is_taken_at_once_and_the_former_one_until_the_next(
    admits: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert admitted(admits, FIRST) == [True]
    monkeypatch.setattr(admits.module, "FRESH_SECONDS", -1)
    rotate(SECOND)
    assert admitted(admits, SECOND, FIRST) == [True, True]
    rotate(THIRD)
    assert admitted(admits, THIRD, SECOND, FIRST) == [True, True, False]
