"""The broadcaster against a registry and queues (moto) and a loopback @connections API."""

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from lambdas.common import connections
from lambdas.common.aws import Client
from lambdas.common.event import Event
from lambdas.common.topics_frame import TopicsFrame
from lambdas.live.frames import MAX_FRAME_BYTES
from tests.integration.functions import Function, load
from tests.integration.live.conftest import CONNECTIONS, ConnectionsApi, Queues

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CHUNK = 3


@pytest.fixture
def broadcaster(
    queues: Queues,
    connections_api: ConnectionsApi,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Function:
    monkeypatch.setattr("lambdas.live.broadcaster.LEFT_DELAY_SECONDS", 0)
    return load(
        monkeypatch,
        capsys,
        "lambdas.handlers.broadcaster",
        CONNECTIONS_TABLE=CONNECTIONS,
        CONNECTIONS_ENDPOINT=connections_api.endpoint,
        GATHER_QUEUE_URL=queues.urls["gather"],
        FAN_OUT_QUEUE_URL=queues.urls["fan-out"],
    )


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audience is large from the fourth viewer on."""
    monkeypatch.setattr("lambdas.live.broadcaster.CHUNK_CONNECTIONS", CHUNK)


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
    found, _ = connections.read(registry, CONNECTIONS, streamer_id, datetime.now(UTC), limit=100)
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


def ids(frames: list[dict[str, Any]]) -> list[list[str]]:
    return [[event["id"] for event in frame["events"]] for frame in frames]


def test_every_viewer_of_the_channel_gets_its_events_and_nobody_else(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    watch(registry, "1337", "a=", "b=")
    watch(registry, "42", "c=")
    first, second, other = event("1"), event("2"), event("3", "42")
    assert failed(broadcaster(batch(first, other, second))) == []
    together = [{"type": "events", "events": [first.to_dict(), second.to_dict()]}]
    assert connections_api.posted == {
        "a=": together,
        "b=": together,
        "c=": [{"type": "events", "events": [other.to_dict()]}],
    }
    assert sum(broadcaster.metrics["FramesDelivered"]) == 3
    for name in ("FramesFailed", "FramesRetried", "FramesThrottled", "ConnectionsGone"):
        assert sum(broadcaster.metrics[name]) == 0
    assert len(broadcaster.metrics["DeliveryAge"]) == 2, "one for each frame"
    assert all(2000 <= age < 60_000 for age in broadcaster.metrics["DeliveryAge"])
    (line,) = broadcaster.log_lines()
    assert sorted(line["correlation_ids"]) == ["1", "2", "3"]


def test_a_channel_that_nobody_watches_costs_no_post(
    connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    assert failed(broadcaster(batch(event("1")))) == []
    assert connections_api.attempts == []
    assert "DeliveryAge" not in broadcaster.metrics


def test_what_does_not_fit_into_one_frame_comes_in_several_in_order(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    watch(registry, "1337", "a")
    events = [event(str(number), text="x" * 12_000) for number in range(5)]
    assert failed(broadcaster(batch(*events))) == []
    assert ids(connections_api.posted["a"]) == [["0", "1"], ["2", "3"], ["4"]]
    assert sum(broadcaster.metrics["FramesDelivered"]) == 3


def test_a_busy_channels_events_are_gathered_and_travel_together(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Function, queues: Queues
) -> None:
    watch(registry, "1337", "a")
    for number in range(5):
        names = [f"{number}-{place}" for place in range(3)]
        assert failed(broadcaster(batch(*map(event, names)))) == []
    assert ids(connections_api.posted["a"]) == [["0-0", "0-1", "0-2"]], "the first at once"
    assert failed(broadcaster(batch(*queues.take("gather")))) == []
    assert ids(connections_api.posted["a"])[1:] == [
        [f"{number}-{place}" for number in range(1, 5) for place in range(3)]
    ]
    assert queues.take("gather") == []


def test_a_quiet_channels_event_waits_for_no_other_channel(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Function, queues: Queues
) -> None:
    watch(registry, "42", "c")
    broadcaster(batch(event("1"), event("2")))
    assert failed(broadcaster(batch(event("3"), event("4", "42")))) == []
    assert ids(connections_api.posted["c"]) == [["4"]]
    assert len(queues.take("gather")) == 1


def test_events_that_cannot_be_gathered_come_again(
    connections_api: ConnectionsApi, broadcaster: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    broadcaster(batch(event("1")))
    monkeypatch.setattr(broadcaster.module.BROADCASTER, "_gather_queue_url", "http://nowhere/queue")
    assert failed(broadcaster(batch(event("2"), event("3", "42")))) == ["2"]


@pytest.mark.usefixtures("small_chunks")
def test_a_large_audience_is_handed_over_in_chunks_that_reach_everybody_once(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Function, queues: Queues
) -> None:
    viewers = [f"viewer-{number}=" for number in range(8)]
    watch(registry, "1337", *viewers)
    assert failed(broadcaster(batch(event("1"), event("2")))) == []
    assert connections_api.attempts == []
    chunks = queues.take("fan-out")
    assert [len(json.loads(chunk)["connections"]) for chunk in chunks] == [3, 3, 2]
    for chunk in chunks:
        assert failed(broadcaster(batch(chunk))) == []
    assert sorted(connections_api.attempts) == viewers
    assert all(ids(frames) == [["1", "2"]] for frames in connections_api.posted.values())
    assert queues.take("fan-out") == []
    assert len(broadcaster.metrics["DeliveryAge"]) == 3, "one for each chunk"


@pytest.mark.usefixtures("small_chunks")
def test_a_chunk_that_fails_is_sent_again_alone(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Function, queues: Queues
) -> None:
    watch(registry, "1337", *"abcdefg")
    broadcaster(batch(event("1")))
    chunks = queues.take("fan-out")
    connections_api.statuses |= dict.fromkeys("def", 403)
    answers = [failed(broadcaster(batch(chunk))) for chunk in chunks]
    assert answers == [[], [chunks[1]], []], "nothing of the second arrived: the queue counts that"
    connections_api.statuses.clear()
    assert failed(broadcaster(batch(chunks[1]))) == []
    assert {name: len(frames) for name, frames in connections_api.posted.items()} == dict.fromkeys(
        "abcdefg", 1
    )


@pytest.mark.usefixtures("small_chunks")
def test_nobody_is_skipped_who_stays_while_others_come_and_go(
    registry: Client,
    connections_api: ConnectionsApi,
    broadcaster: Function,
    queues: Queues,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    staying = ["b", "d", "f", "h", "k", "m", "p", "r"]
    watch(registry, "1337", *staying, "c", "q")
    read = connections.read

    def read_while_others_move(*arguments: Any, **options: Any) -> Any:
        page = read(*arguments, **options)
        for gone in ("c", "q"):
            connections.remove(registry, CONNECTIONS, streamer_id="1337", connection_id=gone)
            connections_api.statuses[gone] = 410
        watch(registry, "1337", "a", "e", "z")
        return page

    monkeypatch.setattr("lambdas.live.broadcaster.connections.read", read_while_others_move)
    broadcaster(batch(event("1")))
    for chunk in queues.take("fan-out"):
        assert failed(broadcaster(batch(chunk))) == []
    assert {name: len(connections_api.posted.get(name, [])) for name in staying} == dict.fromkeys(staying, 1)
    assert all(len(frames) == 1 for frames in connections_api.posted.values())


@pytest.mark.usefixtures("small_chunks")
def test_a_registry_that_fails_midway_is_read_on_by_another_invocation(
    registry: Client,
    connections_api: ConnectionsApi,
    broadcaster: Function,
    queues: Queues,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch(registry, "1337", *"abcdefg")
    with monkeypatch.context() as patched:
        read = connections.read

        def read_the_first_page(*arguments: Any, after: str, **options: Any) -> Any:
            table = "no-such-table" if after else arguments[1]
            return read(arguments[0], table, *arguments[2:], after=after, **options)

        patched.setattr("lambdas.live.broadcaster.connections.read", read_the_first_page)
        assert failed(broadcaster(batch(event("1")))) == []
    messages = queues.take("fan-out")
    assert [json.loads(message)["type"] for message in messages] == ["chunk", "remainder"]
    while messages:
        assert failed(broadcaster(batch(messages.pop()))) == []
        messages += queues.take("fan-out")
    assert {name: len(frames) for name, frames in connections_api.posted.items()} == dict.fromkeys(
        "abcdefg", 1
    )


def test_a_gone_connection_is_removed_and_the_others_are_served(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    watch(registry, "1337", "a", "gone", "z")
    connections_api.statuses["gone"] = 410
    assert failed(broadcaster(batch(event("1")))) == []
    assert sorted(connections_api.posted) == ["a", "z"]
    assert watching(registry, "1337") == ["a", "z"]
    assert sum(broadcaster.metrics["ConnectionsGone"]) == 1


def test_a_connection_whose_handshake_still_runs_is_tried_again_and_kept(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored before API Gateway has opened it, and until then it answers 410, too."""
    watch(registry, "1337", "opening", since=0)
    answer = connections_api.answer
    statuses = iter([410, 410])
    monkeypatch.setattr(
        connections_api, "answer", lambda id_, body: next(statuses, None) or answer(id_, body)
    )
    assert failed(broadcaster(batch(event("1")))) == []
    assert len(connections_api.posted["opening"]) == 1
    assert watching(registry, "1337") == ["opening"]


def test_a_connection_that_is_gone_before_its_handshake_could_be_over_is_removed_once_it_is(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    watch(registry, "1337", "a", "closed-at-once", since=3.5)
    connections_api.statuses["closed-at-once"] = 410
    assert failed(broadcaster(batch(event("1")))) == []
    assert watching(registry, "1337") == ["a"]
    assert connections_api.attempts.count("closed-at-once") > 1


@pytest.mark.parametrize("status", [429, 500])
def test_a_passing_failure_is_overcome_within_the_invocation(
    registry: Client,
    connections_api: ConnectionsApi,
    broadcaster: Function,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    watch(registry, "1337", "a")
    answer = connections_api.answer
    statuses = iter([status, status])
    monkeypatch.setattr(
        connections_api, "answer", lambda id_, body: next(statuses, None) or answer(id_, body)
    )
    assert failed(broadcaster(batch(event("1")))) == []
    assert len(connections_api.posted["a"]) == 1
    assert sum(broadcaster.metrics["FramesRetried"]) == 2
    assert sum(broadcaster.metrics["FramesThrottled"]) == (2 if status == 429 else 0)


def test_what_is_left_is_handed_over_as_exactly_those_connections_and_frames(
    registry: Client,
    connections_api: ConnectionsApi,
    broadcaster: Function,
    queues: Queues,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first frame reaches b, the second does not; c gets nothing."""
    monkeypatch.setattr("lambdas.live.broadcaster.PATIENCE_SECONDS", 0.5)
    watch(registry, "1337", *"abc")
    watch(registry, "42", "d")
    connections_api.statuses["c"] = 500
    answer = connections_api.answer

    def fail_the_second(connection_id: str, body: bytes) -> int:
        if connection_id == "b" and "b" in connections_api.posted:
            return 500
        return answer(connection_id, body)

    monkeypatch.setattr(connections_api, "answer", fail_the_second)
    big = [event(name, text="x" * 20_000) for name in "12"]
    assert failed(broadcaster(batch(*big, event("3", "42")))) == []
    left = {message["connections"][0][0]: message for message in map(json.loads, queues.take("fan-out"))}
    assert {name: ids(message["frames"]) for name, message in left.items()} == {
        "b": [["2"]],
        "c": [["1"], ["2"]],
    }
    assert all(len(message["connections"]) == 1 for message in left.values())
    assert sum(broadcaster.metrics["FramesFailed"]) == 3
    (error,) = [line for line in broadcaster.log_lines() if line["level"] == "ERROR"]
    assert error["streamer_id"] == "1337"
    assert error["connection_id"] in "bc"
    assert "HTTP 500" in error["message"]

    connections_api.statuses.clear()
    monkeypatch.setattr(connections_api, "answer", answer)
    for message in left.values():
        assert failed(broadcaster(batch(json.dumps(message)))) == []
    assert {name: ids(frames) for name, frames in connections_api.posted.items()} == {
        **{name: [["1"], ["2"]] for name in "abc"},
        "d": [["3"]],
    }


def test_a_refusal_stops_the_posts_and_says_so(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Function, queues: Queues
) -> None:
    viewers = [f"{number:03}" for number in range(100)]
    watch(registry, "1337", *viewers)
    connections_api.statuses |= dict.fromkeys(viewers, 403)
    assert failed(broadcaster(batch(event("1")))) == []
    errors = [line["message"] for line in broadcaster.log_lines() if line["level"] == "ERROR"]
    assert any("API Gateway refuses" in error and "HTTP 403" in error for error in errors)
    (chunk,) = queues.take("fan-out")
    assert sorted(id_ for id_, _ in json.loads(chunk)["connections"]) == viewers


def test_an_api_that_cannot_be_reached_costs_nobody_the_event(
    registry: Client,
    connections_api: ConnectionsApi,
    broadcaster: Function,
    queues: Queues,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lambdas.live.broadcaster.PATIENCE_SECONDS", 0.5)
    watch(registry, "1337", "a", "b")
    connections_api.stop()
    assert failed(broadcaster(batch(event("1"), event("2", "42")))) == []
    (chunk,) = queues.take("fan-out")
    assert sorted(id_ for id_, _ in json.loads(chunk)["connections"]) == ["a", "b"]
    assert sum(broadcaster.metrics["FramesFailed"]) == 2


def test_what_cannot_be_handed_over_comes_again(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcaster.module.BROADCASTER, "_fan_out_queue_url", "http://nowhere/queue")
    watch(registry, "1337", "a")
    watch(registry, "42", "b")
    connections_api.statuses["a"] = 400
    assert failed(broadcaster(batch(event("1"), event("2", "42"), event("3")))) == ["1", "3"]


def test_an_audience_that_cannot_be_read_is_put_off_for_a_moment_before_its_message_fails(
    dynamodb: "DynamoDBClient", broadcaster: Function, queues: Queues
) -> None:
    """Whose message fails waits for the queue's visibility timeout, which is a minute and a half."""
    dynamodb.delete_table(TableName=CONNECTIONS)
    assert failed(broadcaster(batch(event("1"), event("2", "42")))) == []
    errors = [line for line in broadcaster.log_lines() if line["level"] == "ERROR"]
    assert {line["streamer_id"] for line in errors} == {"1337", "42"}
    put_off = queues.take("fan-out")
    assert len(put_off) == 2
    assert failed(broadcaster(batch(*put_off))) == put_off


def test_a_registry_that_fails_for_a_moment_costs_nobody_the_event(
    registry: Client,
    connections_api: ConnectionsApi,
    broadcaster: Function,
    queues: Queues,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch(registry, "1337", "a", "b")
    with monkeypatch.context() as outage:
        outage.setattr(broadcaster.module.BROADCASTER, "_table", "no-such-table")
        assert failed(broadcaster(batch(event("1")))) == []
    assert connections_api.posted == {}
    assert failed(broadcaster(batch(*queues.take("fan-out")))) == []
    assert {id_: ids(frames) for id_, frames in connections_api.posted.items()} == {
        "a": [["1"]],
        "b": [["1"]],
    }


def test_a_poisonous_message_fails_alone(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    watch(registry, "1337", "a")
    huge = event("huge", text="x" * MAX_FRAME_BYTES)
    answer = broadcaster(batch("poison", event("1"), huge, "{}", event("2")))
    assert failed(answer) == ["poison", "huge", "{}"]
    assert ids(connections_api.posted["a"]) == [["1", "2"]]
    assert sum(broadcaster.metrics["FramesFailed"]) == 3


def test_many_viewers_are_served_side_by_side(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Function
) -> None:
    viewers = [f"viewer-{number:03}" for number in range(100)]
    watch(registry, "1337", *viewers)
    assert failed(broadcaster(batch(event("1")))) == []
    assert sorted(connections_api.posted) == viewers
    # Posting is at least once: a socket that breaks after a post was taken has it posted again.
    assert sum(len(frames) > 1 for frames in connections_api.posted.values()) < 10


def test_a_change_of_topics_reaches_the_viewers_of_its_channel(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Function, queues: Queues
) -> None:
    watch(registry, "1337", "a=")
    watch(registry, "42", "b=")
    topics = [{"event_type": "channel.cheer", "status": "absent", "reason": "consent_required"}]
    message = TopicsFrame("1337", topics).to_json()
    connections_api.statuses["a="] = 400
    assert failed(broadcaster(batch(message))) == []
    connections_api.statuses.clear()
    assert failed(broadcaster(batch(*queues.take("fan-out")))) == []
    assert connections_api.posted == {"a=": [{"type": "topics", "topics": topics}]}
    assert "DeliveryAge" not in broadcaster.metrics
