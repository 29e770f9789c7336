"""The jobs of deploy.yml after its checks, step by step, each in a fresh clone, against the emulator.

The stages have the local cloud's database, addresses and packages, and neither firewall nor gradual rollout,
which the emulator does not have. Twitch is not there: nobody signs in.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from cdk.packaging import ROOT
from local import deployment, emulator, postgres
from local.environment import aws_variables
from local.ports import Ports
from tests.fresh_clone import fresh_clone

pytestmark = pytest.mark.measured  # `make rehearsal`

JOBS = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text())["jobs"]
STAGES = ("dev", "prod")
NOT_EMULATED = ("waf", "gradual_rollout")
RESUMING_SECONDS = 15
# https://github.com/actions/upload-artifact: these cannot be in a file's name.
NOT_IN_NAMES = re.compile(r'[":<>|*?\r\n]')
# Told at each line of a command's output.
Watch = Callable[[str, str], None]


class Databases:
    """A server with a database for each stage, which can be paused."""

    def __init__(self, server: postgres.Postgres) -> None:
        self.server = server
        for stage in STAGES:
            self._do("create database {} owner {}", stage, postgres.USER)

    def pause(self, stage: str) -> None:
        """Refuse connections, as one does that is resuming."""
        self._do("alter database {} allow_connections false", stage)
        with self._superuser() as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [stage]
            )

    def resume(self, stage: str) -> None:
        """Take connections again."""
        self._do("alter database {} allow_connections true", stage)

    def _do(self, statement: str, *names: str) -> None:
        with self._superuser() as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _superuser(self) -> psycopg.Connection:
        url = self.server.url("postgres", postgres.SUPERUSER)
        return psycopg.connect(url, autocommit=True)


class Rehearsal:
    """The workflow's machines: a folder for each job's clone, and the artifacts between them."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        self.folder, self._ports = folder, ports
        self.artifacts = folder / "artifacts"

    def do(self, job: str, watch: Watch = lambda command, line: None) -> dict[str, str]:
        """Do a job's steps; returns what each command said."""
        clone = self.folder / job
        # Credentials come with their step. Nothing is set up: the clone borrows what this test runs with.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {"CI": "true", "MAKEFLAGS": "VENV= TOOLS= SITE="}
        said = {}
        for step in JOBS[job]["steps"]:
            given = step.get("with", {})
            match step.get("uses", "").partition("@")[0]:
                case "actions/checkout":
                    fresh_clone(clone)
                    self._choose_settings(clone / "cdk.json")
                case "actions/upload-artifact":
                    _copy(clone / given["path"], self.artifacts / given["name"])
                case "actions/download-artifact":
                    _copy(self.artifacts / given["name"], clone / given["path"])
                case "aws-actions/configure-aws-credentials":
                    environment |= aws_variables(emulator.endpoint(self._ports.emulator))
            if command := step.get("run", "").replace("${{ github.job }}", job):
                said[command] = _run(command, clone, environment, watch)
        return said

    def _choose_settings(self, file: Path) -> None:
        """Change the stages' settings as an operator does."""
        content = json.loads(file.read_text())
        stages = content["context"]["stages"]
        local: dict[str, Any] = {**stages["local"], **deployment.settings(self._ports, {})}
        for stage in STAGES:
            own = {name: value for name, value in stages[stage].items() if name not in NOT_EMULATED}
            stages[stage] = {
                **own,
                **local,
                "database": {**local["database"], "name": stage},
                "twitch": {**local["twitch"], "secret_name": f"fanfare/{stage}/twitch"},
            }
        file.write_text(json.dumps(content))


def _copy(folder: Path, to: Path) -> None:
    # By links: it is much.
    shutil.copytree(folder, to, copy_function=os.link)


def _run(command: str, folder: Path, environment: dict[str, str], watch: Watch) -> str:
    # As GitHub runs a step: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command]
    said = ""
    watch(command, "")
    with subprocess.Popen(
        shell,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            said += line
            watch(command, line)
    assert process.returncode == 0, f"{command}\n{said}"
    return said


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Databases]:
    with postgres.run_blocking(tmp_path / "postgres", durable=False) as server:
        yield Databases(server)


@pytest.fixture
def rehearsal(
    emulator_port: int, databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Rehearsal:
    """A rehearsal in an account with what has to be there before the first deployment."""
    with monkeypatch.context() as patch:
        for name, value in aws_variables(emulator.endpoint(emulator_port)).items():
            patch.setenv(name, value)
        twitch = {"client_id": "id", "client_secret": "secret"}
        deployment.prepare_account(
            {
                deployment.DATABASE_SECRET: {"password": databases.server.password},
                **{f"fanfare/{stage}/twitch": twitch for stage in STAGES},
            }
        )
    return Rehearsal(tmp_path, Ports(emulator_port, twitch=9, database=databases.server.port))


def test_what_is_built_once_is_deployed_to_dev_tried_there_and_deployed_to_prod(
    rehearsal: Rehearsal, databases: Databases
) -> None:
    def dev_is_paused(command: str, line: str) -> None:
        if command.startswith("make smoke"):
            if not line:
                databases.pause("dev")
            # The reads come next.
            if "security headers" in line:
                time.sleep(RESUMING_SECONDS)
                databases.resume("dev")

    rehearsal.do("build")
    uploaded = [path for path in rehearsal.artifacts.rglob("*") if path.is_file()]
    assert not [path for path in uploaded if NOT_IN_NAMES.search(str(path.relative_to(rehearsal.artifacts)))]
    *_, smoke = rehearsal.do("dev", dev_is_paused).values()
    waited = re.search(r"✓ reads: answered through the site after ([0-9.]+) s", smoke)
    # It asks again every five seconds.
    assert waited
    assert float(waited[1]) >= RESUMING_SECONDS - 5
    assert "✓ redelivery: delivered twice, counted once" in smoke
    *_, smoke = rehearsal.do("prod").values()
    assert "✓ redelivery: delivered twice, counted once" in smoke
    # What was built is what was deployed: a synthesis would write it anew.
    for stage in STAGES:
        manifest = Path(stage, "manifest.json")
        deployed = rehearsal.folder / stage / "cdk.out" / manifest
        built = rehearsal.artifacts / "assemblies" / manifest
        assert deployed.stat().st_mtime_ns == built.stat().st_mtime_ns
