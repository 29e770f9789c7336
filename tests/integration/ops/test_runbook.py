"""The runbook's commands for a restored database, against a stand-in: the emulator restores no cluster."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests import runbook

CLUSTER = "fanfare-dev-data-databasecluster-1"
ROLE = "arn:aws:iam::123456789012:role/Fanfare-dev-App-Role-1"
# What AWS answers, as far as the commands read it.
# https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_Operations.html
RESOURCES = f"""<StackResources><member><ResourceType>AWS::RDS::DBCluster</ResourceType>
<PhysicalResourceId>{CLUSTER}</PhysicalResourceId></member></StackResources>"""
CLUSTERS = """<DBClusters><DBCluster><Status>available</Status><DBSubnetGroup>subnets</DBSubnetGroup>
<VpcSecurityGroups><VpcSecurityGroupMembership><VpcSecurityGroupId>sg-1</VpcSecurityGroupId>
</VpcSecurityGroupMembership></VpcSecurityGroups><DBClusterParameterGroup>parameters</DBClusterParameterGroup>
<ServerlessV2ScalingConfiguration><MinCapacity>0.5</MinCapacity><MaxCapacity>4.0</MaxCapacity>
</ServerlessV2ScalingConfiguration><DBClusterArn>arn:aws:rds:us-east-1:123456789012:cluster:found</DBClusterArn>
<DbClusterResourceId>cluster-RESTORED</DbClusterResourceId></DBCluster></DBClusters>"""
INSTANCES = (
    """<DBInstances><DBInstance><DBInstanceStatus>available</DBInstanceStatus></DBInstance></DBInstances>"""
)
ANSWERS = {
    "DescribeStackResources": RESOURCES,
    "DescribeDBClusters": CLUSTERS,
    "DescribeDBInstances": INSTANCES,
}


@pytest.fixture
def calls() -> Iterator[tuple[dict[str, str], list[dict[str, Any]]]]:
    """The variables with which the AWS command line calls a stand-in, and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked.append(dict(parse_qsl(body)))
            action = asked[-1]["Action"]
            self._answer(f"<R><{action}Result>{ANSWERS.get(action, '')}</{action}Result></R>")

        def do_GET(self) -> None:
            asked.append({"Action": "GetFunctionConfiguration", "path": self.path})
            self._answer(f'{{"Role": "{ROLE}"}}')

        def _answer(self, text: str) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    yield variables, asked
    server.shutdown()
    thread.join()
    server.server_close()


def made(asked: list[dict[str, Any]], action: str) -> list[dict[str, Any]]:
    """The parameters of each call of an action."""
    return [call for call in asked if call["Action"] == action]


def test_a_backup_is_restored_beside_the_database_with_what_the_functions_need(
    calls: tuple[dict[str, str], list[dict[str, Any]]], tmp_path: Path
) -> None:
    variables, asked = calls
    runbook.run("Restoring a backup", variables, tmp_path, time="2026-11-26T09:30:00Z")
    (restored,) = made(asked, "RestoreDBClusterToPointInTime")
    expected = {
        "SourceDBClusterIdentifier": CLUSTER,
        "DBClusterIdentifier": "fanfare-restored",
        "RestoreToTime": "2026-11-26T09:30:00Z",
        "DBSubnetGroupName": "subnets",
        "VpcSecurityGroupIds.VpcSecurityGroupId.1": "sg-1",
        "DBClusterParameterGroupName": "parameters",
        "EnableIAMDatabaseAuthentication": "true",
        "ServerlessV2ScalingConfiguration.MinCapacity": "0.5",
        "ServerlessV2ScalingConfiguration.MaxCapacity": "4.0",
    }
    assert restored.items() >= expected.items()
    (writer,) = made(asked, "CreateDBInstance")
    assert (writer["DBClusterIdentifier"], writer["DBInstanceClass"]) == ("fanfare-restored", "db.serverless")
    # The console's query editor reads through the Data API.
    assert len(made(asked, "EnableHttpEndpoint")) == 1


def test_a_restored_database_takes_the_place_of_the_former_one(
    calls: tuple[dict[str, str], list[dict[str, Any]]], tmp_path: Path
) -> None:
    variables, asked = calls
    runbook.run("Replacing the database by the restored one", {**variables, "cluster": CLUSTER}, tmp_path)
    renamed = [
        (call["DBClusterIdentifier"], call["NewDBClusterIdentifier"])
        for call in made(asked, "ModifyDBCluster")
    ]
    assert renamed == [(CLUSTER, f"{CLUSTER}-former"), ("fanfare-restored", CLUSTER)]
    policies = made(asked, "PutRolePolicy")
    assert len(policies) == len(made(asked, "GetFunctionConfiguration")) == 5
    for policy in policies:
        assert policy["RoleName"] == "Fanfare-dev-App-Role-1"
        assert "dbuser:cluster-RESTORED/fanfare" in policy["PolicyDocument"]


def test_every_script_of_the_runbook_is_run_by_a_test() -> None:
    tests = (runbook.ROOT / "tests").rglob("test_*.py")
    text = "\n".join(path.read_text() for path in tests)
    assert [title for title in runbook.scripts() if f'"{title}"' not in text] == []
