"""The broadcaster against a registry, inboxes and queues (moto) and a loopback @connections API."""

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from lambdas.common import connections
from lambdas.common.aws import Client
from lambdas.common.event import Event
from lambdas.common.topics_frame import TopicsFrame
from lambdas.live.broadcaster import QUIET_IN_A_ROW
from lambdas.live.frames import MAX_EVENTS, MAX_FRAME_BYTES
from lambdas.live.frequency_limit import FrequencyLimit
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
    monkeypatch.setattr("lambdas.live.unserved.RETRY_SECONDS", 0)
    monkeypatch.setattr("lambdas.live.serving.ROUND_SECONDS", 0.0)
    return load(
        monkeypatch,
        capsys,
        "lambdas.handlers.broadcaster",
        CONNECTIONS_TABLE=CONNECTIONS,
        INBOXES_TABLE=INBOXES,
        CONNECTIONS_ENDPOINT=connections_api.endpoint,
        BROADCAST_QUEUE_URL=queues.urls["broadcast"],
        FAN_OUT_QUEUE_URL=queues.urls["fan-out"],
        POSTS_PER_SECOND="9500",
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

    def send(self, *messages: Event | TopicsFrame | str) -> list[str]:
        """Broadcast, and serve the parts until no request is left."""
        failed = self.invoke("broadcast", *messages)
        while records := self.queues.receive("fan-out"):
            for record in records:
                answer = self.function({"Records": [record]})
                assert answer == {"batchItemFailures": []}
                self.queues.delete(record)
        return failed


@pytest.fixture
def broadcaster(function: Function, queues: Queues, monkeypatch: pytest.MonkeyPatch) -> Lambda:
    # However slowly the server answers: what is given up without an answer is in tests/unit/live.
    for seconds in ("ANSWER_SECONDS", "ANSWER_GRACE_SECONDS"):
        monkeypatch.setattr(f"lambdas.live.posting.{seconds}", 60.0)
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
    assert broadcaster.send(first, other, second) == []
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
    requests = broadcaster.queues.receive("fan-out")
    assert 4 <= len(requests) <= 16, "one for each part"
    for request in requests:
        assert broadcaster.function({"Records": [request]}) == {"batchItemFailures": []}
    assert sorted(connections_api.attempts) == viewers
    assert all(ids(frames) == [["1", "2"]] for frames in connections_api.posted.values())
    assert left_in_inboxes(dynamodb) == []


def test_what_does_not_fit_into_one_frame_comes_in_several_in_order(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda
) -> None:
    watch(registry, "1337", "a")
    assert broadcaster.send(*[event(str(number), text="x" * 12_000) for number in range(5)]) == []
    assert ids(connections_api.posted["a"]) == [["0"], ["1", "2"], ["3", "4"]]


def test_a_channel_that_nobody_watches_costs_no_post(
    connections_api: ConnectionsApi, broadcaster: Lambda
) -> None:
    assert broadcaster.send(event("1")) == []
    assert connections_api.attempts == []
    assert "DeliveryAge" not in broadcaster.function.metrics


def test_a_busy_channels_events_gather_in_the_inbox_and_travel_together(
    registry: Client,
    connections_api: ConnectionsApi,
    broadcaster: Lambda,
    dynamodb: "DynamoDBClient",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # However long the ten batches take.
    quiet_channels = FrequencyLimit(3600.0, QUIET_IN_A_ROW)
    monkeypatch.setattr(broadcaster.function.module.BROADCASTER, "_quiet_channels", quiet_channels)
    watch(registry, "1337", "a")
    for number in range(10):
        assert broadcaster.invoke("broadcast", event(f"{number}-0"), event(f"{number}-1")) == []
    at_once = ids(connections_api.posted["a"])
    assert 3 <= len(at_once) < 10, "a few in a row"
    (request,) = broadcaster.queues.receive("fan-out")
    assert broadcaster.function({"Records": [request]}) == {"batchItemFailures": []}
    assert len(connections_api.posted["a"]) == len(at_once) + 1
    assert sorted(all_ids(connections_api.posted["a"])) == [f"{n}-{i}" for n in range(10) for i in range(2)]
    assert left_in_inboxes(dynamodb) == []


@pytest.mark.usefixtures("large_audiences")
def test_a_batch_of_the_largest_events_finds_room_in_an_inbox(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda, dynamodb: "DynamoDBClient"
) -> None:
    """Also if a large part of them are quotation marks, which JSON escapes, and again within other JSON."""
    watch(registry, "1337", *"abcde")
    assert broadcaster.send(*[event(str(number), text='"' * 16_000) for number in range(10)]) == []
    for frames in connections_api.posted.values():
        assert frames[-1]["events"][-1]["payload"] == {"text": '"' * 16_000}
    assert left_in_inboxes(dynamodb) == []


@pytest.mark.usefixtures("large_audiences")
def test_more_than_a_frame_holds_is_cut_to_the_newest_with_a_mark(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda, dynamodb: "DynamoDBClient"
) -> None:
    watch(registry, "1337", *"abcde")
    for first in range(0, 150, 10):
        broadcaster.invoke("broadcast", *[event(f"{first + number:03}") for number in range(10)])
    broadcaster.send()
    for frames in connections_api.posted.values():
        assert len(all_ids(frames)) <= MAX_EVENTS
        assert all_ids(frames)[-1] >= "140"
        assert frames[-1]["missed"]
    assert left_in_inboxes(dynamodb) == []


def test_events_that_come_too_late_leave_a_mark(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda
) -> None:
    watch(registry, "1337", "a")
    assert broadcaster.send(event("late", age=31), event("in-time", age=5)) == []
    (frame,) = connections_api.posted["a"]
    assert (all_ids([frame]), frame["missed"]) == (["in-time"], True)


@pytest.mark.usefixtures("large_audiences")
def test_events_that_have_waited_too_long_in_the_inbox_leave_a_mark(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch(registry, "1337", *"abcde")
    broadcaster.invoke("broadcast", event("1"))
    monkeypatch.setattr("lambdas.live.update.MAX_AGE_SECONDS", 0.0)
    broadcaster.send()
    assert connections_api.posted == {viewer: [MARK] for viewer in "abcde"}


def test_an_event_too_large_for_a_frame_leaves_a_mark(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda
) -> None:
    watch(registry, "1337", "a")
    assert broadcaster.send(event("huge", text="x" * MAX_FRAME_BYTES)) == []
    assert connections_api.posted == {"a": [MARK]}


@pytest.mark.usefixtures("large_audiences")
def test_nobody_is_skipped_who_stays_while_others_come_and_go(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda, monkeypatch: pytest.MonkeyPatch
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

    monkeypatch.setattr("lambdas.live.serving.connections.read", read_while_others_move)
    assert broadcaster.send(event("1")) == []
    assert {name: len(connections_api.posted.get(name, [])) for name in staying} == dict.fromkeys(staying, 1)
    assert all(len(frames) == 1 for frames in connections_api.posted.values())


def test_a_gone_connection_is_removed_and_the_others_are_served(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda
) -> None:
    watch(registry, "1337", "a", "gone", "z")
    connections_api.statuses["gone"] = 410
    assert broadcaster.send(event("1")) == []
    assert sorted(connections_api.posted) == ["a", "z"]
    assert watching(registry, "1337") == ["a", "z"]
    assert sum(broadcaster.function.metrics["ConnectionsGone"]) == 1


def test_a_connection_whose_handshake_still_runs_is_tried_again_and_kept(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored before API Gateway has opened it, and until then it answers 410, too."""
    for seconds in ("HANDSHAKE_SECONDS", "GRACE_SECONDS"):
        monkeypatch.setattr(f"lambdas.live.posting.{seconds}", 3600.0)
    watch(registry, "1337", "opening", since=0)
    answer = connections_api.answer
    statuses = iter([410, 410])
    monkeypatch.setattr(
        connections_api, "answer", lambda id_, body: next(statuses, None) or answer(id_, body)
    )
    assert broadcaster.send(event("1")) == []
    assert len(connections_api.posted["opening"]) == 1
    assert watching(registry, "1337") == ["opening"]


def test_a_connection_that_is_gone_before_its_handshake_could_be_over_is_removed_once_it_is(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambdas.live.posting.HANDSHAKE_SECONDS", 3600.0)
    watch(registry, "1337", "a", "closed-at-once")
    connections_api.statuses["closed-at-once"] = 410
    answer = connections_api.answer

    def end_handshake(connection_id: str, body: bytes) -> int:
        if connections_api.attempts.count("closed-at-once") > 1:
            monkeypatch.setattr("lambdas.live.posting.HANDSHAKE_SECONDS", 0.0)
        return answer(connection_id, body)

    monkeypatch.setattr(connections_api, "answer", end_handshake)
    assert broadcaster.send(event("1")) == []
    assert watching(registry, "1337") == ["a"]
    assert connections_api.attempts.count("closed-at-once") > 1


@pytest.mark.parametrize("status", [429, 500])
def test_a_passing_failure_is_overcome_within_the_invocation(
    registry: Client,
    connections_api: ConnectionsApi,
    broadcaster: Lambda,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    monkeypatch.setattr("lambdas.live.posting.GRACE_SECONDS", 60.0)
    watch(registry, "1337", "a")
    answer = connections_api.answer
    statuses = iter([status, status])
    monkeypatch.setattr(
        connections_api, "answer", lambda id_, body: next(statuses, None) or answer(id_, body)
    )
    assert broadcaster.invoke("broadcast", event("1")) == []
    assert ids(connections_api.posted["a"]) == [["1"]]
    assert sum(broadcaster.function.metrics["FramesRetried"]) == 2
    assert sum(broadcaster.function.metrics["FramesThrottled"]) == (2 if status == 429 else 0)


@pytest.mark.parametrize("status", [429, 500])
@pytest.mark.parametrize("viewers", [50, 3])
def test_a_viewer_who_was_given_up_gets_the_mark_later(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda, status: int, viewers: int
) -> None:
    others = [f"{number:03}" for number in range(viewers)]
    watch(registry, "1337", "slow", *others)
    connections_api.statuses["slow"] = status
    assert broadcaster.invoke("broadcast", event("1")) == []
    assert sorted(connections_api.posted) == others
    connections_api.statuses.clear()
    broadcaster.send()
    assert connections_api.posted.pop("slow") == [MARK]
    assert all(ids(frames) == [["1"]] for frames in connections_api.posted.values())
    assert watching(registry, "1337") == sorted(["slow", *others])


@pytest.mark.usefixtures("large_audiences")
def test_a_viewer_of_a_large_audience_who_does_not_read_is_passed_over_and_gets_the_mark_later(
    registry: Client,
    connections_api: ConnectionsApi,
    broadcaster: Lambda,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch(registry, "1337", "slow", *"abcd")
    connections_api.statuses["slow"] = 500
    answer = connections_api.answer

    def recover(connection_id: str, body: bytes) -> int:
        if connections_api.attempts.count("slow") >= 8 and json.loads(body) == MARK:
            connections_api.statuses.clear()
        return answer(connection_id, body)

    monkeypatch.setattr(connections_api, "answer", recover)
    assert broadcaster.send(event("1")) == []
    assert connections_api.posted.pop("slow") == [MARK]
    assert {id_: ids(frames) for id_, frames in connections_api.posted.items()} == {
        id_: [["1"]] for id_ in "abcd"
    }


@pytest.mark.parametrize("status", [429, 400])
def test_a_viewer_who_takes_nothing_for_some_seconds_is_closed(
    registry: Client,
    connections_api: ConnectionsApi,
    broadcaster: Lambda,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    monkeypatch.setattr("lambdas.live.unserved.FULL_SECONDS", 0.5)
    watch(registry, "1337", "full", *"abc")
    connections_api.statuses["full"] = status
    assert broadcaster.send(event("1")) == []
    assert connections_api.closed == ["full"]
    assert watching(registry, "1337") == ["a", "b", "c"]


def test_a_refusal_stops_the_posts_says_so_and_comes_again(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda
) -> None:
    viewers = [f"{number:03}" for number in range(100)]
    watch(registry, "1337", *viewers)
    connections_api.statuses |= dict.fromkeys(viewers, 403)
    message = event("1")
    assert broadcaster.invoke("broadcast", message) == [message.to_json()]
    errors = [line for line in broadcaster.function.log_lines() if line["level"] == "ERROR"]
    assert any("API Gateway refuses" in line["message"] and "403" in line["problem"] for line in errors)
    assert watching(registry, "1337") == viewers


def test_an_api_that_cannot_be_reached_costs_nobody_the_mark(
    registry: Client,
    connections_api: ConnectionsApi,
    broadcaster: Lambda,
    dynamodb: "DynamoDBClient",
) -> None:
    watch(registry, "1337", "a", "b")
    connections_api.stop()
    assert broadcaster.invoke("broadcast", event("1"), event("2", "42")) == []
    (entry,) = [item for item in left_in_inboxes(dynamodb) if "content" in item]
    assert {id_ for id_, *_ in json.loads(entry["content"]["S"])["unserved"]} == {"a", "b"}
    assert sum(broadcaster.function.metrics["FramesFailed"]) == 2


def test_a_message_comes_again_if_its_unserved_viewers_could_not_be_noted(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda, dynamodb: "DynamoDBClient"
) -> None:
    watch(registry, "1337", "a")
    connections_api.statuses["a"] = 400
    dynamodb.delete_table(TableName=INBOXES)
    message = event("1")
    assert broadcaster.invoke("broadcast", message) == [message.to_json()]


def test_a_registry_that_cannot_be_read_makes_the_messages_come_again_in_two_seconds_then_four(
    registry: Client,
    connections_api: ConnectionsApi,
    broadcaster: Lambda,
    dynamodb: "DynamoDBClient",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not after the queue's visibility timeout, which is 20 seconds."""
    dynamodb.delete_table(TableName=CONNECTIONS)
    timeouts: list[int] = []
    sqs = broadcaster.function.module.BROADCASTER._sqs
    call = sqs.call

    def note(action: str, parameters: Any) -> Any:
        if action == "ChangeMessageVisibilityBatch":
            timeouts.extend(entry["VisibilityTimeout"] for entry in parameters["Entries"])
            parameters = {
                **parameters,
                "Entries": [{**entry, "VisibilityTimeout": 0} for entry in parameters["Entries"]],
            }
        return call(action, parameters)

    monkeypatch.setattr(sqs, "call", note)
    messages = [event("1"), event("2", "42")]
    for _ in range(5):
        failed = broadcaster.invoke("broadcast", *messages)
        messages = []
        assert len(failed) == 2
    assert timeouts == [2, 2, 4, 4, *[8] * 6]
    errors = [line for line in broadcaster.function.log_lines() if line["level"] == "ERROR"]
    assert {line["streamer_id"] for line in errors} == {"1337", "42"}


def test_a_poisonous_message_fails_alone(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda
) -> None:
    watch(registry, "1337", "a")
    assert broadcaster.invoke("broadcast", "poison", event("1"), "{}", event("2")) == ["poison", "{}"]
    assert ids(connections_api.posted["a"]) == [["1", "2"]]
    assert sum(broadcaster.function.metrics["FramesFailed"]) == 2


def test_many_viewers_are_served_side_by_side(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda
) -> None:
    viewers = [f"viewer-{number:03}" for number in range(100)]
    watch(registry, "1337", *viewers)
    assert broadcaster.send(event("1")) == []
    assert sorted(connections_api.posted) == viewers
    # Posting is at least once: a socket that breaks after a post was taken has it posted again.
    assert sum(len(frames) > 1 for frames in connections_api.posted.values()) < 10


def test_a_change_of_topics_reaches_the_viewers_of_its_channel(
    registry: Client, connections_api: ConnectionsApi, broadcaster: Lambda
) -> None:
    watch(registry, "1337", "a=")
    watch(registry, "42", "b=")
    topics = [{"event_type": "channel.cheer", "status": "absent", "reason": "consent_required"}]
    assert broadcaster.send(TopicsFrame("1337", topics, 1)) == []
    assert connections_api.posted == {"a=": [TopicsFrame("1337", topics, 1).frame()]}
    assert "DeliveryAge" not in broadcaster.function.metrics
