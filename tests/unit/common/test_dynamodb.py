"""Conditional writes, and reading page by page."""

from collections.abc import Mapping
from typing import Any

import pytest

from lambdas.common.aws import AwsError, Client
from lambdas.common.dynamodb import read_all, write_if


class Answers(Client):
    """A client that returns, or raises, these answers one after another, and keeps the requests."""

    def __init__(self, *answers: dict[str, Any] | AwsError) -> None:
        self._answers = iter(answers)
        self.requests: list[Mapping[str, Any]] = []

    def call(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self.requests.append(parameters)
        answer = next(self._answers)
        if isinstance(answer, AwsError):
            raise answer
        return answer


def test_every_page_is_read() -> None:
    first, last = {"id": {"S": "1"}}, {"id": {"S": "2"}}
    client = Answers(
        {"Items": [first], "LastEvaluatedKey": "a"}, {"Items": [], "LastEvaluatedKey": "b"}, {"Items": [last]}
    )
    assert list(read_all(client, "Scan", {"TableName": "t"})) == [first, last]
    assert client.requests == [
        {"TableName": "t"},
        {"TableName": "t", "ExclusiveStartKey": "a"},
        {"TableName": "t", "ExclusiveStartKey": "b"},
    ]


def test_a_write_says_whether_its_condition_held() -> None:
    failed = AwsError("dynamodb:UpdateItem", "ConditionalCheckFailedException", "The condition failed.")
    client = Answers({}, failed)
    assert [write_if(client, "UpdateItem", {}) for _ in range(2)] == [True, False]


def test_another_error_is_raised() -> None:
    with pytest.raises(AwsError, match="Throttling"):
        write_if(Answers(AwsError("dynamodb:UpdateItem", "ThrottlingException", "")), "UpdateItem", {})
