"""What a function loads before it can answer, in a fresh interpreter: docs/adr/0008-fast-starts.md."""

import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

POWERTOOLS = {"aws_lambda_powertools", "jmespath", "typing_extensions"}
# Powertools names itself in the SDK's requests where there is an SDK, so it imports botocore's first file.
SIGNED = POWERTOOLS | {"botocore", "pycurl"}
# botocore takes its certificates from certifi where that is installed.
SDK = POWERTOOLS | {"boto3", "botocore", "s3transfer", "dateutil", "six", "urllib3", "certifi"}
STORE = SDK | {"psycopg", "psycopg_binary"}
QUERY = STORE | {"pydantic", "pydantic_core", "annotated_types", "typing_inspection"}

# The packages that each handler may load beside the standard library and its own modules.
LIBRARIES = {
    "webhook": SIGNED,
    "authorizer": SIGNED,
    "connection": SIGNED,
    "broadcaster": SIGNED,
    "watch": SDK | {"pycurl"},
    "overlay": SDK,
    "notices": SDK,
    "reconciler": SDK | {"pycurl"},
    "recorder": STORE,
    "query": QUERY,
    "archiver": STORE,
    "migrator": STORE,
    "postmigrator": STORE,
}
# Twitch, or a viewer's handshake, waits for these to start. They load some 150 modules beyond a bare
# interpreter's in 70 ms of CPU time; with the SDK it would be 600.
FAST = ("webhook", "authorizer", "connection")
MODULES = 180
CPU_SECONDS = 0.15

# Every setting of every function, each with a value that is good as text and as a number.
# fmt: off
SETTINGS = dict.fromkeys((
    "BROADCAST_QUEUE_URL", "CHANNELS_TABLE", "CONNECTIONS_ENDPOINT", "CONNECTIONS_TABLE",
    "DATABASE_CA_FILE", "DATABASE_HOST", "DATABASE_NAME", "DATABASE_PORT", "DATABASE_SECRET_ARN",
    "DATABASE_USER", "EVENTS_TOPIC_ARN", "EXPORTS_BUCKET", "FAN_OUT_QUEUE_URL",
    "GRACE_PERIOD_SECONDS", "GRANTS_TABLE", "INBOXES_TABLE", "OVERLAYS_TABLE", "PARTITION_SECONDS",
    "RETENTION_SECONDS", "STREAMER_PROVIDER", "TICKETS_TABLE", "TWITCH_API_URL", "TWITCH_AUTH_URL",
    "TWITCH_SECRET_ARN", "WEBHOOK_SECRET_ARN", "WEBHOOK_URL", "WEBSOCKET_URL",
), "1")
# fmt: on
AWS = dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), "eu-central-1") | dict.fromkeys(
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "nobody's"
)
START = """
import importlib, json, sys, time
before, started = set(sys.modules), time.process_time()
importlib.import_module(sys.argv[1])
seconds = time.process_time() - started
print(json.dumps({"modules": sorted(set(sys.modules) - before), "cpu_seconds": seconds}))
"""


@pytest.fixture(scope="module")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled modules are kept from start to start, as a function's package and runtime have them."""
    return tmp_path_factory.mktemp("pycache")


def start(handler: str, bytecode: Path) -> dict[str, Any]:
    """The modules that a handler's module loads, and the CPU seconds that it takes."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AWS"))
    }
    done = subprocess.run(
        [sys.executable, "-c", START, f"lambdas.handlers.{handler}"],
        cwd=REPOSITORY,
        env={**environment, **SETTINGS, **AWS, "PYTHONPYCACHEPREFIX": str(bytecode)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    started: dict[str, Any] = json.loads(done.stdout)
    return started


def packages(modules: list[str]) -> set[str]:
    """The installed packages that some modules belong to."""
    return {module.partition(".")[0] for module in modules} & set(packages_distributions())


def test_every_handler_has_its_list() -> None:
    assert {path.stem for path in (REPOSITORY / "lambdas" / "handlers").glob("[!_]*.py")} == set(LIBRARIES)


@pytest.mark.parametrize("handler", LIBRARIES)
def test_a_handler_loads_the_libraries_of_its_list_only(handler: str, bytecode: Path) -> None:
    assert packages(start(handler, bytecode)["modules"]) - LIBRARIES[handler] == set()


@pytest.mark.parametrize("handler", FAST)
def test_a_function_that_somebody_waits_for_loads_no_sdk_and_few_modules(
    handler: str, bytecode: Path
) -> None:
    modules = start(handler, bytecode)["modules"]
    assert [module for module in modules if module.startswith("botocore.")] == []
    assert len(modules) <= MODULES
    # Of Powertools only what logs and measures.
    parts = {module.split(".")[1] for module in modules if module.startswith("aws_lambda_powertools.")}
    assert parts.isdisjoint({"event_handler", "middleware_factory"})
    assert "ssl" not in modules, "libcurl has its own TLS"


@pytest.mark.parametrize("handler", FAST)
def test_a_function_that_somebody_waits_for_is_loaded_within_its_budget(handler: str, bytecode: Path) -> None:
    """CPU time, the best of some starts: the first one compiles, and the machine may be busy."""
    assert any(start(handler, bytecode)["cpu_seconds"] <= CPU_SECONDS for _ in range(10))
