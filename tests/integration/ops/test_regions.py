"""The operators' commands work in the stage's Region, or in AWS_REGION."""

import pytest

from ops.bootstrap import options
from ops.checks import Failure
from ops.stage_settings import region_of, session, settings_of


@pytest.fixture(autouse=True)
def _no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")


def test_aws_region_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    # boto3 itself reads AWS_DEFAULT_REGION only.
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert session(None).region_name == "eu-central-1"


def test_a_stages_own_region_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert session(region_of("prod")).region_name == "us-east-1"


def test_without_any_it_says_so() -> None:
    with pytest.raises(Failure, match="AWS_REGION"):
        session(region_of("dev"))


def test_a_stage_is_bootstrapped_in_each_of_its_regions_with_a_qualifier_of_its_own() -> None:
    dev, prod = (settings_of(stage) for stage in ("dev", "prod"))
    assert options(dev, "123456789012", "eu-central-1") == [
        "aws://123456789012/eu-central-1",
        "--qualifier",
        "fanfdev",
        "--toolkit-stack-name",
        "CDKToolkit-fanfdev",
    ]
    elsewhere = options(prod, "123456789012", "eu-central-1")
    assert elsewhere[:2] == ["aws://123456789012/eu-central-1", "aws://123456789012/us-east-1"]
    assert "CDKToolkit-fanfprod" in elsewhere
