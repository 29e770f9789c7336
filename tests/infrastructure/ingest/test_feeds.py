"""Queues: what fails ends in a dead-letter queue with an alarm; feeds take the topic's raw notifications."""

import pytest

from lambdas.live.inboxes import LEASE_SECONDS
from tests.infrastructure.template import Stage

FEEDS = {"History/Feed": "recorder", "Live/Feed": "broadcaster"}
# All queues, with who consumes them.
QUEUES = {**FEEDS, "Live/FanOut": "broadcaster"}


@pytest.mark.parametrize("feed", FEEDS)
def test_notifications_arrive_raw(prod: Stage, feed: str) -> None:
    (subscription,) = (
        found
        for found in prod.of_type("AWS::SNS::Subscription").values()
        if found["Endpoint"] == f"{{{feed}/Queue.Arn}}"
    )
    assert subscription["RawMessageDelivery"] is True
    assert subscription["FilterPolicy"] == {"message_type": ["notification"]}
    assert subscription["RedrivePolicy"] == {"deadLetterTargetArn": f"{{{feed}/DeadLetters.Arn}}"}


@pytest.mark.parametrize(("feed", "times"), [("History/Feed", 1000), ("Live/Feed", 18), ("Live/FanOut", 18)])
def test_a_message_that_keeps_failing_becomes_a_dead_letter(prod: Stage, feed: str, times: int) -> None:
    queue = prod.resources[f"{feed}/Queue"].properties
    assert queue["RedrivePolicy"] == {
        "deadLetterTargetArn": f"{{{feed}/DeadLetters.Arn}}",
        "maxReceiveCount": times,
    }


@pytest.mark.parametrize("feed", QUEUES)
@pytest.mark.parametrize("queue", ["Queue", "DeadLetters"])
def test_messages_are_kept_for_two_weeks(prod: Stage, feed: str, queue: str) -> None:
    assert prod.resources[f"{feed}/{queue}"].properties["MessageRetentionPeriod"] == 14 * 24 * 3600


def test_a_database_may_be_away_for_hours_before_an_event_is_a_dead_letter(prod: Stage) -> None:
    queue = prod.resources["History/Feed/Queue"].properties
    assert queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"] >= 6 * 3600


def test_an_event_stays_invisible_while_it_may_be_handled(prod: Stage) -> None:
    """Not much longer, since so long after a fault it comes again."""
    timeouts = {feed: prod.function(job)["Timeout"] for feed, job in FEEDS.items()}
    visibility = {feed: prod.resources[f"{feed}/Queue"].properties["VisibilityTimeout"] for feed in FEEDS}
    assert timeouts["History/Feed"] < visibility["History/Feed"] == 25
    assert timeouts["Live/Feed"] < visibility["Live/Feed"] == 20


def test_whoever_serves_a_part_and_dies_is_replaced_when_its_lease_has_ended(prod: Stage) -> None:
    timeout = prod.function("broadcaster")["Timeout"]
    queue = prod.resources["Live/FanOut/Queue"].properties
    assert timeout < LEASE_SECONDS < queue["VisibilityTimeout"] == 2 * timeout


@pytest.mark.parametrize("feed", QUEUES)
@pytest.mark.parametrize("queue", ["Queue", "DeadLetters"])
def test_queues_take_tls_only(prod: Stage, feed: str, queue: str) -> None:
    statements = prod.resources[f"{feed}/{queue}/Policy"].properties["PolicyDocument"]["Statement"]
    refusals = [statement["Condition"] for statement in statements if statement["Effect"] == "Deny"]
    assert refusals == [{"Bool": {"aws:SecureTransport": "false"}}]


@pytest.mark.parametrize("feed", FEEDS)
def test_only_the_topic_may_send_to_a_feed(prod: Stage, feed: str) -> None:
    statements = prod.resources[f"{feed}/Queue/Policy"].properties["PolicyDocument"]["Statement"]
    (allowed,) = (statement for statement in statements if statement["Effect"] == "Allow")
    assert allowed["Action"] == "sqs:SendMessage"
    assert allowed["Condition"] == {"ArnEquals": {"aws:SourceArn": "{Ingest/Events}"}}


@pytest.mark.parametrize("feed", QUEUES)
def test_one_dead_letter_raises_the_alarm(prod: Stage, feed: str) -> None:
    alarm = prod.resources[f"{feed}/DeadLettersAlarm"].properties
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": f"{{{feed}/DeadLetters.QueueName}}"}]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanOrEqualToThreshold", 1)


def _source(stage: Stage, feed: str) -> dict[str, object]:
    (source,) = (
        found
        for found in stage.of_type("AWS::Lambda::EventSourceMapping").values()
        if found["EventSourceArn"] == f"{{{feed}/Queue.Arn}}"
    )
    return source


@pytest.mark.parametrize("feed", QUEUES)
def test_a_bad_message_does_not_fail_its_batch(prod: Stage, feed: str) -> None:
    assert _source(prod, feed)["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_recording_gathers_events_for_a_second_and_broadcasting_does_not(prod: Stage) -> None:
    record, broadcast = _source(prod, "History/Feed"), _source(prod, "Live/Feed")
    assert (record["BatchSize"], record["MaximumBatchingWindowInSeconds"]) == (500, 1)
    assert broadcast["BatchSize"] == 10
    assert "MaximumBatchingWindowInSeconds" not in broadcast


def test_broadcasting_has_a_share_of_its_own_and_no_more(prod: Stage) -> None:
    for feed in ("Live/Feed", "Live/FanOut"):
        assert _source(prod, feed)["ScalingConfig"] == {"MaximumConcurrency": 100}
    assert prod.function("broadcaster")["ReservedConcurrentExecutions"] == 200


def test_each_part_of_an_audience_has_an_invocation_to_itself(prod: Stage) -> None:
    fan_out = _source(prod, "Live/FanOut")
    assert fan_out["BatchSize"] == 1
    assert "MaximumBatchingWindowInSeconds" not in fan_out


def test_nobody_is_let_into_the_broadcasters_own_queue_but_by_its_role(prod: Stage) -> None:
    statements = prod.resources["Live/FanOut/Queue/Policy"].properties["PolicyDocument"]["Statement"]
    assert all(statement["Effect"] == "Deny" for statement in statements)
