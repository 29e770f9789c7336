"""The broadcaster against a registry (moto) and a loopback @connections API."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from lambdas.common import connections
from lambdas.common.event import Event
from lambdas.common.topics_change import TopicsChange
from lambdas.live.frames import MAX_FRAME_BYTES
from tests.integration.functions import Function, load
from tests.integration.live.conftest import CONNECTIONS, ConnectionsApi

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@pytest.fixture
def broadcaster(
    dynamodb: "DynamoDBClient",
    connections_api: ConnectionsApi,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Function:
    return load(
        monkeypatch,
        capsys,
        "lambdas.live.broadcaster",
        CONNECTIONS_TABLE=CONNECTIONS,
        CONNECTIONS_ENDPOINT=connections_api.endpoint,
    )


def watch(dynamodb: "DynamoDBClient", streamer_id: str, *connection_ids: str, since: float = 60.0) -> None:
    """Let connections watch a channel that were opened so many seconds ago."""
    for connection_id in connection_ids:
        connections.put(
            dynamodb,
            CONNECTIONS,
            streamer_id=streamer_id,
            connection_id=connection_id,
            viewer_id="viewer-1",
            now=datetime.now(UTC) - timedelta(seconds=since),
        )


def watching(dynamodb: "DynamoDBClient", streamer_id: str) -> list[str]:
    found = connections.iterate(dynamodb, CONNECTIONS, streamer_id, datetime.now(UTC))
    return sorted(connection.id for connection in found)


def event(name: str, streamer_id: str = "1337", text: str = "") -> Event:
    now = datetime.now(UTC)
    return Event(name, streamer_id, "cool_user", "x", now - timedelta(seconds=2), now, {"text": text})


def batch(*messages: Event | str) -> dict[str, Any]:
    """An SQS event; a message is named as its event, or as its body if that is none."""
    return {
        "Records": [
            {"messageId": message.id, "body": message.to_json()}
            if isinstance(message, Event)
            else {"messageId": message, "body": message}
            for message in messages
        ]
    }


def failed(answer: dict[str, Any]) -> list[str]:
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def test_every_viewer_of_the_channel_gets_its_events_and_nobody_else(
    dynamodb: "DynamoDBClient", connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    watch(dynamodb, "1337", "a=", "b=")
    watch(dynamodb, "42", "c=")
    first, second, other = event("1"), event("2"), event("3", "42")
    assert failed(broadcaster(batch(first, other, second))) == []
    together = [{"type": "events", "events": [first.to_dict(), second.to_dict()]}]
    assert connections_api.posted == {
        "a=": together,
        "b=": together,
        "c=": [{"type": "events", "events": [other.to_dict()]}],
    }
    assert sum(broadcaster.metrics["FramesDelivered"]) == 3
    assert sum(broadcaster.metrics["FramesFailed"]) == sum(broadcaster.metrics["ConnectionsGone"]) == 0
    assert len(broadcaster.metrics["DeliveryAge"]) == 3
    assert all(2000 <= age < 60_000 for age in broadcaster.metrics["DeliveryAge"])
    assert {line["correlation_id"] for line in broadcaster.log_lines()} == {"1", "2", "3"}


def test_a_channel_that_nobody_watches_costs_no_post(
    connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    assert failed(broadcaster(batch(event("1")))) == []
    assert connections_api.attempts == []
    assert "DeliveryAge" not in broadcaster.metrics


def test_what_does_not_fit_into_one_frame_comes_in_several_in_order(
    dynamodb: "DynamoDBClient", connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    watch(dynamodb, "1337", "a")
    events = [event(str(number), text="x" * 12_000) for number in range(5)]
    assert failed(broadcaster(batch(*events))) == []
    frames = connections_api.posted["a"]
    assert [[item["id"] for item in frame["events"]] for frame in frames] == [["0", "1"], ["2", "3"], ["4"]]
    assert sum(broadcaster.metrics["FramesDelivered"]) == 3


def test_a_gone_connection_is_removed_and_the_others_are_served(
    dynamodb: "DynamoDBClient", connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    watch(dynamodb, "1337", "a", "gone", "z")
    connections_api.statuses["gone"] = 410
    assert failed(broadcaster(batch(event("1")))) == []
    assert sorted(connections_api.posted) == ["a", "z"]
    assert watching(dynamodb, "1337") == ["a", "z"]
    assert sum(broadcaster.metrics["ConnectionsGone"]) == 1


def test_a_connection_whose_handshake_may_still_run_is_retried_and_kept(
    dynamodb: "DynamoDBClient", connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    """It is stored before API Gateway has opened it, and until then it answers 410, too."""
    watch(dynamodb, "1337", "opening", since=0)
    connections_api.statuses["opening"] = 410
    assert failed(broadcaster(batch(event("1")))) == ["1"]
    assert watching(dynamodb, "1337") == ["opening"]
    connections_api.statuses.clear()
    assert failed(broadcaster(batch(event("1")))) == []
    assert len(connections_api.posted["opening"]) == 1


@pytest.mark.parametrize("status", [429, 500, 403])
def test_a_failure_is_retried_by_message_for_its_channel_only(
    dynamodb: "DynamoDBClient", connections_api: ConnectionsApi, broadcaster: Function, status: int
) -> None:
    watch(dynamodb, "1337", "a", "failing", "z")
    watch(dynamodb, "42", "c")
    connections_api.statuses["failing"] = status
    assert failed(broadcaster(batch(event("1"), event("2", "42"), event("3")))) == ["1", "3"]
    assert sorted(connections_api.posted) == ["a", "c", "z"]
    assert watching(dynamodb, "1337") == ["a", "failing", "z"]
    assert sum(broadcaster.metrics["FramesFailed"]) == 1
    (error,) = [line for line in broadcaster.log_lines() if line["level"] == "ERROR"]
    assert (error["connection_id"], error["streamer_id"]) == ("failing", "1337")
    assert str(status) in error["exception"] or "Exception" in error["exception"]


def test_a_passing_failure_is_overcome_within_the_invocation(
    dynamodb: "DynamoDBClient",
    connections_api: ConnectionsApi,
    broadcaster: Function,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch(dynamodb, "1337", "a")
    answer = connections_api.answer
    statuses = iter([500, 429])

    def fail_twice(connection_id: str, body: bytes) -> int:
        return next(statuses, None) or answer(connection_id, body)

    monkeypatch.setattr(connections_api, "answer", fail_twice)
    assert failed(broadcaster(batch(event("1")))) == []
    assert len(connections_api.posted["a"]) == 1


def test_an_api_that_cannot_be_reached_fails_the_messages(
    dynamodb: "DynamoDBClient", connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    watch(dynamodb, "1337", "a", "b")
    connections_api.stop()
    assert failed(broadcaster(batch(event("1"), event("2", "42")))) == ["1"]
    assert sum(broadcaster.metrics["FramesFailed"]) == 2


def test_a_registry_that_cannot_be_read_fails_the_messages(
    dynamodb: "DynamoDBClient", broadcaster: Function
) -> None:
    dynamodb.delete_table(TableName=CONNECTIONS)
    assert failed(broadcaster(batch(event("1"), event("2", "42")))) == ["1", "2"]
    assert {line["streamer_id"] for line in broadcaster.log_lines()} == {"1337", "42"}


def test_a_poisonous_message_fails_alone(
    dynamodb: "DynamoDBClient", connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    watch(dynamodb, "1337", "a")
    huge = event("huge", text="x" * MAX_FRAME_BYTES)
    answer = broadcaster(batch("poison", event("1"), huge, "{}", event("2")))
    assert failed(answer) == ["poison", "huge", "{}"]
    assert [[item["id"] for item in frame["events"]] for frame in connections_api.posted["a"]] == [["1", "2"]]


def test_many_viewers_are_served_side_by_side(
    dynamodb: "DynamoDBClient", connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    viewers = [f"viewer-{number:03}" for number in range(200)]
    watch(dynamodb, "1337", *viewers)
    assert failed(broadcaster(batch(event("1")))) == []
    assert sorted(connections_api.posted) == viewers
    assert {len(frames) for frames in connections_api.posted.values()} == {1}


def test_a_change_of_topics_reaches_the_viewers_of_its_channel_and_is_tried_again(
    dynamodb: "DynamoDBClient", connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    watch(dynamodb, "1337", "a=")
    watch(dynamodb, "42", "b=")
    topics = [{"event_type": "channel.cheer", "status": "absent", "reason": "consent_required"}]
    message = TopicsChange("1337", topics).to_json()
    connections_api.statuses["a="] = 500
    assert failed(broadcaster(batch(message))) == [message]
    connections_api.statuses.clear()
    assert failed(broadcaster(batch(message))) == []
    assert connections_api.posted == {"a=": [{"type": "topics", "topics": topics}]}
