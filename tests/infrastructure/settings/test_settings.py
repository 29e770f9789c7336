"""Settings: checked before anything is built, and wrong ones named."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import cdk.settings
from cdk.packaging import ROOT
from cdk.settings import Addresses, Aurora, ExternalDatabase, Settings, SettingsError, load
from ops.doctor import RESERVING
from tests.infrastructure.template import Stage, synthesise

CONTEXT = json.loads((ROOT / "cdk.json").read_text())["context"]
EXTERNAL = {"kind": "external", "host": "localhost", "secret_name": "database"}


def _load(**stage: Any) -> Settings:
    return load({"stage": "some", "stages": {"some": stage}})


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_the_stages_of_cdk_json_are_valid(stage: str) -> None:
    assert load({**CONTEXT, "stage": stage}).stage == stage


def test_the_stage_is_dev_unless_named() -> None:
    assert load(CONTEXT).stage == "dev"


def test_an_unknown_stage_is_answered_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"no stage 'staging'.*dev, local, prod"):
        load({**CONTEXT, "stage": "staging"})


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"retain_dta": True}, "retain_dta: unknown setting"),
        ({"database": {"kind": "aurora", "capacity": 1}}, "database.aurora.capacity: unknown setting"),
        ({"database": {"kind": "external", "host": "db"}}, "database.external.secret_name"),
        ({"database": {"kind": "mysql"}}, "database"),
        ({"database": {"kind": "aurora", "min_capacity": 0.3}}, "database.aurora.min_capacity"),
        ({"database": {"kind": "aurora", "min_capacity": 8, "max_capacity": 2}}, "database.aurora"),
        ({"log_level": "LOUD"}, "log_level"),
        ({"log_retention_days": 8}, "log_retention_days"),
        ({"packages": "windows"}, "packages"),
        ({"twitch": {"api_url": "api.twitch.tv/helix"}}, "twitch.api_url"),
        ({"twitch": {"api_url": "https://api.twitch.tv/helix/"}}, "twitch.api_url"),
        ({"addresses": {"http_api": "https://{apiid}.example.com"}}, "addresses.http_api"),
        ({"addresses": {"site": "https://{domain}/"}}, "addresses.site"),
        (
            {"domain": {"name": "a.example.com", "certificate_arn": "arn:aws:acm:eu-west-1:1:certificate/x"}},
            "domain",
        ),
        ({"domain": {"name": "a.example.com"}}, "needs hosted_zone, certificate_arn or both"),
        (
            {"domain": {"name": "a.example.com", "hosted_zone": {"id": "Z1", "name": "example.org"}}},
            "a.example.com is not in the hosted zone example.org",
        ),
        (
            {"domain": {"name": "a.example.com", "hosted_zone": {"id": "Z1", "name": "example.com"}}},
            "region must be set",
        ),
        ({"waf": {}}, "region must be set with waf"),
        ({"region": "us-east-1", "waf": {"requests_per_five_minutes": 1}}, "waf.requests_per_five_minutes"),
        ({"account": "12345"}, "account"),
        ({"region": "virginia"}, "region"),
        ({"alarm_email": "operators"}, "alarm_email"),
        ({"broadcast_concurrency": 1}, "broadcast_concurrency"),
        ({"http_throttle": {"rate": 0, "burst": 1}}, "http_throttle.rate"),
        ({"grace_period_seconds": -1}, "grace_period_seconds"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], name: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        _load(**values)
    assert name in str(refusal.value)
    assert "'some'" in str(refusal.value)


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as refusal:
        _load(log_level="LOUD", twitch={"api": "x"})
    assert "log_level" in str(refusal.value)
    assert "twitch.api: unknown setting" in str(refusal.value)


def test_a_settings_file_is_merged_over_the_stage(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"database": {"port": 6543}, "log_level": "DEBUG"}))
    stages = {"some": {"database": EXTERNAL, "log_retention_days": 30}}
    settings = load({"stage": "some", "stages": stages, "settings-file": str(file)})
    assert isinstance(settings.database, ExternalDatabase)
    assert (settings.database.host, settings.database.port) == ("localhost", 6543)
    assert (settings.log_level, settings.log_retention_days) == ("DEBUG", 30)


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_an_unreadable_settings_file_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "settings.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=r"settings-file .*settings\.json"):
        load({**CONTEXT, "settings-file": str(file)})


def test_the_local_stage_needs_its_settings_file() -> None:
    with pytest.raises(SettingsError, match=r"database"):
        load({**CONTEXT, "stage": "local"})


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        _load().stage = "other"


def test_defaults_are_aws_and_twitch() -> None:
    settings = _load()
    assert settings.database == Aurora()
    assert settings.addresses == Addresses()
    assert settings.twitch.api_url == "https://api.twitch.tv/helix"
    assert settings.twitch_secret_name == "fanfare/some/twitch"


MODELS = sorted(
    (
        found
        for found in vars(cdk.settings).values()
        if isinstance(found, type) and issubclass(found, BaseModel)
    ),
    key=lambda model: model.__name__,
)


@pytest.mark.parametrize("model", MODELS)
def test_every_setting_is_documented(model: type[BaseModel]) -> None:
    fields = {name: field for name, field in model.model_fields.items() if name != "kind"}
    assert [name for name, field in fields.items() if not field.description] == []


def test_every_feature_flag_of_the_cdk_is_set(prod: Stage) -> None:
    # A new version of the CDK brings new ones: what each recommends is to be read, and set.
    report = json.loads((prod.assembly / "manifest.json").read_text())["artifacts"]
    flags = report["aws-cdk-lib/feature-flag-report"]["properties"]["flags"]
    # Without a value the others already do what is recommended.
    unset = {name: flag for name, flag in flags.items() if "userValue" not in flag}
    assert [
        name
        for name, flag in unset.items()
        if flag.get("unconfiguredBehavesLike", {}).get("v2", False) != flag["recommendedValue"]
    ] == []


def test_synthesis_stops_with_the_name_and_without_a_traceback() -> None:
    stages = {"dev": {"retain_dta": True}}
    environment = {**os.environ, "CDK_CONTEXT_JSON": json.dumps({"stages": stages})}
    run = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr.strip().splitlines() == [
        "fanfare: wrong settings for stage 'dev':",
        "  retain_dta: unknown setting",
    ]


def test_what_a_stage_reserves_of_the_accounts_concurrency_is_known(prod: Stage) -> None:
    # `make doctor` compares it with what the account has left.
    reserved = {
        found["FunctionName"]: found["ReservedConcurrentExecutions"]
        for found in prod.of_type("AWS::Lambda::Function").values()
        if "ReservedConcurrentExecutions" in found
    }
    assert sum(reserved.values()) == load({**CONTEXT, "stage": "prod"}).reserved_concurrency == 243
    assert reserved.keys() == {f"fanfare-prod-{job}" for job in RESERVING}


def test_a_new_account_can_do_without_reserved_concurrency(tmp_path: Path) -> None:
    stage = synthesise("small", tmp_path, stages={"small": {"reserve_concurrency": False}})
    for path, function in stage.of_type("AWS::Lambda::Function").items():
        assert "ReservedConcurrentExecutions" not in function, path
