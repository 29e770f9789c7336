"""The templates are valid, below AWS's limits, and the same each time."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cdk.packaging import ROOT
from tests.infrastructure.template import Stage, synthesise

KIB, MIB = 1024, 1024 * 1024
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
MOST_RESOURCES, MOST_OUTPUTS, LARGEST_TEMPLATE = 500, 200, MIB
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: all inline policies of a role
LARGEST_POLICIES = 10_240
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LARGEST_PACKAGE, LARGEST_ENVIRONMENT = 250 * MIB, 4 * KIB
# Small functions of the CDK that run during a deployment only, and take no log group.
CDKS_OWN = {
    "AWSCDK.TriggerCustomResourceProviderCustomResourceProvider/Handler",
    "Custom::S3AutoDeleteObjectsCustomResourceProvider/Handler",
}


def _size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":")))


def test_a_stack_has_room_to_grow(prod: Stage) -> None:
    for path in prod.paths.values():
        template = json.loads(path.read_text())
        assert len(template["Resources"]) < 0.6 * MOST_RESOURCES
        assert len(template.get("Outputs", {})) < 0.6 * MOST_OUTPUTS
        assert path.stat().st_size < 0.6 * LARGEST_TEMPLATE


def test_a_roles_policies_fit_it(prod: Stage) -> None:
    sizes: dict[str, int] = {}
    for policy in prod.of_type("AWS::IAM::Policy").values():
        for role in policy["Roles"]:
            sizes[role] = sizes.get(role, 0) + _size(policy["PolicyDocument"])
    assert sizes
    assert max(sizes.values()) < 0.6 * LARGEST_POLICIES


def test_a_function_fits_lambda(prod: Stage) -> None:
    for path, function in prod.of_type("AWS::Lambda::Function").items():
        assert _size(function.get("Environment", {})) < 0.6 * LARGEST_ENVIRONMENT, path
        if "ZipFile" in function["Code"]:
            continue
        asset = prod.asset(str(function["Code"]["S3Key"]).removesuffix(".zip"))
        size = sum(file.stat().st_size for file in asset.rglob("*") if file.is_file())
        assert size < 0.6 * LARGEST_PACKAGE, path


def test_cfn_lint_finds_nothing(prod: Stage) -> None:
    linter = str(Path(sys.executable).with_name("cfn-lint"))
    command = [linter, "--non-zero-exit-code", "informational", *map(str, prod.paths.values())]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_a_second_synthesis_gives_the_same_templates(prod: Stage, tmp_path: Path) -> None:
    assert synthesise("prod", tmp_path).texts == prod.texts


def test_nothing_is_looked_up(prod: Stage) -> None:
    assert "missing" not in json.loads((prod.assembly / "manifest.json").read_text())


@pytest.mark.parametrize(
    "type_", ["AWS::S3::Bucket", "AWS::SNS::Topic", "AWS::SQS::Queue", "AWS::RDS::DBCluster"]
)
def test_data_at_rest_is_encrypted(prod: Stage, type_: str) -> None:
    switched_on = {
        "AWS::S3::Bucket": "BucketEncryption",
        "AWS::SNS::Topic": "KmsMasterKeyId",
        "AWS::SQS::Queue": "SqsManagedSseEnabled",
        "AWS::RDS::DBCluster": "StorageEncrypted",
    }
    found = prod.of_type(type_)
    assert found
    assert all(properties.get(switched_on[type_]) for properties in found.values())


def test_no_bucket_is_public_and_all_take_tls_only(prod: Stage) -> None:
    for path, bucket in prod.of_type("AWS::S3::Bucket").items():
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        statements = prod.resources[f"{path}/Policy"].properties["PolicyDocument"]["Statement"]
        assert {"Bool": {"aws:SecureTransport": "false"}} in [found.get("Condition") for found in statements]


def test_every_log_group_expires(prod: Stage) -> None:
    groups = prod.of_type("AWS::Logs::LogGroup")
    assert all(group.get("RetentionInDays", 0) > 0 for group in groups.values())
    # Lambda makes a missing one, which never expires.
    without = {
        path for path, found in prod.of_type("AWS::Lambda::Function").items() if "LoggingConfig" not in found
    }
    assert without == CDKS_OWN


def test_the_http_api_logs_what_it_answered_and_nobodys_address(prod: Stage) -> None:
    settings = prod.resources["HttpStage"].properties["AccessLogSettings"]
    assert settings["DestinationArn"] == "{HttpStage/AccessLogs.Arn}"
    fields = json.loads(settings["Format"])
    assert {"requestId", "routeKey", "status", "responseLatency"} <= fields.keys()
    assert not {"ip", "sourceIp", "path", "queryString", "userAgent"} & fields.keys()
