"""The database in AWS: Aurora Serverless v2, which only the functions that need it can reach."""

from pathlib import Path

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
    role = prod.resources["Database/Role/Resource/Default"]
    assert {"Database/Cluster", "Database/Cluster/Writer"} <= role.depends_on
    for event in ("Create", "Update"):
        assert "create role fanfare login" in role.properties[event]
        assert "grant rds_iam to fanfare" in role.properties[event]


def test_an_idle_development_database_pauses(dev: Stage) -> None:
    cluster = dev.resources["Database/Cluster"].properties
    assert cluster["ServerlessV2ScalingConfiguration"] == {
        "MinCapacity": 0,
        "MaxCapacity": 2,
        "SecondsUntilAutoPause": 300,
    }
    assert cluster["DeletionProtection"] is False
