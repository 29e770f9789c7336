"""An AWS account in which each operation answers as a test says."""

import copy
import json
from types import SimpleNamespace
from typing import Any

import boto3

from ops.account import Account


class FakeAccount(Account):
    """An account whose services answer as a table says; parameters are checked as boto3 checks them."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__(boto3.Session("key", "secret", region_name="us-east-1"))
        self.answers = answers
        self.calls: list[tuple[str, Any]] = []
        """Each operation that was called, with its parameters."""

    def client(self, service: str, region: str | None = None) -> Any:
        client = super().client(service, region)
        client.meta.events.register("before-call", self._answer, unique_id="answers")
        return client

    def _answer(self, model: Any, params: Any, **_: Any) -> Any:
        body = params.get("body") or {}
        given = json.loads(body) if isinstance(body, bytes | str) and body[:1] in (b"{", "{") else body
        self.calls.append((model.name, given))
        answer = self.answers[model.name]
        if callable(answer):
            answer = answer(given)
        if isinstance(answer, str):
            return SimpleNamespace(status_code=400), {"Error": {"Code": answer, "Message": answer}}
        return SimpleNamespace(status_code=200), copy.deepcopy(answer)
