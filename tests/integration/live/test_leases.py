"""In whatever order invocations call DynamoDB, and wherever one dies, nobody misses anything unmarked.

The real code on a clock of the test's own; DynamoDB is moto's, the queue a list.
"""

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambdas.common import connections
from lambdas.common.aws import AwsError, Client
from lambdas.common.event import Event
from lambdas.live.batch import ServePart
from lambdas.live.broadcaster import Broadcaster, Report
from lambdas.live.inboxes import LEASE_SECONDS, Inboxes
from lambdas.live.parts import Part
from lambdas.live.posting import Poster
from tests.integration.live.conftest import CONNECTIONS, INBOXES
from tests.unit.live.world import World

STREAMERS = (str(number) for number in itertools.count(1))
VIEWERS = ["a", "b", "c", "d", "e"]


class DeadError(Exception):
    """The invocation was ended."""


class Aws:
    """One invocation's client of DynamoDB and of SQS; ``before`` is called before each call."""

    def __init__(self, dynamodb: Client, queue: list[dict[str, Any]]) -> None:
        self.before: Callable[[], None] = lambda: None
        self.calls = 0
        # Whether the first answer to each call of DynamoDB is lost, after which the client calls again.
        self.loses_answers = False
        self._dynamodb = dynamodb
        self._queue = queue

    def call(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self.before()
        self.calls += 1
        if action == "SendMessage":
            number = f"call-{len(self._queue)}-{parameters['MessageBody'].__hash__()}"
            self._queue.append(record(number, parameters["MessageBody"]))
            return {}
        if action == "ChangeMessageVisibilityBatch":
            return {}
        if self.loses_answers:
            with contextlib.suppress(AwsError):
                self._dynamodb.call(action, parameters)
        return self._dynamodb.call(action, parameters)


def record(message_id: str, body: str) -> dict[str, Any]:
    return {
        "messageId": message_id,
        "receiptHandle": message_id,
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1"},
        "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:fan-out",
    }


class Stage:
    """A channel with a large audience, and invocations that serve it."""

    def __init__(self, dynamodb: Client) -> None:
        self.world = World()
        self.queue: list[dict[str, Any]] = []
        self.streamer_id = next(STREAMERS)
        self.sent: list[str] = []
        self._dynamodb = dynamodb
        for viewer in VIEWERS:
            connections.put(
                dynamodb,
                CONNECTIONS,
                streamer_id=self.streamer_id,
                connection_id=viewer,
                viewer_id="viewer",
                now=datetime.fromtimestamp(self.world.now, UTC),
            )

    def event(self) -> dict[str, Any]:
        """The message of one more event."""
        now = datetime.fromtimestamp(self.world.now, UTC)
        id_ = f"event-{len(self.sent)}"
        self.sent.append(id_)
        return record(f"message-of-{id_}", Event(id_, self.streamer_id, "x", "x", now, now, {}).to_json())

    def invocation(self) -> tuple[Broadcaster, Aws]:
        """A function in an environment of its own."""
        aws = Aws(self._dynamodb, self.queue)
        broadcaster = Broadcaster(
            aws,  # type: ignore[arg-type]
            aws,  # type: ignore[arg-type]
            Poster(self.world, self.world),
            connections_table=CONNECTIONS,
            inboxes_table=INBOXES,
            broadcast_queue_url="http://sqs/broadcast",
            fan_out_queue_url="http://sqs/fan-out",
            clock=self.world,
        )
        return broadcaster, aws

    def invoke(self, message: dict[str, Any], dies_at: float = float("inf")) -> Report | None:
        """Invoke the function with a message; None if it died before so many calls were made."""
        broadcaster, aws = self.invocation()

        def die() -> None:
            if aws.calls >= dies_at:
                raise DeadError

        aws.before = die
        try:
            return broadcaster.broadcast([message], self.world.now + 7)
        except DeadError:
            return None

    def serve_all(self) -> None:
        """Serve parts until no request is left."""
        while self.queue:
            report = self.invoke(self.queue.pop(0))
            assert report
            assert report.failed == []

    def got(self, viewer: str) -> list[str]:
        """The ids of the events that a viewer got, and "missed" for a mark."""
        got = []
        for frame in map(json.loads, self.world.got.get(viewer, [])):
            got += [event["id"] for event in frame["events"]] + ["missed"] * ("missed" in frame)
        return got

    def inbox(self) -> list[Any]:
        """What is in the channel's inboxes, the lease included."""
        items = self._dynamodb.call("Scan", {"TableName": INBOXES, "ConsistentRead": True})["Items"]
        return [item for item in items if item["inbox"]["S"].startswith(f"{self.streamer_id}/")]


@pytest.fixture(autouse=True)
def large_audiences(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audience is large from the third viewer on, and a page has two."""
    monkeypatch.setattr("lambdas.live.broadcaster.SMALL_AUDIENCE", 2)
    monkeypatch.setattr("lambdas.live.serving.PAGE_CONNECTIONS", 2)


class Actor(threading.Thread):
    """An invocation that waits before each call until it is its turn."""

    def __init__(self, stage: Stage, message: dict[str, Any]) -> None:
        super().__init__()
        self._broadcaster, aws = stage.invocation()
        aws.before = self._wait
        self._message = message
        self._until = stage.world.now + 7
        self._turn, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self.is_over = False
        self.report: Report | None = None
        self.start()
        self._waits.acquire()

    def run(self) -> None:
        self.report = self._broadcaster.broadcast([self._message], self._until)
        self.is_over = True
        self._waits.release()

    def _wait(self) -> None:
        self._waits.release()
        self._turn.acquire()

    def go_on(self) -> None:
        """Let it make one call, and come to the next."""
        self._turn.release()
        self._waits.acquire()


@given(choices=st.lists(st.integers(0, 2), max_size=60))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_order_of_calls_loses_an_event_or_brings_two_to_serve_a_part(
    registry: Client, choices: list[int]
) -> None:
    """One invocation serves a part while two bring more events."""
    stage = Stage(registry)
    stage.invoke(stage.event())
    (request,) = stage.queue
    stage.queue.clear()
    actors = [Actor(stage, message) for message in (request, stage.event(), stage.event())]
    turns = iter(choices)
    while alive := [actor for actor in actors if not actor.is_over]:
        alive[next(turns, 0) % len(alive)].go_on()
        assert len(stage.queue) <= 1, "one request at a time"
    for actor in actors:
        actor.join()
        assert actor.report
        assert actor.report.failed == []
    stage.serve_all()
    for viewer in VIEWERS:
        assert sorted(stage.got(viewer)) == stage.sent, "everything, and once"
    assert stage.inbox() == []


@given(choices=st.lists(st.integers(0, 2), max_size=40))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_of_two_equal_requests_at_the_same_time_one_is_served(registry: Client, choices: list[int]) -> None:
    """The queue has two if the answer to sending one was lost."""
    stage = Stage(registry)
    stage.invoke(stage.event())
    (request,) = stage.queue
    stage.queue.clear()
    messages = (request, {**request, "messageId": "the same again"}, stage.event())
    actors = [Actor(stage, message) for message in messages]
    turns = iter(choices)
    while alive := [actor for actor in actors if not actor.is_over]:
        alive[next(turns, 0) % len(alive)].go_on()
    for actor in actors:
        actor.join()
        assert actor.report
        assert actor.report.failed == []
    stage.serve_all()
    for viewer in VIEWERS:
        assert sorted(stage.got(viewer)) == stage.sent, "everything, and once"
    assert stage.inbox() == []


@pytest.mark.parametrize("dies_at", range(16))
def test_an_invocation_that_dies_while_it_serves_is_replaced(registry: Client, dies_at: int) -> None:
    stage = Stage(registry)
    stage.invoke(stage.event())
    request = stage.queue.pop()
    died = stage.invoke(request, dies_at) is None
    stage.world.sleep(LEASE_SECONDS + 1)
    stage.invoke(stage.event())
    if died:
        # The queue brings it again.
        stage.queue.append(request)
    stage.serve_all()
    for viewer in VIEWERS:
        assert set(stage.got(viewer)) == set(stage.sent)
        assert len(stage.got(viewer)) <= 2 * len(stage.sent)
    assert stage.inbox() == []


@pytest.mark.parametrize("dies_at", range(6))
@pytest.mark.parametrize("comes_again_after", [1, LEASE_SECONDS + 1])
def test_an_invocation_that_dies_before_it_sent_its_request_leaves_no_lease_behind(
    registry: Client, dies_at: int, comes_again_after: float
) -> None:
    stage = Stage(registry)
    message = stage.event()
    died = stage.invoke(message, dies_at) is None
    stage.world.sleep(comes_again_after)
    if died:
        stage.invoke(message)
    stage.serve_all()
    for viewer in VIEWERS:
        assert set(stage.got(viewer)) == set(stage.sent)
    assert stage.inbox() == []


@pytest.mark.parametrize("loses_answers", [False, True])
def test_what_is_not_done_in_time_is_handed_over_with_the_lease(
    registry: Client, loses_answers: bool
) -> None:
    """Every invocation has the time for one page of three, and more comes meanwhile."""
    stage = Stage(registry)
    stage.invoke(stage.event())
    served = 0
    while stage.queue:
        broadcaster, aws = stage.invocation()
        calls = itertools.count()

        def time_passes(calls: Iterator[int] = calls) -> None:
            # The lease, the inbox, the first page, and then the second.
            if next(calls) == 3:
                stage.world.sleep(3)

        aws.before, aws.loses_answers = time_passes, loses_answers
        assert broadcaster.broadcast([stage.queue.pop()], stage.world.now + 3).failed == []
        if len(stage.sent) < 3:
            stage.invoke(stage.event())
        assert len(stage.queue) <= 1, "the lease is held all the time"
        served += 1
    assert served >= 3
    for viewer in VIEWERS:
        assert sorted(stage.got(viewer)) == stage.sent, "everything, and once"
    assert stage.inbox() == []


def test_who_is_served_slowly_gets_everything_and_no_mark(registry: Client) -> None:
    """A round's last posts have no answer when the next round could begin."""
    stage = Stage(registry)
    stage.world.per_second = 6
    stage.invoke(stage.event())
    broadcaster, aws = stage.invocation()

    def more_comes() -> None:
        if len(stage.sent) < 6:
            stage.invoke(stage.event())

    aws.before = more_comes
    assert broadcaster.broadcast([stage.queue.pop()], stage.world.now + 20).failed == []
    stage.serve_all()
    for viewer in VIEWERS:
        assert sorted(stage.got(viewer)) == stage.sent


def test_a_message_that_comes_twice_brings_no_second_to_serve_a_part(registry: Client) -> None:
    stage = Stage(registry)
    stage.invoke(stage.event())
    (request,) = stage.queue
    stage.serve_all()
    stage.invoke(request)
    assert all(stage.got(viewer) == stage.sent for viewer in VIEWERS)
    assert stage.inbox() == []


def test_a_silent_dynamodb_is_asked_once_and_the_rest_of_the_batch_comes_again(registry: Client) -> None:
    stage = Stage(registry)
    broadcaster, aws = stage.invocation()

    def silence() -> None:
        stage.world.sleep(2.1)
        raise AwsError("dynamodb", "Unreachable", "silence")

    aws.before = silence
    messages = [
        {
            **stage.event(),
            "body": json.dumps({**json.loads(stage.event()["body"]), "streamer_id": f"other-{n}"}),
        }
        for n in range(10)
    ]
    began = stage.world.now
    report = broadcaster.broadcast(messages, began + 7)
    assert sorted(report.failed) == sorted(message["messageId"] for message in messages)
    assert stage.world.now - began < 5


def test_who_is_closed_costs_the_others_no_frame_twice(registry: Client) -> None:
    """The mark of a viewer who does not read fails, and the viewer is closed, while others get an event."""
    stage = Stage(registry)
    stage.world.answer = lambda id_: (410 if id_ in stage.world.closed else 429) if id_ == "a" else 200
    for _ in range(8):
        stage.invoke(stage.event())
        stage.serve_all()
        stage.world.sleep(2)
    assert "a" in stage.world.closed
    for viewer in VIEWERS[1:]:
        assert stage.got(viewer) == stage.sent, "everything, and once"
    assert stage.inbox() == []


def test_what_dynamodb_is_too_busy_to_remove_is_removed_later_and_not_sent_again(registry: Client) -> None:
    stage = Stage(registry)
    stage.invoke(stage.event())
    (request,) = stage.queue
    stage.queue.clear()
    broadcaster, aws = stage.invocation()
    call, refusals = aws.call, iter(["Unprocessed"])

    def refuse_first(action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if action == "BatchWriteItem" and (code := next(refusals, None)):
            # Another event keeps the invocation serving.
            stage.invoke(stage.event())
            raise AwsError("dynamodb:BatchWriteItem", code, "busy")
        return call(action, parameters)

    aws.call = refuse_first  # type: ignore[method-assign]
    assert broadcaster.broadcast([request], stage.world.now + 7).failed == []
    assert all(stage.got(viewer) == stage.sent for viewer in VIEWERS)
    assert stage.inbox() == []


def test_what_another_version_left_in_an_inbox_was_missed(registry: Client) -> None:
    stage = Stage(registry)
    part = Part(stage.streamer_id, 0, 1)
    Inboxes(registry, INBOXES, stage.world).put([part], {"events": ["odd"], "missed": False, "topics": None})
    stage.queue.append(record("request", ServePart(part).to_json()))
    stage.serve_all()
    assert all(stage.got(viewer) == ["missed"] for viewer in VIEWERS)
    assert stage.inbox() == []


def test_a_slow_dynamodb_costs_no_more_than_the_time_there_is_however_many_parts_there_are(
    registry: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambdas.live.parts.VIEWERS", 0.1)
    monkeypatch.setattr("lambdas.live.parts.MOST_PARTS", 16)
    stage = Stage(registry)
    broadcaster, aws = stage.invocation()
    aws.before = lambda: stage.world.sleep(0.9)
    message, began = stage.event(), stage.world.now
    assert broadcaster.broadcast([message], began + 7).failed == [message["messageId"]]
    assert stage.world.now - began < 14
    stage.invoke(message)
    stage.serve_all()
    assert all(set(stage.got(viewer)) == set(stage.sent) for viewer in VIEWERS)


@pytest.mark.parametrize(("seconds", "is_silent"), [(2.1, True), (0.9, False)])
def test_a_silent_or_slow_dynamodb_costs_little_however_many_are_gone(
    registry: Client, monkeypatch: pytest.MonkeyPatch, seconds: float, is_silent: bool
) -> None:
    monkeypatch.setattr("lambdas.live.broadcaster.SMALL_AUDIENCE", 100)
    stage = Stage(registry)
    stage.world.answer = lambda _: 410
    broadcaster, aws = stage.invocation()
    messages = []
    for _ in range(10):
        stage.streamer_id = next(STREAMERS)
        for number in range(10):
            connections.put(
                registry,
                CONNECTIONS,
                streamer_id=stage.streamer_id,
                connection_id=f"{stage.streamer_id}-{number}",
                viewer_id="viewer",
                now=datetime.fromtimestamp(stage.world.now - 60, UTC),
            )
        messages.append(stage.event())

    def fail() -> None:
        if aws.calls >= len(messages):
            stage.world.sleep(seconds)
            if is_silent:
                raise AwsError("dynamodb", "Unreachable", "silence")

    aws.before = fail
    began = stage.world.now
    assert broadcaster.broadcast(messages, began + 7).failed == []
    assert len(stage.world.tried) == 10 * len(messages)
    assert stage.world.now - began < 3
