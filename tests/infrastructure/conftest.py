"""The templates under test, synthesised once a session."""

import pytest

from tests.infrastructure.template import Stage, synthesise


@pytest.fixture(scope="session")
def prod(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The stage ``prod`` as it stands in cdk.json."""
    return synthesise("prod", tmp_path_factory.mktemp("prod"))


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The stage ``dev`` as it stands in cdk.json."""
    return synthesise("dev", tmp_path_factory.mktemp("dev"))


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The stage ``local`` with the settings that the local cloud passes."""
    return synthesise("local", tmp_path_factory.mktemp("local"))
