"""Handler modules as Lambda loads them: settings from the environment, clients made at import."""

import importlib
import io
import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

REGION = "eu-central-1"


class Function:
    """One function, loaded with its environment; its metrics and log lines are kept."""

    def __init__(
        self,
        module: ModuleType,
        monkeypatch: pytest.MonkeyPatch,
        read_output: Callable[[], str],
    ) -> None:
        self.module = module
        self.logs = io.StringIO()
        self.metrics: dict[str, list[float]] = {}
        self.dimensions: dict[str, str] = {}
        self._read_output = read_output
        monkeypatch.setattr(module.logger.registered_handler, "stream", self.logs)

    def __call__(self, event: dict[str, Any]) -> Any:
        """Invoke the handler."""
        self._read_output()
        try:
            return self.module.handler(event, _Context())
        finally:
            for line in self._read_output().splitlines():
                self._keep(json.loads(line))

    def log_lines(self) -> list[dict[str, Any]]:
        """What was logged, line by line."""
        return [json.loads(line) for line in self.logs.getvalue().splitlines()]

    def _keep(self, blob: dict[str, Any]) -> None:
        (definition,) = blob["_aws"]["CloudWatchMetrics"]
        assert definition["Namespace"] == "Fanfare"
        for name in (metric["Name"] for metric in definition["Metrics"]):
            self.metrics.setdefault(name, []).extend(blob[name])
        self.dimensions |= {name: blob[name] for names in definition["Dimensions"] for name in names}


def load(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, **environment: str
) -> Function:
    """Import the handler module anew with these environment variables."""
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return Function(importlib.import_module(name), monkeypatch, lambda: capsys.readouterr().out)


def aws_variables(endpoint: str) -> dict[str, str]:
    """The environment in which whatever calls AWS calls ``endpoint``, with credentials of nobody."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "POWERTOOLS_SERVICE_NAME": "test",
    }


class _Context(LambdaContext):
    _function_name = "fanfare-test"
    _memory_limit_in_mb = 512
    _invoked_function_arn = f"arn:aws:lambda:{REGION}:123456789012:function:fanfare-test"
    _aws_request_id = "a-request"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Milliseconds that the invocation may still take."""
        return 15_000
