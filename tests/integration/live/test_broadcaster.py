"""The broadcaster against a registry, inboxes and queues (moto) and a loopback @connections API."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from lambdas.common import connections
from lambdas.common.aws import Client
from lambdas.common.event import Event
from lambdas.common.topics_frame import TopicsFrame
from tests.integration.functions import Function, load
from tests.integration.live.conftest import CONNECTIONS, INBOXES, ConnectionsApi, Queues

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MARK = {"type": "events", "events": [], "missed": True}


@pytest.fixture
def function(
    queues: Queues,
    connections_api: ConnectionsApi,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Function:
    monkeypatch.setattr("lambdas.live.stragglers.AGAIN_SECONDS", 0)
    monkeypatch.setattr("lambdas.live.serving.INTERVAL_SECONDS", 0.0)
    return load(
        monkeypatch,
        capsys,
        "lambdas.handlers.broadcaster",
        CONNECTIONS_TABLE=CONNECTIONS,
        INBOXES_TABLE=INBOXES,
        CONNECTIONS_ENDPOINT=connections_api.endpoint,
        BROADCAST_QUEUE_URL=queues.urls["broadcast"],
        FAN_OUT_QUEUE_URL=queues.urls["fan-out"],
    )


class Lambda:
    """Invokes the function with what is in its queues."""

    def __init__(self, function: Function, queues: Queues) -> None:
        self.function = function
        self.queues = queues

    def invoke(self, queue: str, *messages: Event | TopicsFrame | str) -> list[str]:
        """Put the messages into a queue, and invoke the function with all that is in it.

        Returns the bodies of those that failed; the others are deleted.
        """
        for message in messages:
            body = message if isinstance(message, str) else message.to_json()
            self.queues.sqs.send_message(QueueUrl=self.queues.urls[queue], MessageBody=body)
        records = self.queues.receive(queue)
        if not records:
            return []
        answer = self.function({"Records": records})
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        for record in records:
            if record["messageId"] not in failed:
                self.queues.delete(record)
        return [record["body"] for record in records if record["messageId"] in failed]

    def tell(self, *messages: Event | TopicsFrame | str) -> list[str]:
        """Broadcast, and serve what is called for, as long as something is."""
        failed = self.invoke("broadcast", *messages)
        while records := self.queues.receive("fan-out"):
            for record in records:
                answer = self.function({"Records": [record]})
                assert answer == {"batchItemFailures": []}
                self.queues.delete(record)
        return failed


@pytest.fixture
def broadcaster(function: Function, queues: Queues) -> Lambda:
    return Lambda(function, queues)


@pytest.fixture
def large_audiences(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audience is large from the fourth viewer on, and a part has about four; a page has two."""
    monkeypatch.setattr("lambdas.live.broadcaster.SMALL_AUDIENCE", 3)
    monkeypatch.setattr("lambdas.live.parts.VIEWERS", 4)
    monkeypatch.setattr("lambdas.live.serving.PAGE_CONNECTIONS", 2)


def watch(registry: Client, streamer_id: str, *connection_ids: str, since: float = 60.0) -> None:
    """Let connections watch a channel that were opened so many seconds ago."""
    for connection_id in connection_ids:
        connections.put(
            registry,
            CONNECTIONS,
            streamer_id=streamer_id,
            connection_id=connection_id,
            viewer_id="viewer-1",
            now=datetime.now(UTC) - timedelta(seconds=since),
        )


def watching(registry: Client, streamer_id: str) -> list[str]:
    found, _ = connections.read(registry, CONNECTIONS, streamer_id, datetime.now(UTC), limit=1000)
    return sorted(connection.id for connection in found)


def event(name: str, streamer_id: str = "1337", text: str = "", age: float = 0.0) -> Event:
    now = datetime.now(UTC) - timedelta(seconds=age)
    return Event(name, streamer_id, "cool_user", "x", now - timedelta(seconds=2), now, {"text": text})


def ids(frames: list[dict[str, Any]]) -> list[list[str]]:
    return [[event["id"] for event in frame["events"]] for frame in frames]


def all_ids(frames: list[dict[str, Any]]) -> list[str]:
    return [id_ for frame in ids(frames) for id_ in frame]


def left_in_inboxes(dynamodb: "DynamoDBClient") -> list[Any]:
    return dynamodb.scan(TableName=INBOXES)["Items"]


def test_every_viewer_of_the_channel_gets_its_events_and_nobody_else(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda
) -> None:
    watch(registry, "1337", "a=", "b=")
    watch(registry, "42", "c=")
    first, second, other = event("1"), event("2"), event("3", "42")
    assert broadcaster.tell(first, other, second) == []
    together = [{"type": "events", "events": [first.to_dict(), second.to_dict()]}]
    assert connections_api.posted == {
        "a=": together,
        "b=": together,
        "c=": [{"type": "events", "events": [other.to_dict()]}],
    }
    function = broadcaster.function
    assert sum(function.metrics["FramesDelivered"]) == 3
    for name in ("FramesFailed", "FramesRetried", "FramesThrottled", "ConnectionsGone"):
        assert sum(function.metrics[name]) == 0
    assert len(function.metrics["DeliveryAge"]) == 2, "one for each frame"
    assert all(2000 <= age < 60_000 for age in function.metrics["DeliveryAge"])
    (line,) = function.log_lines()
    assert sorted(line["correlation_ids"]) == ["1", "2", "3"]


def test_a_small_audience_is_served_at_once_without_a_write(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda, dynamodb: "DynamoDBClient"
) -> None:
    watch(registry, "1337", "a")
    dynamodb.delete_table(TableName=INBOXES)
    assert broadcaster.invoke("broadcast", event("1")) == []
    assert ids(connections_api.posted["a"]) == [["1"]]


@pytest.mark.usefixtures("large_audiences")
def test_a_large_audience_is_served_in_parts(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda, dynamodb: "DynamoDBClient"
) -> None:
    viewers = [f"viewer-{number:02}=" for number in range(30)]
    watch(registry, "1337", *viewers)
    assert broadcaster.invoke("broadcast", event("1"), event("2")) == []
    assert connections_api.attempts == []
    calls = broadcaster.queues.receive("fan-out")
    assert 4 <= len(calls) <= 16, "one for each part"
    for call in calls:
        assert broadcaster.function({"Records": [call]}) == {"batchItemFailures": []}
    assert sorted(connections_api.attempts) == viewers
    assert all(ids(frames) == [["1", "2"]] for frames in connections_api.posted.values())
    assert left_in_inboxes(dynamodb) == []
