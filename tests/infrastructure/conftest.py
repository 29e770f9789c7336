"""The templates under test, synthesised once a session."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from aws_cdk import App

from cdk.packaging import ROOT
from cdk.pipeline import PipelineStack, load
from local import emulator
from local.ports import any_free_port
from tests.infrastructure.template import Stage, synthesise

CONTEXT = json.loads((ROOT / "cdk.json").read_text())["context"]
# The ids of owner and repository make the subject that no other repository can have.
REPOSITORY = {"repository": "owner/name", "owner-id": "12", "repository-id": "345"}


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


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The pipeline's stack for the repository ``owner/name``."""
    directory = tmp_path_factory.mktemp("pipeline")
    app = App(outdir=str(directory), context={"aws:cdk:enable-path-metadata": True})
    PipelineStack(app, *load({**CONTEXT, **REPOSITORY}))
    app.synth()
    (directory / "Fanfare-Pipeline.template.json").rename(directory / "Fanfare-any-App.template.json")
    return Stage(app, directory, "any")


@pytest.fixture(scope="module")
def emulator_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an emulator that is a module's own."""
    state, port = tmp_path_factory.mktemp("emulator"), any_free_port()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        runner.run(stack.enter_async_context(emulator.run(port, state, state)))
        yield port
        runner.run(stack.aclose())
