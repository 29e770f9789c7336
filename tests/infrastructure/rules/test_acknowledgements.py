"""Findings of cdk-nag's AwsSolutions rules are fixed, or acknowledged on one construct and listed here."""

from pathlib import Path
from typing import Any

from aws_cdk import App, Validations
from aws_cdk import Stack as CdkStack
from aws_cdk import aws_sqs as sqs
from cdk_nag import AwsSolutionsChecks

from tests.infrastructure.functions import BEHIND_APIS, IN_DATABASE_NETWORK
from tests.infrastructure.template import Stage, synthesise

BASIC_EXECUTION = (
    "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]"
)
UPLOADER = "Custom::CDKBucketDeployment8693BB64968944B69AAFB0CC9EB8756C"
ASSETS = "arn:aws:s3:::cdk-fanfprod-assets-<AWS::AccountId>-us-east-1"
CONNECTIONS = "arn:aws:execute-api:us-east-1:<AWS::AccountId>:<LiveApi149456B6>/live"

PROD = {
    "Data/Database/Vpc": {"VPC7"},
    "Data/Database/Cluster/Secret": {"SMG4"},
    "Data/Exports": {"S1"},
    "Data/WebhookSecret": {"SMG4"},
    "App/Identity/Users": {"COG1", "COG2", "COG8"},
    "App/HttpApi/POST--webhooks--twitch": {"APIG4"},
    "App/HttpApi/OriginSecret": {"SMG4"},
    "App/Live/Api/$disconnect-Route": {"APIG4"},
    "App/Live/Api/$default-Route": {"APIG4"},
    "App/Live/Api/ping-Route": {"APIG4"},
    "App/Live/Stage": {"APIG1"},
    **{
        f"App/{function}Role": {
            f"IAM5[Resource::{CONNECTIONS}/{method}/@connections/*]" for method in ("DELETE", "POST")
        }
        for function in ("Live/Broadcaster", "Live/Connection", "Subscriptions/Overlay")
    },
    **{f"App/{function}Role": {"IAM5[Resource::*]"} for function in IN_DATABASE_NETWORK},
    "App/History/ArchiverRole": {
        "IAM5[Resource::*]",
        "IAM5[Resource::Fanfare-prod-Data:ExportsOutputFnGetAttExports25637AFBArn08434897/events/*]",
    },
    **{
        f"App/{function}/Rollout/ServiceRole": {
            "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSCodeDeployRoleForLambdaLimited]"
        }
        for function in BEHIND_APIS
    },
    "App/Site/Bucket": {"S1"},
    "App/Site/Distribution": {"CFR1", "CFR3", "CFR4"},
    f"App/{UPLOADER}": {
        "L1",
        BASIC_EXECUTION,
        "IAM5[Resource::*]",
        f"IAM5[Resource::{ASSETS}/*]",
        "IAM5[Resource::<SiteBucket978D4AEB.Arn>/*]",
        *(
            f"IAM5[Action::s3:{action}*]"
            for action in ("Abort", "DeleteObject", "GetBucket", "GetObject", "List")
        ),
    },
}
# Data that may be lost, and no firewall.
DEV = {
    **{
        f"Data/{table}": {"DDB3"}
        for table in (
            "Channels",
            "Connections",
            "Grants",
            "Tickets",
            "Overlays",
            "Inboxes",
            "Viewers",
            "Twitch",
        )
    },
    "Data/Database/Cluster": {"RDS10"},
    "App/Site/Distribution": {"CFR1", "CFR2", "CFR3", "CFR4"},
}


def _acknowledged(stage: Stage) -> dict[str, dict[str, str]]:
    """Each construct's acknowledged findings with their reasons."""
    key = Validations.ACKNOWLEDGED_RULES_METADATA_KEY
    found: dict[str, dict[str, str]] = {}
    for construct in stage.app.node.find_all():
        for entry in construct.node.metadata:
            if entry.type == key:
                reasons = {
                    finding.rpartition("::AwsSolutions-")[2].removeprefix("AwsSolutions-"): reason
                    for finding, reason in entry.data.items()
                }
                found.setdefault(construct.node.path.split("-", 2)[2], {}).update(reasons)
    return found


def _findings(stage: Stage) -> list[str]:
    report = AwsSolutionsChecks().validate_scope(stage.app)
    return [
        f"{violation.rule_name} at {resource.construct_path}"
        for violation in report.violations
        for resource in violation.violating_resources
    ]


def test_production_has_no_finding_but_the_acknowledged_ones(prod: Stage) -> None:
    assert _findings(prod) == []
    assert {path: {*reasons} for path, reasons in _acknowledged(prod).items()} == PROD


def test_development_has_further_ones_because_it_may_lose_its_data(dev: Stage) -> None:
    assert _findings(dev) == []
    acknowledged = {path: {*reasons} for path, reasons in _acknowledged(dev).items()}
    assert {path: found for path, found in acknowledged.items() if found != PROD.get(path)}.keys() == {
        *DEV,
        # Their ARNs name no Region, or the other stack.
        "App/History/ArchiverRole",
        "App/Live/BroadcasterRole",
        "App/Live/ConnectionRole",
        "App/Subscriptions/OverlayRole",
        f"App/{UPLOADER}",
    }
    assert {path: acknowledged[path] for path in DEV} == DEV


def test_without_cognito_there_are_the_function_and_its_table(prod: Stage, twitch: Stage) -> None:
    assert _findings(twitch) == []
    ours, theirs = _acknowledged(twitch), _acknowledged(prod)
    assert theirs.keys() - ours.keys() == {"App/Identity/Users"}
    assert {path: {*ours[path]} for path in ours.keys() - theirs.keys()} == {
        "App/Identity/Sessions": {"DDB3"},
        "App/Identity/Session/Rollout/ServiceRole": {*theirs["App/Subscriptions/Watch/Rollout/ServiceRole"]},
    }


def test_every_optional_resource_is_checked_too(tmp_path: Path) -> None:
    zone = {"id": "Z0123456789ABCDEFGHIJ", "name": "example.com"}
    settings: dict[str, Any] = {
        "account": "123456789012",
        "region": "eu-central-1",
        "alarm_email": "operators@example.com",
        "waf": {},
        "domain": {"name": "fanfare.example.com", "hosted_zone": zone},
        "database": {"kind": "aurora", "readers": 1, "proxy": True},
    }
    stage = synthesise("full", tmp_path, stages={"full": settings})
    assert _findings(stage) == []
    # With a certificate of one's own there is nothing to acknowledge about it, nor about the firewall.
    assert _acknowledged(stage)["App/Site/Distribution"].keys() == {"CFR1", "CFR3"}


def test_an_acknowledgement_says_why_and_is_never_a_whole_stacks(prod: Stage) -> None:
    for path, reasons in _acknowledged(prod).items():
        assert "/" in path
        assert all(len(reason) > 20 for reason in reasons.values())


def test_a_finding_that_nobody_acknowledged_is_one(tmp_path: Path) -> None:
    app = App(outdir=str(tmp_path))
    sqs.Queue(CdkStack(app, "Some"), "Open")
    assert [found.rule_name for found in AwsSolutionsChecks().validate_scope(app).violations] != []
