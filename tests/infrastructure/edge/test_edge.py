"""The stack in us-east-1, and the site's own domain."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.infrastructure.template import Stage, synthesise

ZONE = {"id": "Z0123456789ABCDEFGHIJ", "name": "example.com"}
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/example"


def _stage(directory: Path, **settings: Any) -> Stage:
    return synthesise("own", directory, stages={"own": settings})


def _environment(stage: Stage, stack: str) -> str:
    manifest = json.loads((stage.assembly / "manifest.json").read_text())["artifacts"]
    environment: str = manifest[f"Fanfare-own-{stack}"]["environment"]
    return environment


@pytest.fixture(scope="module")
def frankfurt(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A stage in another Region, with a firewall and a certificate made for its domain."""
    domain = {"name": "fanfare.example.com", "hosted_zone": ZONE}
    return _stage(
        tmp_path_factory.mktemp("frankfurt"),
        account="123456789012",
        region="eu-central-1",
        waf={"requests_per_five_minutes": 1000},
        domain=domain,
    )


def test_the_firewall_and_the_certificate_are_in_us_east_1_whatever_the_stages_region(
    frankfurt: Stage,
) -> None:
    assert _environment(frankfurt, "Edge") == "aws://123456789012/us-east-1"
    for stack in ("Data", "App"):
        assert _environment(frankfurt, stack) == "aws://123456789012/eu-central-1"
    edge = frankfurt.paths["Edge"].read_text()
    assert "AWS::WAFv2::WebACL" in edge
    assert "AWS::CertificateManager::Certificate" in edge


def test_the_distribution_takes_both_from_there(frankfurt: Stage) -> None:
    configuration = frankfurt.resources["Site/Distribution"].properties["DistributionConfig"]
    assert configuration["WebACLId"] == "{WebAcl.Arn}"
    certificate = configuration["ViewerCertificate"]
    assert certificate["AcmCertificateArn"] == "{Certificate}"
    assert certificate["MinimumProtocolVersion"] == "TLSv1.2_2021"
    assert configuration["Aliases"] == ["fanfare.example.com"]


def test_the_certificate_is_validated_in_the_zone_and_the_zone_leads_to_the_distribution(
    frankfurt: Stage,
) -> None:
    (certificate,) = frankfurt.of_type("AWS::CertificateManager::Certificate").values()
    assert certificate["DomainName"] == "fanfare.example.com"
    assert certificate["DomainValidationOptions"] == [
        {"DomainName": "fanfare.example.com", "HostedZoneId": ZONE["id"]}
    ]
    records = frankfurt.of_type("AWS::Route53::RecordSet").values()
    assert {(record["Name"], record["Type"], record["HostedZoneId"]) for record in records} == {
        ("fanfare.example.com.", kind, ZONE["id"]) for kind in ("A", "AAAA")
    }
    assert all(record["AliasTarget"]["DNSName"] == "{Site/Distribution.DomainName}" for record in records)


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_nothing_in_us_east_1_is_held_by_an_export(tmp_path: Path, region: str) -> None:
    # Or a domain could not be changed, nor the firewall be turned off beside a domain.
    domain = {"name": "fanfare.example.com", "hosted_zone": ZONE}
    stage = _stage(tmp_path, account="123456789012", region=region, waf={}, domain=domain)
    edge, app = (json.loads(stage.paths[name].read_text()) for name in ("Edge", "App"))
    assert edge["Outputs"]
    assert not any("Export" in output for output in edge["Outputs"].values())
    assert "Fanfare-own-Edge:" not in json.dumps(app)
    assert not any(
        resource["Type"].startswith("Custom::CrossRegion") for resource in app["Resources"].values()
    )
    # CloudFront uses the former certificate until the new one is in place.
    (certificate,) = (
        resource
        for resource in edge["Resources"].values()
        if resource["Type"] == "AWS::CertificateManager::Certificate"
    )
    assert certificate["UpdateReplacePolicy"] == "Retain"


def test_without_the_firewall_the_distribution_refers_to_none(tmp_path: Path) -> None:
    # So it can be deployed before the firewall is deleted, which CloudFront must not use then.
    domain = {"name": "fanfare.example.com", "hosted_zone": ZONE}
    stage = _stage(tmp_path, account="123456789012", region="eu-central-1", domain=domain)
    configuration = stage.resources["Site/Distribution"].properties["DistributionConfig"]
    assert "WebACLId" not in configuration
    assert configuration["ViewerCertificate"]["AcmCertificateArn"] == "{Certificate}"


def test_nothing_is_looked_up_even_for_a_known_account_and_region(frankfurt: Stage) -> None:
    assert "missing" not in json.loads((frankfurt.assembly / "manifest.json").read_text())


def test_the_firewall_limits_an_address_and_blocks_what_aws_knows_as_bad(prod: Stage) -> None:
    acl = prod.resources["WebAcl"].properties
    assert (acl["Scope"], acl["DefaultAction"]) == ("CLOUDFRONT", {"Allow": {}})
    limit, *managed = acl["Rules"]
    assert limit["Action"] == {"Block": {}}
    assert limit["Statement"]["RateBasedStatement"] == {
        "AggregateKeyType": "IP",
        "EvaluationWindowSec": 300,
        "Limit": 3000,
    }
    assert [rule["Statement"]["ManagedRuleGroupStatement"]["Name"] for rule in managed] == [
        "AWSManagedRulesCommonRuleSet",
        "AWSManagedRulesKnownBadInputsRuleSet",
    ]
    # "Count" would let everything pass.
    assert all(rule["OverrideAction"] == {"None": {}} for rule in managed)
    assert [rule["Priority"] for rule in acl["Rules"]] == [0, 1, 2]


def test_a_stage_without_either_has_no_stack_there(local: Stage) -> None:
    assert local.paths.keys() == {"Data", "App"}


def test_a_certificate_of_ones_own_is_used_and_needs_neither_a_zone_nor_a_stack_there(tmp_path: Path) -> None:
    stage = _stage(tmp_path, domain={"name": "fanfare.example.com", "certificate_arn": CERTIFICATE})
    assert stage.paths.keys() == {"Data", "App"}
    assert stage.of_type("AWS::Route53::RecordSet") == {}
    configuration = stage.resources["Site/Distribution"].properties["DistributionConfig"]
    assert configuration["Aliases"] == ["fanfare.example.com"]
    assert configuration["ViewerCertificate"] == {
        "AcmCertificateArn": CERTIFICATE,
        "MinimumProtocolVersion": "TLSv1.2_2021",
        "SslSupportMethod": "sni-only",
    }
    assert stage.outputs["SiteUrl"] == "https://fanfare.example.com"
    client = stage.resources["Identity/Site"].properties
    assert client["CallbackURLs"] == ["https://fanfare.example.com/callback"]
