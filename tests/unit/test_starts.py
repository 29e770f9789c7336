"""What a function loads before it can answer, in a fresh interpreter: docs/adr/0008-fast-starts.md."""

import functools
import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.infrastructure.functions import ALL_FUNCTIONS

REPOSITORY = Path(__file__).resolve().parents[2]

# Powertools imports botocore's first file where it is installed, to name itself in the SDK's requests. pycurl
# is in the packages of the functions that call AWS with it.
EVERYWHERE = {"botocore"}
# botocore takes its certificates from certifi where that is installed.
SDK = {"boto3", "s3transfer", "dateutil", "six", "urllib3", "certifi"}
WITHOUT_SDK = [name for name, function in ALL_FUNCTIONS.items() if not function.in_database_network]
# Modules beyond a bare interpreter's, some of them the standard library's; the SDK makes it 400 and more.
MODULES, MODULES_WITH_URLLIB3 = 150, 250

# Every setting of every function, each with a value that is good as text and as a number.
DATABASE = {f"DATABASE_{name}" for name in ("CA_FILE", "HOST", "NAME", "PORT", "SECRET_ARN", "USER")}
SETTINGS = dict.fromkeys(DATABASE.union(*(function.environment for function in ALL_FUNCTIONS.values())), "1")
AWS = dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), "eu-central-1") | dict.fromkeys(
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "nobody's"
)
START = """
import importlib, json, sys
before = set(sys.modules)
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@functools.cache
def loaded(handler: str) -> list[str]:
    """The modules that a handler's module loads."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AWS"))
    }
    done = subprocess.run(
        [sys.executable, "-c", START, f"lambdas.handlers.{handler}"],
        cwd=REPOSITORY,
        env={**environment, **SETTINGS, **AWS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    modules: list[str] = json.loads(done.stdout)
    return modules


@pytest.mark.parametrize("handler", ALL_FUNCTIONS)
def test_a_handler_loads_no_other_packages(handler: str) -> None:
    packages = {module.partition(".")[0] for module in loaded(handler)} & set(packages_distributions())
    sdk = set() if handler in WITHOUT_SDK else SDK
    assert packages - EVERYWHERE - sdk <= ALL_FUNCTIONS[handler].distributions


@pytest.mark.parametrize("handler", WITHOUT_SDK)
def test_a_handler_without_the_sdk_loads_few_modules(handler: str) -> None:
    modules = loaded(handler)
    assert [module for module in modules if module.startswith("botocore.")] == []
    # Of Powertools only what logs and measures.
    parts = {module.split(".")[1] for module in modules if module.startswith("aws_lambda_powertools.")}
    assert parts.isdisjoint({"event_handler", "middleware_factory"})
    if "urllib3" in ALL_FUNCTIONS[handler].distributions:
        assert len(modules) <= MODULES_WITH_URLLIB3
    else:
        assert len(modules) <= MODULES
        assert "ssl" not in modules, "libcurl has its own TLS"


def test_what_somebody_waits_for_does_without_the_sdk() -> None:
    """Twitch waits for the webhook, a viewer for the others."""
    assert {"watch", "authorizer", "connection", "overlay", "session", "webhook"} <= set(WITHOUT_SDK)
