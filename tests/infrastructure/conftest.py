"""The templates under test, synthesised once a session."""

import json

import pytest

from cdk.packaging import ROOT
from tests.infrastructure.template import Stage, synthesise


@pytest.fixture(scope="session")
def prod(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The stage ``prod`` as it stands in cdk.json."""
    return synthesise("prod", tmp_path_factory.mktemp("prod"))


@pytest.fixture(scope="session")
def twitch(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The stage ``prod``, with the one setting changed with which viewers sign in without Cognito."""
    stage = json.loads((ROOT / "cdk.json").read_text())["context"]["stages"]["prod"]
    directory = tmp_path_factory.mktemp("twitch")
    return synthesise("prod", directory, stages={"prod": {**stage, "sign_in": "twitch"}})


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The stage ``dev`` as it stands in cdk.json."""
    return synthesise("dev", tmp_path_factory.mktemp("dev"))


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The stage ``local`` with the settings that the local cloud passes."""
    return synthesise("local", tmp_path_factory.mktemp("local"))
