"""`make doctor`: a good account passes every check; each fault is found, with what to do about it."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from cdk.packaging import ROOT
from cdk.settings import DATABASE_VERSION, Settings
from ops import checks
from ops.checks import Check, Failure, run_at_once
from ops.doctor import Doctor
from ops.stage_settings import settings_of
from tests.integration.ops.conftest import Answer, Serve
from tests.integration.ops.fake_account import FakeAccount

ACCOUNT = "123456789012"
SECRET = {"client_id": "client", "client_secret": "secret"}
PLAIN, IMMUTABLE = (f"repo:{name}:environment:prod" for name in ("owner/fanfare", "owner@12/fanfare@345"))
CERTIFICATE = f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/1"


def stacks(name: str) -> Any:
    outputs = {
        "Fanfare-prod-App": {"UserPoolId": "pool_1", "SiteUrl": "https://fanfare.example.com"},
        "Fanfare-Pipeline": {"ProdRoleArn": f"arn:aws:iam::{ACCOUNT}:role/Fanfare-Pipeline-Prod-1"},
    }[name]
    listed = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    return {"Stacks": [{"StackName": name, "Outputs": listed}]}


def trust(*subjects: str) -> Any:
    conditions = {"StringEquals": {"token.actions.githubusercontent.com:sub": [*subjects]}}
    policy = {"Statement": [{"Condition": conditions}]}
    return {"Role": {"AssumeRolePolicyDocument": quote(json.dumps(policy))}}


QUOTAS = {"L-BB3E7CCF": 25.0, "L-9ED1E49A": 500.0, "L-F8E2BA85": 30000.0}
# What each operation answers, or a function of its parameters that does.
GOOD: dict[str, Any] = {
    "GetCallerIdentity": {"Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/me"},
    "GetParameter": {"Parameter": {"Value": "28"}},
    "GetSecretValue": {"SecretString": json.dumps(SECRET)},
    "DescribeStacks": lambda parameters: stacks(parameters["StackName"]),
    "DescribeStackResources": {
        "StackResources": [{"ResourceType": "AWS::RDS::DBCluster", "PhysicalResourceId": "cluster"}]
    },
    "ListIdentityProviders": {"Providers": [{"ProviderName": "Twitch"}, {"ProviderName": "TwitchStreamer"}]},
    "DescribeIdentityProvider": {"IdentityProvider": {"ProviderDetails": SECRET}},
    "GetAccountSettings": {
        "AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}
    },
    "GetFunctionConcurrency": {},
    "GetAccount": {"throttleSettings": {"rateLimit": 10000.0}},
    "GetServiceQuota": lambda parameters: {"Quota": {"Value": QUOTAS[parameters["QuotaCode"]]}},
    "DescribeDBEngineVersions": {"DBEngineVersions": [{"EngineVersion": DATABASE_VERSION}]},
    "DescribeDBClusters": {"DBClusters": [{"EngineVersion": DATABASE_VERSION}]},
    "GetRole": trust(IMMUTABLE, PLAIN),
    "GetHostedZone": {"HostedZone": {"Name": "example.com.", "Config": {"PrivateZone": False}}},
    "DescribeCertificate": {"Certificate": {"Status": "ISSUED", "DomainName": "*.example.com"}},
}


@pytest.fixture
def doctor(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Doctor]:
    """A doctor of prod, with a domain, in an account that answers like GOOD but for what is given."""
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)

    def make(
        settings: dict[str, Any] | None = None,
        token: Answer = (200, {}, {"access_token": "t"}),
        subject: Answer = (404, {}, {}),
        **faults: Any,
    ) -> Doctor:
        answers = {
            "/token": token,
            "/repos/owner/fanfare/actions/oidc/customization/sub": subject,
            "/repos/owner/fanfare": (200, {}, {"full_name": "owner/fanfare", "id": 345, "owner": {"id": 12}}),
        }
        address = serve(lambda method, path, headers: answers[path])
        values = settings_of("prod").model_dump()
        values["twitch"]["auth_url"] = address
        values["domain"] = {
            "name": "fanfare.example.com",
            "hosted_zone": {"id": "Z0123456789ABCDEFGHIJ", "name": "example.com"},
            "certificate_arn": CERTIFICATE,
        }
        chosen = Settings.model_validate({**values, **(settings or {})})
        return Doctor(FakeAccount({**GOOD, **faults}), chosen, github=address)

    return make


def findings(doctor: Doctor, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """How many checks failed, and what was printed."""
    failures = run_at_once(doctor.checks(), within=60)
    return failures, capsys.readouterr().out


def test_a_good_account_passes(doctor: Callable[..., Doctor], capsys: pytest.CaptureFixture[str]) -> None:
    failures, output = findings(doctor(), capsys)
    assert failures == 0, output
    assert len(output.splitlines()) == 13
    assert "1000 at once; with the stage's 243 more, 757 stay unreserved" in output
    assert "/oauth2/idpresponse" in output


FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("credentials", {"settings": {"account": "210987654321"}}, "the stage belongs to 210987654321"),
    ("bootstrap", {"GetParameter": "ParameterNotFound"}, "Run `make bootstrap STAGE=prod`"),
    (
        "bootstrap",
        {"GetParameter": {"Parameter": {"Value": "20"}}},
        "version 20 in us-east-1 is older than 21",
    ),
    ("Twitch application", {"token": (403, {}, {})}, "Twitch refused the credentials in fanfare/prod/twitch"),
    (
        "Twitch at Cognito",
        {
            "DescribeIdentityProvider": {
                "IdentityProvider": {"ProviderDetails": {**SECRET, "client_secret": "old"}}
            }
        },
        "the identity provider Twitch has other credentials .* Run `make deploy STAGE=prod`",
    ),
    (
        "concurrent functions",
        {
            "GetAccountSettings": {
                "AccountLimit": {"ConcurrentExecutions": 342, "UnreservedConcurrentExecutions": 342}
            }
        },
        "reserves 243 more, and 100 must stay unreserved.* L-B99A9384 .*`reserve_concurrency` to false",
    ),
    ("API requests", {"GetAccount": {"throttleSettings": {"rateLimit": 500.0}}}, "L-8A5B8E43"),
    (
        "published events",
        {
            "GetServiceQuota": lambda given: {
                "Quota": {"Value": {**QUOTAS, "L-F8E2BA85": 300.0}[given["QuotaCode"]]}
            }
        },
        "AWS admits 300 messages published to SNS a second here, fewer than 2000",
    ),
    (
        "WebSocket connections",
        {
            "GetServiceQuota": lambda given: {
                "Quota": {"Value": {**QUOTAS, "L-9ED1E49A": 100.0}[given["QuotaCode"]]}
            }
        },
        "lower `websocket_throttle`",
    ),
    (
        "sign-ins",
        {
            "GetServiceQuota": lambda given: {
                "Quota": {"Value": {**QUOTAS, "L-BB3E7CCF": 5.0}[given["QuotaCode"]]}
            }
        },
        "--service-code cognito-idp --quota-code L-BB3E7CCF",
    ),
    ("GitHub", {"GetRole": trust(PLAIN)}, "Run `make pipeline REPOSITORY=owner/fanfare` again"),
    ("database version", {"DescribeDBEngineVersions": {"DBEngineVersions": []}}, "does not offer"),
    (
        "database version",
        {"DescribeDBClusters": {"DBClusters": [{"EngineVersion": "18.10"}]}},
        "the database runs 18.10, newer than .*DATABASE_VERSION",
    ),
    ("domain", {"GetHostedZone": "NoSuchHostedZone"}, "no hosted zone Z0123456789ABCDEFGHIJ"),
    (
        "domain",
        {"GetHostedZone": {"HostedZone": {"Name": "example.com.", "Config": {"PrivateZone": True}}}},
        "is private",
    ),
    (
        "domain",
        {"DescribeCertificate": {"Certificate": {"Status": "PENDING_VALIDATION", "DomainName": "x"}}},
        "PENDING_VALIDATION",
    ),
    (
        "domain",
        {"DescribeCertificate": {"Certificate": {"Status": "ISSUED", "DomainName": "other.example.com"}}},
        "for other.example.com, not for fanfare.example.com",
    ),
]


@pytest.mark.parametrize(
    ("check", "fault", "says"), FAULTS, ids=[f"{name}-{says}" for name, _, says in FAULTS]
)
def test_a_fault_is_found(
    doctor: Callable[..., Doctor],
    capsys: pytest.CaptureFixture[str],
    check: str,
    fault: dict[str, Any],
    says: str,
) -> None:
    failures, output = findings(doctor(**fault), capsys)
    assert failures == 1, output
    (line,) = (line for line in output.splitlines() if line.startswith("✗"))
    assert line.startswith(f"✗ {check}: ")
    assert re.search(says, line), line


def test_a_missing_secret_is_told_by_both_checks_that_need_it(
    doctor: Callable[..., Doctor], capsys: pytest.CaptureFixture[str]
) -> None:
    failures, output = findings(doctor(GetSecretValue="ResourceNotFoundException"), capsys)
    assert failures == 2
    assert output.count("there is no secret fanfare/prod/twitch. docs/deploying.md says how to make it") == 2


def test_what_the_stage_has_reserved_already_is_not_counted_twice(
    doctor: Callable[..., Doctor], capsys: pytest.CaptureFixture[str]
) -> None:
    deployed = {
        "GetAccountSettings": {
            "AccountLimit": {"ConcurrentExecutions": 343, "UnreservedConcurrentExecutions": 143}
        },
        "GetFunctionConcurrency": {"ReservedConcurrentExecutions": 40},
    }
    assert findings(doctor(**deployed), capsys)[0] == 0


def test_a_new_account_passes_once_nothing_is_reserved(
    doctor: Callable[..., Doctor], capsys: pytest.CaptureFixture[str]
) -> None:
    new = {"AccountLimit": {"ConcurrentExecutions": 10, "UnreservedConcurrentExecutions": 10}}
    failures, output = findings(
        doctor(settings={"reserve_concurrency": False}, GetAccountSettings=new), capsys
    )
    assert failures == 0, output
    assert "10 at once, of which the stage reserves none" in output
    assert "L-B99A9384" in output


def test_a_quota_that_was_never_changed_has_awss_default(
    doctor: Callable[..., Doctor], capsys: pytest.CaptureFixture[str]
) -> None:
    defaults = {
        "GetServiceQuota": "NoSuchResourceException",
        "GetAWSDefaultServiceQuota": GOOD["GetServiceQuota"],
    }
    assert findings(doctor(**defaults), capsys)[0] == 0


def test_a_first_deployment_has_nothing_to_compare(
    doctor: Callable[..., Doctor], capsys: pytest.CaptureFixture[str]
) -> None:
    missing = dict.fromkeys(("DescribeStacks", "DescribeStackResources"), "ValidationError")
    failures, output = findings(doctor(**missing), capsys)
    assert failures == 0, output
    assert "✓ Twitch at Cognito: not deployed yet" in output
    assert "`make pipeline` makes the roles" in output


def test_without_cognito_twitch_leads_back_to_the_site(
    doctor: Callable[..., Doctor], capsys: pytest.CaptureFixture[str]
) -> None:
    failures, output = findings(doctor({"sign_in": "twitch"}), capsys)
    assert failures == 0, output
    assert "the application at Twitch must list https://fanfare.example.com/callback" in output
    assert "Cognito" not in output
    assert "sign-ins" not in output
    first = doctor({"sign_in": "twitch"}, DescribeStacks="ValidationError")
    assert "must list <SiteUrl>/callback" in findings(first, capsys)[1]


@pytest.mark.parametrize(
    ("says", "trusted", "finding"),
    [
        (404, [IMMUTABLE, PLAIN], f"✓ GitHub: the role trusts {IMMUTABLE} and {PLAIN}, as GitHub says"),
        (
            404,
            [IMMUTABLE.replace("345", "999"), PLAIN],
            f"GitHub's tokens have {IMMUTABLE} or {PLAIN}, the role trusts others. Run `make pipeline",
        ),
        (
            {"sub_claim_prefix": "repo:owner@12/fanfare@345"},
            [IMMUTABLE, PLAIN],
            f"trusts {IMMUTABLE}, as GitHub",
        ),
        ({"sub_claim_prefix": "repo:owner/fanfare"}, [IMMUTABLE, PLAIN], f"trusts {PLAIN}, as GitHub"),
        (
            {"sub_claim_prefix": "repo:owner/renamed"},
            [IMMUTABLE, PLAIN],
            "GitHub's tokens have repo:owner/renamed:environment:prod, the role trusts others",
        ),
        (
            {"use_default": False, "include_claim_keys": ["actor"]},
            [IMMUTABLE, PLAIN],
            "gh api --method PUT repos/owner/fanfare/actions/oidc/customization/sub -F use_default=true",
        ),
    ],
)
def test_with_a_token_github_is_asked_which_subject_its_tokens_have(
    doctor: Callable[..., Doctor],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    says: int | dict[str, Any],
    trusted: list[str],
    finding: str,
) -> None:
    answer: Answer = (says, {}, {}) if isinstance(says, int) else (200, {}, {"use_default": True, **says})
    made = doctor(subject=answer, GetRole=trust(*trusted))
    monkeypatch.setenv("GITHUB_TOKEN", "t")
    failures, output = findings(made, capsys)
    assert finding in output
    assert failures == output.count("✗ GitHub: ") == (0 if "as GitHub" in finding else 1)


def test_what_does_not_answer_does_not_hold_the_rest_up(capsys: pytest.CaptureFixture[str]) -> None:
    answered = threading.Event()

    def waits() -> str:
        answered.wait(60)
        return "late"

    try:
        assert run_at_once([Check("slow", waits), Check("quick", lambda: "there")], within=3) == 1
    finally:
        answered.set()
    output = capsys.readouterr().out
    assert "✗ slow: no answer within" in output
    assert "✓ quick: there" in output


def test_the_command_ends_although_a_check_does_not() -> None:
    program = (
        "import threading; from ops.checks import Check, run_at_once; "
        "run_at_once([Check('slow', threading.Event().wait)], within=0.1)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert "✗ slow: no answer within" in done.stdout


def test_checks_that_need_each_other_stop_at_the_first_failure(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> str:
        raise Failure("broken")

    assert checks.run([Check("first", fails), Check("second", lambda: "")], stop_at_failure=True) == 1
    assert "second" not in capsys.readouterr().out


def test_an_awss_refusal_is_a_finding(
    doctor: Callable[..., Doctor], capsys: pytest.CaptureFixture[str]
) -> None:
    failures, output = findings(doctor(GetAccount="AccessDeniedException"), capsys)
    assert failures == 1
    assert "✗ API requests: An error occurred (AccessDeniedException)" in output
