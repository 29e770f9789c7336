"""`make redrive`: dead letters go back to their queue, once somebody has agreed."""

import io
from typing import Any

import boto3
import pytest

from ops import redrive
from ops.deployed_stage import DeployedStage
from tests.integration.functions import aws_variables

DEAD, QUEUE = "fanfare-dev-record-dead-letters", "fanfare-dev-record"
ATTRIBUTES: Any = {"message_type": {"DataType": "String", "StringValue": "notification"}}


@pytest.fixture
def urls(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The queue and its dead-letter queue, with twelve messages."""
    for name, value in aws_variables(aws_endpoint).items():
        monkeypatch.setenv(name, value)
    sqs = boto3.client("sqs")
    urls = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in (DEAD, QUEUE)}
    for number in range(12):
        sqs.send_message(QueueUrl=urls[DEAD], MessageBody=f"event {number}", MessageAttributes=ATTRIBUTES)
    return urls


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, typed: str
) -> tuple[int, str]:
    """The exit code and what was printed."""
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    stage = DeployedStage("dev", {}, boto3.Session())
    return redrive.redrive(stage, "record"), capsys.readouterr().out


def contents(url: str) -> dict[str, Any]:
    """The messages of a queue: their bodies and attributes."""
    found = {}
    while messages := redrive._received(boto3.client("sqs"), url):
        found.update({message["Body"]: message.get("MessageAttributes") for message in messages})
    return found


def test_they_are_moved_with_their_attributes(
    urls: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = run(monkeypatch, capsys, typed="record\n")
    assert status == 0
    assert f"This moves 12 messages from {DEAD} to {QUEUE}. Each is recorded" in said
    assert "✓ 12 moved" in said
    assert contents(urls[QUEUE]) == {f"event {number}": ATTRIBUTES for number in range(12)}
    assert contents(urls[DEAD]) == {}
    assert run(monkeypatch, capsys, typed="") == (0, f"✓ There is nothing in {DEAD}.\n")


def test_nothing_is_moved_unless_somebody_agrees(
    urls: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = run(monkeypatch, capsys, typed="\n")
    assert status == 1
    assert said.endswith("Nothing was moved.\n")
    assert contents(urls[QUEUE]) == {}
    assert len(contents(urls[DEAD])) == 12


def test_those_that_come_back_are_not_moved_for_ever(urls: dict[str, str]) -> None:
    sqs = boto3.client("sqs")
    # A queue whose dead letters are in itself.
    assert redrive.move(sqs, urls[DEAD], urls[DEAD], at_most=12) in range(12, 22)


@pytest.mark.parametrize("arguments", [(), ("webhook",), ("record", "broadcast")])
def test_a_queue_that_is_not_there_is_named(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert redrive.main(["dev", *arguments]) == 1
    assert capsys.readouterr().out == "✗ set QUEUE to one of record, broadcast, fan-out.\n"
