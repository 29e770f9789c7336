"""What a function loads before it can answer, in a fresh interpreter: docs/adr/0008-fast-starts.md."""

import functools
import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

HANDLERS = sorted(path.stem for path in (REPOSITORY / "lambdas" / "handlers").glob("[!_]*.py"))

# The packages that every handler may load beside the standard library and its own modules. Powertools imports
# botocore's first file where it is installed, to name itself in the SDK's requests.
EVERYWHERE = {"aws_lambda_powertools", "jmespath", "typing_extensions", "botocore", "pycurl"}
# botocore takes its certificates from certifi where that is installed.
SDK = {"boto3", "s3transfer", "dateutil", "six", "urllib3", "certifi"}
STORE = SDK | {"psycopg", "psycopg_binary"}
# What else a handler may load.
MORE = {
    "watch": {"urllib3"},
    "reconciler": {"urllib3"},
    "recorder": STORE,
    "query": STORE | {"pydantic", "pydantic_core", "annotated_types", "typing_inspection"},
    "archiver": STORE,
    "migrator": STORE,
    "postmigrator": STORE,
}
WITHOUT_SDK = [handler for handler in HANDLERS if "boto3" not in MORE.get(handler, ())]
# Modules beyond a bare interpreter's, some of them the standard library's; the SDK makes it 400 and more.
MODULES, MODULES_WITH_URLLIB3 = 150, 250

# Every setting of every function, each with a value that is good as text and as a number.
# fmt: off
SETTINGS = dict.fromkeys((
    "BROADCAST_QUEUE_URL", "CHANNELS_PER_VIEWER", "CHANNELS_TABLE", "CONNECTIONS_ENDPOINT",
    "CONNECTIONS_PER_CHANNEL", "CONNECTIONS_PER_VIEWER", "CONNECTIONS_TABLE",
    "DATABASE_CA_FILE", "DATABASE_HOST", "DATABASE_NAME", "DATABASE_PORT", "DATABASE_SECRET_ARN",
    "DATABASE_USER", "EVENTS_TOPIC_ARN", "EXPORTS_BUCKET", "FAN_OUT_QUEUE_URL",
    "GRACE_PERIOD_SECONDS", "GRANTS_TABLE", "INBOXES_TABLE", "OVERLAYS_TABLE", "PARTITION_SECONDS",
    "RETENTION_SECONDS", "STREAMER_PROVIDER", "TICKETS_TABLE", "TWITCH_API_URL", "TWITCH_AUTH_URL",
    "TWITCH_SECRET_ARN", "VIEWERS_TABLE", "WEBHOOK_SECRET_ARN", "WEBHOOK_URL", "WEBSOCKET_URL",
), "1")
# fmt: on
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


def test_what_else_may_be_loaded_is_said_of_handlers_only() -> None:
    assert MORE.keys() <= set(HANDLERS)


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_handler_loads_no_other_packages(handler: str) -> None:
    packages = {module.partition(".")[0] for module in loaded(handler)} & set(packages_distributions())
    assert packages - EVERYWHERE - MORE.get(handler, set()) == set()


@pytest.mark.parametrize("handler", WITHOUT_SDK)
def test_a_handler_without_the_sdk_loads_few_modules(handler: str) -> None:
    modules = loaded(handler)
    assert [module for module in modules if module.startswith("botocore.")] == []
    # Of Powertools only what logs and measures.
    parts = {module.split(".")[1] for module in modules if module.startswith("aws_lambda_powertools.")}
    assert parts.isdisjoint({"event_handler", "middleware_factory"})
    if "urllib3" in MORE.get(handler, ()):
        assert len(modules) <= MODULES_WITH_URLLIB3
    else:
        assert len(modules) <= MODULES
        assert "ssl" not in modules, "libcurl has its own TLS"


def test_what_somebody_waits_for_does_without_the_sdk() -> None:
    """Twitch waits for the webhook, a viewer for the others."""
    assert {"watch", "authorizer", "connection", "overlay", "webhook"} <= set(WITHOUT_SDK)
