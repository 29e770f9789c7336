"""A stage's settings, as cdk.json has them, and a session in its Region."""

import json
import os
from pathlib import Path
from typing import Any

import boto3

from cdk.settings import Settings, load
from ops.checks import Failure

# Where CloudFront reads certificates and firewalls, whatever the stage's Region.
EDGE_REGION = "us-east-1"


def settings_of(stage: str, file: str | None = None) -> Settings:
    """The settings of a stage, with a settings file if one is named. Raises SettingsError."""
    return load({**_context(), "stage": stage, "settings-file": file})


def region_of(stage: str) -> str | None:
    """The Region that cdk.json gives a stage, which needs not be one that cdk.json knows."""
    region: str | None = _context()["stages"].get(stage, {}).get("region")
    return region


def regions(settings: Settings, region: str) -> list[str]:
    """The Regions of a stage's stacks, if that of most of them is ``region``."""
    return list(dict.fromkeys([region, *([EDGE_REGION] if settings.needs_edge else [])]))


def session(region: str | None) -> Any:
    """A session in ``region``, else in AWS_REGION, which boto3 does not read, else where boto3 looks.

    Raises Failure if there is none.
    """
    found = boto3.Session(region_name=region or os.environ.get("AWS_REGION"))
    if found.region_name is None:
        raise Failure("no Region is set. Set AWS_REGION, `region` in your profile, or the stage's `region`.")
    return found


def _context() -> dict[str, Any]:
    context: dict[str, Any] = json.loads((Path(__file__).parents[1] / "cdk.json").read_text())["context"]
    return context
