"""The database in AWS: Aurora Serverless v2, which only the functions that need it can reach."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cdk.database_role import make_role
from cdk.settings import DATABASE_VERSION
from tests.infrastructure.functions import DATABASE_FUNCTIONS
from tests.infrastructure.template import Stage, synthesise


def test_the_network_has_no_way_out_but_to_the_exports(prod: Stage) -> None:
    types = {resource.type for resource in prod.resources.values()}
    ((_, endpoint),) = prod.of_type("AWS::EC2::VPCEndpoint").items()
    assert endpoint["VpcEndpointType"] == "Gateway", "the other kinds cost by the hour"
    assert endpoint["ServiceName"] == "com.amazonaws.{Region}.s3"
    (statement,) = endpoint["PolicyDocument"]["Statement"]
    assert statement["Resource"] == "{Exports.Arn}/*"
    for kind in ("NatGateway", "InternetGateway", "Route", "EIP"):
        assert f"AWS::EC2::{kind}" not in types
    subnets = prod.of_type("AWS::EC2::Subnet").values()
    assert len(subnets) == 2
    assert all(subnet["MapPublicIpOnLaunch"] is False for subnet in subnets)


def test_only_the_functions_group_reaches_the_database(prod: Stage) -> None:
    (ingress,) = prod.of_type("AWS::EC2::SecurityGroupIngress").values()
    assert ingress["SourceSecurityGroupId"] == "{Database/Clients.GroupId}"
    assert ingress["GroupId"] == "{Database/Cluster/SecurityGroup.GroupId}"
    (egress,) = prod.of_type("AWS::EC2::SecurityGroupEgress").values()
    assert egress["GroupId"] == "{Database/Clients.GroupId}"
    assert egress["DestinationSecurityGroupId"] == "{Database/Cluster/SecurityGroup.GroupId}"


def test_only_the_archiver_reaches_s3(prod: Stage) -> None:
    def groups(job: str) -> list[str]:
        return list(prod.function(job)["VpcConfig"]["SecurityGroupIds"])

    assert groups("archiver") == ["{Database/Clients.GroupId}", "{Database/Exporters.GroupId}"]
    for job in {*DATABASE_FUNCTIONS} - {"archiver"}:
        assert groups(job) == ["{Database/Clients.GroupId}"]


def test_the_cluster_is_encrypted_and_takes_iam_tokens_over_tls(prod: Stage) -> None:
    cluster = prod.resources["Database/Cluster"].properties
    assert cluster["Engine"] == "aurora-postgresql"
    assert cluster["EngineVersion"].startswith("18.")
    assert cluster["StorageEncrypted"] is True
    assert cluster["EnableIAMDatabaseAuthentication"] is True
    parameters = prod.resources["Database/Cluster/ParameterGroup"].properties["Parameters"]
    assert parameters["rds.force_ssl"] == "1"


def test_only_a_deployment_changes_the_engines_version(tmp_path: Path) -> None:
    # Once AWS had upgraded it, the template's version would be a downgrade, which is refused.
    stage = synthesise("safe", tmp_path, stages={"safe": {"database": {"kind": "aurora", "readers": 1}}})
    assert stage.resources["Database/Cluster"].properties["EngineVersion"] == DATABASE_VERSION
    for path, instance in stage.of_type("AWS::RDS::DBInstance").items():
        assert instance["AutoMinorVersionUpgrade"] is False, path


def test_the_masters_password_stays_in_secrets_manager(prod: Stage) -> None:
    cluster = prod.resources["Database/Cluster"].properties
    assert cluster["MasterUserPassword"].startswith("{{resolve:secretsmanager:")


def test_instances_are_serverless_and_private(prod: Stage) -> None:
    instances = prod.of_type("AWS::RDS::DBInstance")
    assert instances.keys() == {"Database/Cluster/Writer"}
    assert all(found["DBInstanceClass"] == "db.serverless" for found in instances.values())
    assert all(not found.get("PubliclyAccessible") for found in instances.values())


def test_readers_to_fail_over_to_are_a_setting(tmp_path: Path) -> None:
    stages = {"safe": {"database": {"kind": "aurora", "readers": 2}}}
    instances = synthesise("safe", tmp_path, stages=stages).of_type("AWS::RDS::DBInstance")
    assert instances.keys() == {f"Database/Cluster/{name}" for name in ("Writer", "Reader1", "Reader2")}


def test_functions_verify_the_databases_certificate(prod: Stage) -> None:
    for job in DATABASE_FUNCTIONS:
        variables = prod.function(job)["Environment"]["Variables"]
        bundle = (prod.package(job) / variables["DATABASE_CA_FILE"]).read_text()
        assert bundle.count("BEGIN CERTIFICATE") == bundle.count("END CERTIFICATE") > 50


def test_the_role_is_made_after_the_cluster_and_again_when_its_statement_changes(prod: Stage) -> None:
    role = prod.resources["Database/Role/Default"]
    assert {"Database/Cluster", "Database/Cluster/Writer"} <= role.depends_on
    # A custom resource runs again when one of its properties changes.
    assert "create role fanfare login" in role.properties["Statement"]
    assert "grant rds_iam to fanfare" in role.properties["Statement"]


class ResumingError(Exception):
    """What the Data API says of a paused database."""


class DataApi:
    """The Data API of a database that resumes after so many calls."""

    exceptions = SimpleNamespace(DatabaseResumingException=ResumingError)

    def __init__(self, resuming: int) -> None:
        self.resuming = resuming
        self.statements: list[dict[str, str]] = []

    def execute_statement(self, **statement: str) -> None:
        if self.resuming:
            self.resuming -= 1
            raise ResumingError
        self.statements.append(statement)


ENVIRONMENT = {"CLUSTER_ARN": "cluster", "SECRET_ARN": "secret", "DATABASE": "fanfare"}


def test_making_the_role_waits_for_a_paused_database() -> None:
    api, slept = DataApi(resuming=5), list[float]()
    make_role(api, "select 1", ENVIRONMENT, slept.append)
    assert sum(slept) == 15
    assert api.statements == [
        {"resourceArn": "cluster", "secretArn": "secret", "database": "fanfare", "sql": "select 1"}
    ]


def test_making_the_role_fails_if_the_database_stays_away() -> None:
    slept: list[float] = []
    with pytest.raises(TimeoutError, match="has not resumed within 90 seconds"):
        make_role(DataApi(resuming=1000), "select 1", ENVIRONMENT, slept.append)
    assert sum(slept) == 90


def test_the_makers_code_fits_into_the_template_and_needs_the_runtime_only(prod: Stage) -> None:
    code = prod.resources["Database/RoleMaker"].properties["Code"]["ZipFile"]
    assert len(code) <= 4096
    imported = set(re.findall(r"(?m)^\s*(?:import|from) (\w+)", code)) - set(sys.stdlib_module_names)
    assert imported == {"boto3", "cfnresponse"}


def test_an_idle_development_database_pauses(dev: Stage) -> None:
    cluster = dev.resources["Database/Cluster"].properties
    assert cluster["ServerlessV2ScalingConfiguration"] == {
        "MinCapacity": 0,
        "MaxCapacity": 2,
        "SecondsUntilAutoPause": 300,
    }
    assert cluster["DeletionProtection"] is False
