"""Templates of real stages, each with its own settings, are deployed to the emulator as far as it goes."""

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import boto3
import pytest

from local import emulator
from local.environment import ACCESS_KEY, SECRET_KEY
from tests.infrastructure.template import Stage, synthesise

# What is left out: the emulator does not have these types, and the custom ones run functions that need the
# database, which it does not run. It does not know `Fn::GetStackOutput` either, which is resolved here.
MISSING = {
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::RDS::DBProxy",
    "AWS::RDS::DBProxyTargetGroup",
    "Custom::DatabaseRole",
    "Custom::Trigger",
}
ACCOUNT = "000000000000"
# What refers to one of them refers to this instead.
LEFT_OUT = f"arn:aws:rds:eu-central-1:{ACCOUNT}:db-proxy:left-out"
# A domain, a proxy and a reader in another Region than the firewall.
FRANKFURT = {
    "account": ACCOUNT,
    "region": "eu-central-1",
    "retain_data": True,
    "gradual_rollout": True,
    "waf": {},
    "database": {"kind": "aurora", "min_capacity": 1, "max_capacity": 8, "readers": 1, "proxy": True},
}


class Account:
    """The emulator, with what a deployment finds: the assets, and the Twitch secret."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.client("s3").create_bucket(Bucket="templates")

    def client(self, service: str, region: str = "us-east-1") -> Any:
        """A client with the emulator's root credentials."""
        who = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
        return boto3.client(service, endpoint_url=self._endpoint, region_name=region, **who)  # type: ignore[call-overload]

    def publish_assets(self, stage: Stage, qualifier: str, region: str) -> None:
        """Put an archive in place of each asset: nothing is run here."""
        s3, buffer = self.client("s3", region), io.BytesIO()
        bucket = f"cdk-{qualifier}-assets-{ACCOUNT}-{region}"
        # In us-east-1 none may be named.
        elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=bucket, **(elsewhere if region != "us-east-1" else {}))
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("index.html", "<html>")
        for manifest in stage.assembly.glob("*.assets.json"):
            for digest in json.loads(manifest.read_text())["files"]:
                s3.put_object(Bucket=bucket, Key=f"{digest}.zip", Body=buffer.getvalue())

    def deploy(self, path: Path, region: str) -> dict[str, str]:
        """Deploy the template at ``path`` without what is missing; returns its outputs."""
        name = path.name.partition(".")[0]
        template = _without_missing(self._resolved(json.loads(path.read_text())))
        self.client("s3").put_object(Bucket="templates", Key=name, Body=json.dumps(template))
        stacks = self.client("cloudformation", region)
        stacks.create_stack(
            StackName=name,
            # Too large to be sent.
            TemplateURL=f"{self._endpoint}/templates/{name}",
            Capabilities=["CAPABILITY_NAMED_IAM"],
            DisableRollback=True,
        )
        ends = time.monotonic() + 300
        while time.monotonic() < ends:
            (stack,) = stacks.describe_stacks(StackName=name)["Stacks"]
            if not stack["StackStatus"].endswith("_IN_PROGRESS"):
                break
            time.sleep(0.1)
        failures = [
            (event["ResourceType"], event.get("ResourceStatusReason"))
            for event in stacks.describe_stack_events(StackName=name)["StackEvents"]
            if event["ResourceStatus"].endswith("_FAILED")
        ]
        assert (stack["StackStatus"], failures) == ("CREATE_COMPLETE", [])
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())}

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._resolved(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "Fn::GetStackOutput" in value:
            asked = value["Fn::GetStackOutput"]
            stacks = self.client("cloudformation", asked["Region"])
            (stack,) = stacks.describe_stacks(StackName=asked["StackName"])["Stacks"]
            found = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
            return found[asked["OutputName"]]
        return {key: self._resolved(item) for key, item in value.items()}


def _without_missing(template: dict[str, Any]) -> dict[str, Any]:
    gone = {name for name, resource in template["Resources"].items() if resource["Type"] in MISSING}

    def rest(value: Any) -> Any:
        match value:
            case {"Ref": name} | {"Fn::GetAtt": [name, _]} if name in gone:
                return LEFT_OUT
            case dict():
                # An update policy names CodeDeploy's resources.
                return {key: rest(item) for key, item in value.items() if key not in {*gone, "UpdatePolicy"}}
            case list():
                return [rest(item) for item in value if not isinstance(item, str) or item not in gone]
        return [] if value in gone else value

    kept: dict[str, Any] = rest(template)
    return kept


@pytest.fixture(scope="module")
def account(emulator_port: int) -> Account:
    return Account(emulator.endpoint(emulator_port))


def deploy(account: Account, stage: Stage, name: str, qualifier: str, region: str) -> dict[str, str]:
    """Deploy all stacks of a stage; returns the application's outputs."""
    outputs: dict[str, str] = {}
    regions = {"Edge": "us-east-1"}
    for own in {region, "us-east-1"}:
        account.client("ssm", own).put_parameter(
            Name=f"/cdk-bootstrap/{qualifier}/version", Value="21", Type="String", Overwrite=True
        )
    account.publish_assets(stage, qualifier, region)
    secret = json.dumps({"client_id": "id", "client_secret": "secret"})
    account.client("secretsmanager", region).create_secret(Name=f"fanfare/{name}/twitch", SecretString=secret)
    for stack, path in stage.paths.items():
        outputs = account.deploy(path, regions.get(stack, region))
    return outputs


def protected(account: Account, name: str, region: str) -> bool:
    """Whether the stage's table of channels cannot be deleted."""
    table = account.client("dynamodb", region).describe_table(TableName=f"fanfare-{name}-channels")["Table"]
    return bool(table.get("DeletionProtectionEnabled"))


def test_dev_is_deployed(account: Account, dev: Stage) -> None:
    outputs = deploy(account, dev, "dev", "fanfdev", "eu-west-1")
    assert outputs["SiteUrl"].endswith(".cloudfront.net")
    assert not protected(account, "dev", "eu-west-1")


def test_prod_is_deployed(account: Account, prod: Stage) -> None:
    outputs = deploy(account, prod, "prod", "fanfprod", "us-east-1")
    assert outputs["WebhookUrl"].startswith("https://")
    assert protected(account, "prod", "us-east-1")
    alias = account.client("lambda").get_alias(FunctionName="fanfare-prod-webhook", Name="live")
    assert alias["FunctionVersion"] == "1"


def test_a_stage_with_a_domain_and_a_proxy_is_deployed_in_another_region(
    account: Account, tmp_path: Path
) -> None:
    zones = account.client("route53")
    zone = zones.create_hosted_zone(Name="example.com", CallerReference="test")["HostedZone"]["Id"]
    hosted_zone = {"id": zone.rpartition("/")[2], "name": "example.com"}
    settings = {**FRANKFURT, "domain": {"name": "fanfare.example.com", "hosted_zone": hosted_zone}}
    stage = synthesise("there", tmp_path / "there", stages={"there": settings})
    outputs = deploy(account, stage, "there", "hnb659fds", "eu-central-1")
    assert outputs["SiteUrl"] == "https://fanfare.example.com"
    assert protected(account, "there", "eu-central-1")
    distribution = account.client("cloudfront").get_distribution(Id=outputs["DistributionId"])
    configuration = distribution["Distribution"]["DistributionConfig"]
    assert configuration["Aliases"]["Items"] == ["fanfare.example.com"]
    assert ":us-east-1:" in configuration["ViewerCertificate"]["ACMCertificateArn"]


def test_nothing_else_is_left_out(dev: Stage, prod: Stage) -> None:
    types = {resource.type for stage in (dev, prod) for resource in stage.resources.values()}
    assert {found for found in MISSING if "DBProxy" not in found} <= types
