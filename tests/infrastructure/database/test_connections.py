"""Connections: all functions together open fewer than the smallest database accepts."""

from typing import Any

import pytest

from cdk.settings import SettingsError, load
from tests.infrastructure.functions import DATABASE_FUNCTIONS, FUNCTIONS
from tests.infrastructure.template import Stage, synthesise

SHARED = [job for job in DATABASE_FUNCTIONS if FUNCTIONS[job].shares_connections]
DIRECT = [job for job in DATABASE_FUNCTIONS if not FUNCTIONS[job].shares_connections]
PROXIED = {"kind": "aurora", "min_capacity": 0.5, "max_capacity": 1, "proxy": True}


def most_at_once(stage: Stage, job: str) -> int:
    """How many connections a function may have: each keeps one, the archiver two."""
    if reserved := stage.function(job).get("ReservedConcurrentExecutions"):
        return int(reserved) * (2 if job == "archiver" else 1)
    (source,) = (
        found
        for found in stage.of_type("AWS::Lambda::EventSourceMapping").values()
        if found["FunctionName"] == f"{{{FUNCTIONS[job].construct}}}"
    )
    return int(source["ScalingConfig"]["MaximumConcurrency"])


def test_twice_all_connections_fit_into_the_smallest_database(prod: Stage) -> None:
    # Twice: a release's functions connect before those that they replace are gone.
    wanted = 2 * sum(most_at_once(prod, job) for job in DATABASE_FUNCTIONS)
    assert wanted <= 189 - 20, "Aurora Serverless v2 with one capacity unit"
    assert wanted <= 100 - 3, "PostgreSQL as it comes, superusers' connections excepted"


@pytest.mark.parametrize(
    ("database", "reads"),
    [
        ({"min_capacity": 0.5, "max_capacity": 1}, 77),
        ({"min_capacity": 0.5, "max_capacity": 128}, 983),  # 2,000 connections for small minimums
        ({"min_capacity": 1, "max_capacity": 8}, 739),
    ],
)
def test_more_readers_than_a_database_accepts_are_refused(database: dict[str, Any], reads: int) -> None:
    def settings(**values: Any) -> None:
        load({"stages": {"dev": {"database": {"kind": "aurora", **database}, **values}}})

    settings(read_concurrency=reads - 1)
    with pytest.raises(SettingsError, match=r"read_concurrency: .* turn database.proxy on"):
        settings(read_concurrency=1000)


def test_behind_a_proxy_the_number_of_readers_is_free_and_the_cluster_awake() -> None:
    load({"stages": {"dev": {"database": PROXIED, "read_concurrency": 1000}}})
    with pytest.raises(SettingsError, match="min_capacity must be above 0"):
        load({"stages": {"dev": {"database": {**PROXIED, "min_capacity": 0}}}})


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A stage whose functions share connections."""
    stages = {"dev": {"database": PROXIED, "read_concurrency": 200}}
    return synthesise("dev", tmp_path_factory.mktemp("proxied"), stages=stages)


class TestProxy:
    def test_it_takes_iam_tokens_over_tls_and_signs_in_with_them_itself(self, proxied: Stage) -> None:
        (proxy,) = proxied.of_type("AWS::RDS::DBProxy").values()
        assert proxy["RequireTLS"] is True
        assert proxy["DefaultAuthScheme"] == "IAM_AUTH"
        assert "SecretArn" not in str(proxy)
        users = "arn:{Partition}:rds-db:{Region}:{AccountId}:dbuser:{Database/Cluster.DBClusterResourceId}"
        assert proxied.grants("Database/ProxyRole") == [f"rds-db:connect on {users}/fanfare"]

    def test_it_leaves_connections_to_functions_that_connect_directly(self, proxied: Stage) -> None:
        (group,) = proxied.of_type("AWS::RDS::DBProxyTargetGroup").values()
        percent = group["ConnectionPoolConfigurationInfo"]["MaxConnectionsPercent"]
        direct = 2 * sum(most_at_once(proxied, job) for job in DIRECT)
        assert direct + 20 <= 189 * (100 - percent) / 100

    @pytest.mark.parametrize("job", SHARED)
    def test_recorder_and_query_connect_through_it(self, proxied: Stage, job: str) -> None:
        variables = proxied.function(job)["Environment"]["Variables"]
        assert variables["DATABASE_HOST"] == "{Database/Proxy.Endpoint}"
        assert variables["DATABASE_PROXY"] == "1"
        (sign_in,) = (
            grant for grant in proxied.grants(f"{FUNCTIONS[job].construct}Role") if "rds-db" in grant
        )
        assert "{Database/Proxy.DBProxyArn}" in sign_in
        assert sign_in.endswith("/fanfare")

    @pytest.mark.parametrize("job", DIRECT)
    def test_migrations_and_upkeep_connect_directly(self, proxied: Stage, job: str) -> None:
        variables = proxied.function(job)["Environment"]["Variables"]
        assert variables["DATABASE_HOST"] == "{Database/Cluster.Endpoint.Address}"
        assert "DATABASE_PROXY" not in variables

    def test_its_certificate_can_be_verified(self, proxied: Stage) -> None:
        # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-proxy.howitworks.html#rds-proxy-security.tls
        bundle = (proxied.package("query") / "rds-ca.pem").read_text()
        assert "Amazon Root CA 1" in bundle

    def test_only_the_functions_reach_it_and_it_reaches_only_the_database(self, proxied: Stage) -> None:
        ways = {
            (rule["SourceSecurityGroupId"], rule["GroupId"])
            for rule in proxied.of_type("AWS::EC2::SecurityGroupIngress").values()
        }
        clients, proxy = "{Database/Clients.GroupId}", "{Database/ProxyGroup.GroupId}"
        cluster = "{Database/Cluster/SecurityGroup.GroupId}"
        assert ways == {(clients, cluster), (clients, proxy), (proxy, cluster)}


def test_without_the_setting_there_is_no_proxy(prod: Stage) -> None:
    assert prod.of_type("AWS::RDS::DBProxy") == {}


class TestExternal:
    def test_a_server_elsewhere_needs_a_certificate_authority(self) -> None:
        with pytest.raises(SettingsError, match="ca_file"):
            load({"stages": {"dev": {"database": external("db.example.com")}}})
        for host in ("127.0.0.1", "::1", "localhost"):
            load({"stages": {"dev": {"database": external(host)}}})

    def test_a_missing_file_is_named(self) -> None:
        with pytest.raises(SettingsError, match="ca_file"):
            load({"stages": {"dev": {"database": external("db.example.com", ca_file="missing.pem")}}})

    def test_functions_verify_it(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        authority = tmp_path_factory.mktemp("authority") / "ca.pem"
        authority.write_text("-----BEGIN CERTIFICATE-----\n")
        stages = {"dev": {"database": external("db.example.com", ca_file=str(authority))}}
        stage = synthesise("dev", tmp_path_factory.mktemp("external"), stages=stages)
        variables = stage.function("query")["Environment"]["Variables"]
        assert (stage.package("query") / variables["DATABASE_CA_FILE"]).read_bytes() == authority.read_bytes()


def external(host: str, **values: str) -> dict[str, str]:
    return {"kind": "external", "host": host, "secret_name": "database", **values}
