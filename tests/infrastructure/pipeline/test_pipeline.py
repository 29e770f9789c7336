"""What the workflows may do, which workflow may do it, and that they run make targets only."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from aws_cdk import App
from cdk_nag import AwsSolutionsChecks

from cdk.packaging import LAMBDA_PYTHON, ROOT
from cdk.pipeline import PipelineStack, load
from cdk.settings import SettingsError
from tests.infrastructure.conftest import CONTEXT, REPOSITORY
from tests.infrastructure.template import Stage

GITHUB = "token.actions.githubusercontent.com"
SUBJECTS = ("repo:owner@12/name@345", "repo:owner/name")
WORKFLOWS = {path.stem: path for path in (ROOT / ".github" / "workflows").iterdir()}


def test_a_role_is_for_one_repository_and_one_environment(pipeline: Stage) -> None:
    trusted = {}
    for path, role in pipeline.of_type("AWS::IAM::Role").items():
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
        assert statement["Principal"] == {"Federated": "{GitHub}"}
        claims = statement["Condition"]["StringEquals"]
        assert claims[f"{GITHUB}:aud"] == "sts.amazonaws.com"
        trusted[path] = claims[f"{GITHUB}:sub"]
    # Both forms that GitHub has: with ids since July 2026, with names only for older repositories.
    assert trusted == {
        role: [f"{subject}:{context}" for subject in SUBJECTS]
        for role, context in (
            ("Diff", "pull_request"),
            ("Dev", "environment:dev"),
            ("Prod", "environment:prod"),
        )
    }


def bootstrap_role(stage: str, role: str, region: str) -> str:
    """The ARN of a role of a stage's bootstrap stack."""
    qualifier = CONTEXT["stages"][stage]["bootstrap_qualifier"]
    return f"arn:{{Partition}}:iam::{{AccountId}}:role/cdk-{qualifier}-{role}-role-{{AccountId}}-{region}"


def test_pull_requests_may_look_and_nothing_else(pipeline: Stage) -> None:
    lookups = [bootstrap_role("dev", "lookup", region) for region in ("us-east-1", "{Region}")]
    lookups.append(bootstrap_role("prod", "lookup", "us-east-1"))
    assert pipeline.grants("Diff") == sorted(f"sts:AssumeRole on {role}" for role in lookups)


def test_a_stages_role_deploys_by_way_of_the_bootstrap_roles_and_smokes_its_own_stage(
    pipeline: Stage,
) -> None:
    here = "{Region}:{AccountId}"
    assumed = [
        f"sts:AssumeRole on {bootstrap_role('dev', role, region)}"
        for role in ("deploy", "file-publishing", "lookup")
        for region in ("us-east-1", "{Region}")
    ]
    secret = f"arn:{{Partition}}:secretsmanager:{here}:secret"
    itself = [
        f"cloudformation:DescribeStacks on arn:{{Partition}}:cloudformation:{here}:stack/Fanfare-dev-App/*",
        f"dynamodb:PutItem on arn:{{Partition}}:dynamodb:{here}:table/fanfare-dev-tickets",
        f"lambda:GetFunctionConfiguration on arn:{{Partition}}:lambda:{here}:function:fanfare-dev-webhook",
        f"lambda:InvokeFunction on arn:{{Partition}}:lambda:{here}:function:fanfare-dev-archiver",
        f"secretsmanager:DescribeSecret on {secret}:fanfare/dev/twitch-??????",
        f"secretsmanager:DescribeSecret on {secret}:HttpApiOriginSecret*",
        f"secretsmanager:GetSecretValue on {secret}:WebhookSecret*",
        f"sns:ListSubscriptionsByTopic on arn:{{Partition}}:sns:{here}:fanfare-dev-events",
        *(
            f"sqs:GetQueueAttributes on arn:{{Partition}}:sqs:{here}:fanfare-dev-{queue}"
            for queue in ("broadcast", "broadcast-dead-letters", "record", "record-dead-letters")
        ),
    ]
    assert pipeline.grants("Dev") == sorted([*assumed, *itself])


def test_no_stages_role_may_do_what_anothers_may(pipeline: Stage) -> None:
    assert not {*pipeline.grants("Dev")} & {*pipeline.grants("Prod")}


def test_the_roles_need_no_bootstrap_stack(pipeline: Stage) -> None:
    assert "BootstrapVersion" not in pipeline.paths["App"].read_text()


def test_no_rule_finds_anything(pipeline: Stage) -> None:
    assert [found.rule_name for found in AwsSolutionsChecks().validate_scope(pipeline.app).violations] == []


def test_an_accounts_provider_can_be_used_again(tmp_path: Path) -> None:
    app = App(outdir=str(tmp_path))
    arn = f"arn:aws:iam::123456789012:oidc-provider/{GITHUB}"
    PipelineStack(app, *load({**CONTEXT, **REPOSITORY, "oidc-provider": arn}))
    app.synth()
    text = (tmp_path / "Fanfare-Pipeline.template.json").read_text()
    assert arn in text
    assert "AWS::IAM::OIDCProvider" not in text


@pytest.mark.parametrize(
    ("context", "name"),
    [
        ({}, "repository.name"),
        ({**REPOSITORY, "repository": "fanfare"}, "repository.name"),
        ({"repository": "owner/fanfare", "repository-id": "345"}, "repository.owner_id"),
        ({**REPOSITORY, "repository-id": "x"}, "repository.id"),
        ({**REPOSITORY, "pipeline-stages": "dev,staging"}, "no stage 'staging'"),
    ],
)
def test_a_wrong_setting_is_named(context: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load({**CONTEXT, **context})


def _steps(workflow: str) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(WORKFLOWS[workflow].read_text())["jobs"].values()
    return [step for job in jobs for step in job.get("steps", ())]


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_workflows_run_make_targets_only(workflow: str) -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    commands = [step["run"] for step in _steps(workflow) if "run" in step]
    assert commands
    for command in commands:
        found = re.fullmatch(
            r'make ([a-z]+)( [A-Z]+=\S*( \}\})?)*( >> "\$GITHUB_STEP_SUMMARY")?', _plain(command)
        )
        assert found, command
        assert found[1] in targets


def _plain(command: str) -> str:
    """The command with its expressions written as one word."""
    return re.sub(r"\$\{\{ (\S+) \}\}", r"\1", command)


def test_what_builds_packages_has_the_functions_python_behind_the_projects() -> None:
    for path in WORKFLOWS.values():
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            steps = job.get("steps", ())
            pythons = [step["with"] for step in steps if "setup-python" in step.get("uses", "")]
            if any("make synth" in step.get("run", "") for step in steps):
                # The last one is first on the PATH.
                expected = [{"python-version": LAMBDA_PYTHON}, {"python-version-file": ".python-version"}]
                assert pythons == expected, name


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_actions_are_pinned_to_a_commit_and_name_its_version(workflow: str) -> None:
    used = re.findall(r"uses: (\S+)(.*)", WORKFLOWS[workflow].read_text())
    assert used
    for action, comment in used:
        if not action.startswith("$/"):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


def test_an_action_has_one_version_everywhere() -> None:
    used = {
        tuple(action.split("@"))
        for path in WORKFLOWS.values()
        for action in re.findall(r"uses: ([^\s$]\S+)", path.read_text())
    }
    assert len(used) == len({name for name, _ in used})


def test_no_permission_is_given_to_all_jobs_and_no_secret_is_read() -> None:
    for path in WORKFLOWS.values():
        assert yaml.safe_load(path.read_text())["permissions"] == {}
        assert "secrets." not in path.read_text()


def test_production_waits_for_dev_and_for_its_environment() -> None:
    jobs = yaml.safe_load(WORKFLOWS["deploy"].read_text())["jobs"]
    assert [jobs[name]["needs"] for name in ("build", "dev", "prod")] == ["check", "build", "dev"]
    assert (jobs["dev"]["environment"], jobs["prod"]["environment"]) == ("dev", "prod")
    # What was tried in dev is what goes to prod.
    assert jobs["dev"]["steps"] == jobs["prod"]["steps"]
    assert not any("synth" in step.get("run", "") for step in jobs["prod"]["steps"])


def test_a_run_that_waits_for_prods_approval_does_not_keep_others_from_dev() -> None:
    workflow = yaml.safe_load(WORKFLOWS["deploy"].read_text())
    assert "concurrency" not in workflow
    groups = {name: job.get("concurrency") for name, job in workflow["jobs"].items()}
    # Nothing cancels a deployment that has begun.
    assert groups == {
        "check": None,
        "build": None,
        "dev": {"group": "deploy-dev"},
        "prod": {"group": "deploy-prod"},
    }
