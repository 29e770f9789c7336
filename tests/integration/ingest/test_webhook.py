"""The webhook function against SNS, SQS and Secrets Manager (moto)."""

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambdas.common.event import Event
from lambdas.ingest.eventsub_signature import sign
from tests.integration.functions import Function, aws_variables, load

SECRET = "a webhook secret for tests"
NOTIFICATION: dict[str, dict[str, Any]] = {
    "subscription": {"type": "channel.raid", "condition": {"to_broadcaster_user_id": "1337"}},
    "event": {
        "from_broadcaster_user_id": "1234",
        "from_broadcaster_user_login": "raider",
        "to_broadcaster_user_id": "1337",
        "to_broadcaster_user_login": "cool_user",
        "viewers": 120,
    },
}
# Every character, lone surrogates included, and often those that are a trouble to somebody.
ANYTHING = st.characters(exclude_categories=[]) | st.sampled_from(
    '\0\x1f\x7f\ud800\udc00\ufffe\uffff\U0001ffff"\\яё😀'
)
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
REFUSED_BY_SNS = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
VERIFICATION = "webhook_callback_verification"
REVOCATION: dict[str, dict[str, Any]] = {
    "subscription": {
        "id": "s",
        "status": "user_removed",
        "type": "user.update",
        "condition": {"user_id": "1337"},
    }
}


class Cloud:
    """The topic with a queue for each message type, subscribed as in the app, and the secret."""

    def __init__(self) -> None:
        self.sns, self.sqs = boto3.client("sns"), boto3.client("sqs")
        self.secrets = boto3.client("secretsmanager")
        self.topic = self.sns.create_topic(Name="events")["TopicArn"]
        self.secret = self.secrets.create_secret(Name="webhook", SecretString=SECRET)["ARN"]
        self.queues = {name: self._subscribe(name) for name in ("notification", "revocation", VERIFICATION)}

    def _subscribe(self, message_type: str) -> str:
        url = self.sqs.create_queue(QueueName=message_type)["QueueUrl"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        self.sns.subscribe(
            TopicArn=self.topic,
            Protocol="sqs",
            Endpoint=attributes["QueueArn"],
            Attributes={
                "RawMessageDelivery": "true",
                "FilterPolicy": json.dumps({"message_type": [message_type]}),
            },
        )
        return url

    def received(self, message_type: str = "notification") -> list[dict[str, Any]]:
        """The messages that were published, as the queue's consumer sees them."""
        answer = self.sqs.receive_message(
            QueueUrl=self.queues[message_type], MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        return [dict(message) for message in answer.get("Messages", [])]


@pytest.fixture
def cloud(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    for variable, value in aws_variables(aws_endpoint).items():
        monkeypatch.setenv(variable, value)
    return Cloud()


@pytest.fixture
def webhook(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Function:
    return load(
        monkeypatch,
        capsys,
        "lambdas.handlers.webhook",
        EVENTS_TOPIC_ARN=cloud.topic,
        WEBHOOK_SECRET_ARN=cloud.secret,
    )


def request(
    content: Any, message_type: str = "notification", *, secret: str = SECRET, age: float = 2.0
) -> dict[str, Any]:
    """A delivery as API Gateway hands it over (payload 2.0: header names in lower case)."""
    body = content if isinstance(content, str) else json.dumps(content)
    sent_at = datetime.now(UTC) - timedelta(seconds=age)
    timestamp = f"{sent_at:%Y-%m-%dT%H:%M:%S.%f}789Z"
    headers = {
        "content-type": "application/json",
        "twitch-eventsub-message-id": "an-id",
        "twitch-eventsub-message-type": message_type,
        "twitch-eventsub-message-timestamp": timestamp,
        "twitch-eventsub-message-signature": sign("an-id", timestamp, body.encode(), secret.encode()),
    }
    return {"version": "2.0", "headers": headers, "body": body, "isBase64Encoded": False}


def test_a_notification_reaches_its_queue_as_an_event(cloud: Cloud, webhook: Function) -> None:
    begin = datetime.now(UTC)
    assert webhook(request(NOTIFICATION)) == {"statusCode": 204}
    (message,) = cloud.received()
    event = Event.from_json(message["Body"])
    assert (event.id, event.streamer_id, event.streamer_name) == ("an-id", "1337", "cool_user")
    assert (event.event_type, event.payload) == ("channel.raid", NOTIFICATION["event"])
    assert event.occurred_at < begin <= event.created_at <= datetime.now(UTC)
    assert {name: value["StringValue"] for name, value in message["MessageAttributes"].items()} == {
        "message_type": "notification",
        "event_type": "channel.raid",
    }
    assert cloud.received("revocation") == []
    assert webhook.metrics == {"EventsReceived": [1]}
    assert [line["correlation_id"] for line in webhook.log_lines()] == ["an-id"]


@pytest.mark.parametrize("login", [None, "", 7, "37885088", "x" * 10_000])
def test_an_event_without_a_login_is_accepted(cloud: Cloud, webhook: Function, login: Any) -> None:
    event = {**NOTIFICATION["event"], "to_broadcaster_user_login": login}
    assert webhook(request({**NOTIFICATION, "event": event})) == {"statusCode": 204}
    (message,) = cloud.received()
    assert Event.from_json(message["Body"]).streamer_id == "1337"


def test_a_revocation_is_published_but_not_to_the_queues_of_notifications(
    cloud: Cloud, webhook: Function
) -> None:
    assert webhook(request(REVOCATION, "revocation")) == {"statusCode": 204}
    (message,) = cloud.received("revocation")
    body = json.loads(message["Body"])
    assert body.keys() == {"id", "sent_at", "subscription"}
    assert (body["id"], body["subscription"]) == ("an-id", REVOCATION["subscription"])
    assert cloud.received() == []
    assert webhook.metrics == {"EventsReceived": [0]}


def test_a_challenge_is_answered_raw_and_published_nowhere(cloud: Cloud, webhook: Function) -> None:
    answer = webhook(request({"challenge": "pogchamp-kappa"}, "webhook_callback_verification"))
    assert answer == {
        "statusCode": 200,
        "headers": {"content-type": "text/plain"},
        "body": "pogchamp-kappa",
    }
    assert cloud.received() == cloud.received("revocation") == []


def test_an_answered_challenge_is_published_with_its_subscription(cloud: Cloud, webhook: Function) -> None:
    subscription = {**REVOCATION["subscription"], "status": "webhook_callback_verification_pending"}
    content = {"challenge": "pogchamp-kappa", "subscription": subscription}
    assert webhook(request(content, "webhook_callback_verification"))["body"] == "pogchamp-kappa"
    (message,) = cloud.received("webhook_callback_verification")
    assert json.loads(message["Body"])["subscription"] == subscription


def test_a_challenge_is_answered_even_if_publishing_fails(cloud: Cloud, webhook: Function) -> None:
    cloud.sns.delete_topic(TopicArn=cloud.topic)
    content = {"challenge": "pogchamp-kappa", "subscription": REVOCATION["subscription"]}
    assert webhook(request(content, "webhook_callback_verification"))["statusCode"] == 200
    (line,) = webhook.log_lines()
    assert line["level"] == "ERROR"


class TestRotation:
    """The secret gets a new version while the function is warm."""

    @pytest.fixture
    def rotated(self, cloud: Cloud, webhook: Function) -> Function:
        assert webhook(request(NOTIFICATION)) == {"statusCode": 204}
        cloud.secrets.put_secret_value(SecretId=cloud.secret, SecretString="the secret's new version")
        return webhook

    def test_both_versions_verify(self, rotated: Function, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rotated.module, "FRESH_SECONDS", 0)
        assert rotated(request(NOTIFICATION, secret="the secret's new version")) == {"statusCode": 204}
        assert rotated(request(NOTIFICATION)) == {"statusCode": 204}
        assert rotated(request(NOTIFICATION, secret="a guess"))["statusCode"] == 403

    def test_wrong_signatures_do_not_make_the_function_read_the_secret_each_time(
        self, cloud: Cloud, rotated: Function, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rotated.module, "FRESH_SECONDS", 3600)
        cloud.secrets.delete_secret(SecretId=cloud.secret, ForceDeleteWithoutRecovery=True)
        assert rotated(request(NOTIFICATION, secret="a guess"))["statusCode"] == 403


def test_a_body_that_came_as_base64_is_the_same_body(cloud: Cloud, webhook: Function) -> None:
    delivery = request({**NOTIFICATION, "note": "Gö 😀"})
    encoded = base64.b64encode(delivery["body"].encode()).decode()
    assert webhook({**delivery, "body": encoded, "isBase64Encoded": True}) == {"statusCode": 204}
    assert len(cloud.received()) == 1


def test_the_case_of_header_names_does_not_matter(cloud: Cloud, webhook: Function) -> None:
    delivery = request(NOTIFICATION)
    headers = {name.title(): value for name, value in delivery["headers"].items()}
    assert webhook({**delivery, "headers": headers}) == {"statusCode": 204}
    assert len(cloud.received()) == 1


def test_a_redelivery_is_accepted_and_keeps_its_id(cloud: Cloud, webhook: Function) -> None:
    assert [webhook(request(NOTIFICATION)) for _ in range(2)] == [{"statusCode": 204}] * 2
    assert [Event.from_json(message["Body"]).id for message in cloud.received()] == ["an-id"] * 2


def with_title(title: Any) -> dict[str, Any]:
    """A notification with this in its payload; a string stands in it as it would in UTF-8."""
    text = json.dumps({**NOTIFICATION, "event": {**NOTIFICATION["event"], "title": "?"}})
    return request(
        text.replace('"?"', title if isinstance(title, Nested) else json.dumps(title, ensure_ascii=False))
    )


class Nested(str):
    """JSON that is made by hand, since Python cannot write what is nested so deeply."""

    __slots__ = ()


def nested(depth: int) -> Nested:
    return Nested("[" * depth + "]" * depth)


def without(delivery: dict[str, Any], header: str) -> dict[str, Any]:
    return {**delivery, "headers": {k: v for k, v in delivery["headers"].items() if k != header}}


@pytest.mark.parametrize(
    ("make", "status", "reason"),
    [
        (lambda: request(NOTIFICATION, secret="another secret"), 403, "bad_signature"),
        (lambda: request(NOTIFICATION) | {"body": "{}"}, 403, "bad_signature"),
        (lambda: without(request(NOTIFICATION), "twitch-eventsub-message-signature"), 403, "missing_header"),
        (lambda: {"headers": {}, "isBase64Encoded": False}, 403, "missing_header"),
        (lambda: request(NOTIFICATION, age=605), 403, "stale"),
        (lambda: request(NOTIFICATION, age=-700), 403, "stale"),
        (lambda: request("x" * (1024 * 1024 + 1)), 413, "too_large"),
        (lambda: with_title("x" * 256 * 1024), 413, "too_large"),
        (lambda: with_title("я" * 128 * 1024), 413, "too_large"),
        (
            lambda: request(
                {**REVOCATION, "subscription": {**REVOCATION["subscription"], "why": "x" * 262_144}},
                "revocation",
            ),
            413,
            "too_large",
        ),
        (lambda: request("{"), 400, "unparsable"),
        (lambda: with_title(nested(986)), 400, "unparsable"),
        (lambda: with_title(nested(100_000)), 400, "unparsable"),
        (
            lambda: request(
                NOTIFICATION | {"subscription": {**NOTIFICATION["subscription"], "type": "\ud800"}}
            ),
            400,
            "unparsable",
        ),
        (lambda: request({"challenge": "\ud800"}, VERIFICATION), 400, "unparsable"),
        (lambda: request(REVOCATION), 400, "unparsable"),
        (lambda: request(NOTIFICATION, "surprise"), 400, "unknown_type"),
        (lambda: without(request(NOTIFICATION), "twitch-eventsub-message-type"), 400, "unknown_type"),
        (
            lambda: request({"subscription": {"type": "t", "condition": {}}, "event": {}}),
            400,
            "no_channel",
        ),
    ],
)
def test_what_is_refused_is_logged_counted_and_not_published(
    cloud: Cloud, webhook: Function, make: Callable[[], dict[str, Any]], status: int, reason: str
) -> None:
    delivery = make()
    answer = webhook(delivery)
    assert answer["statusCode"] == status
    assert answer["headers"] == {"content-type": "application/json"}
    assert json.loads(answer["body"])["error"]["code"] == reason
    assert cloud.received() == cloud.received("revocation") == []

    assert webhook.metrics == {"EventsRefused": [1]}
    assert webhook.dimensions["reason"] == reason
    (line,) = webhook.log_lines()
    assert (line["level"], line["reason"]) == ("WARNING", reason)
    assert line.get("correlation_id") == delivery["headers"].get("twitch-eventsub-message-id")
    assert SECRET not in webhook.logs.getvalue()
    assert "sha256=" not in webhook.logs.getvalue()


def test_the_largest_body_is_accepted(cloud: Cloud, webhook: Function) -> None:
    padding = 1024 * 1024 - len(json.dumps({**NOTIFICATION, "padding": ""}))
    delivery = request({**NOTIFICATION, "padding": "x" * padding})
    assert len(delivery["body"]) == 1024 * 1024
    assert webhook(delivery) == {"statusCode": 204}


def test_a_large_payload_of_another_script_is_measured_in_the_bytes_that_are_sent(
    cloud: Cloud, webhook: Function
) -> None:
    """In ASCII it would be three times as large, and SNS refuse it."""
    title = "я" * 60_000
    assert webhook(with_title(title)) == {"statusCode": 204}
    (message,) = cloud.received()
    assert len(message["Body"].encode()) < 2 * len(title) + 1_000
    assert Event.from_json(message["Body"]).payload["title"] == title


def test_the_largest_message_is_published_and_a_byte_more_refused(cloud: Cloud, webhook: Function) -> None:
    assert webhook(with_title("")) == {"statusCode": 204}
    (message,) = cloud.received()
    attributes = sum(
        len(name) + len("String") + len(value["StringValue"])
        for name, value in message["MessageAttributes"].items()
    )
    room = 256 * 1024 - len(message["Body"]) - attributes
    assert webhook(with_title("x" * room)) == {"statusCode": 204}
    assert webhook(with_title("x" * (room + 1)))["statusCode"] == 413


def test_a_challenge_is_answered_even_if_its_subscription_is_too_large(
    cloud: Cloud, webhook: Function
) -> None:
    content = {"challenge": "kappa", "subscription": {**REVOCATION["subscription"], "why": "x" * 262_144}}
    assert webhook(request(content, VERIFICATION))["statusCode"] == 200
    assert cloud.received(VERIFICATION) == []


@pytest.mark.parametrize("depth", [1, 50, 98])
def test_what_is_nested_less_is_published(cloud: Cloud, webhook: Function, depth: int) -> None:
    assert webhook(with_title(nested(depth))) == {"statusCode": 204}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=st.text(ANYTHING), event_type=st.text(ANYTHING))
def test_no_text_is_answered_with_a_5xx_and_what_is_taken_arrives(
    cloud: Cloud, webhook: Function, title: str, event_type: str
) -> None:
    # Two halves that stand side by side are one character once they are JSON.
    title = json.loads(json.dumps(title))
    content = {
        "subscription": {**NOTIFICATION["subscription"], "type": event_type},
        "event": {**NOTIFICATION["event"], "title": title, title: 1},
    }
    if webhook(request(content)) == {"statusCode": 204}:
        (message,) = cloud.received()
        cloud.sqs.delete_message(
            QueueUrl=cloud.queues["notification"], ReceiptHandle=message["ReceiptHandle"]
        )
        assert not REFUSED_BY_SNS.search(message["Body"])
        payload = Event.from_json(message["Body"]).payload
        assert (payload, payload["title"]) == (content["event"], title)
    else:
        assert not event_type.isprintable() or not event_type


def test_if_publishing_fails_twitch_is_asked_to_send_again(cloud: Cloud, webhook: Function) -> None:
    cloud.sns.delete_topic(TopicArn=cloud.topic)
    answer = webhook(request(NOTIFICATION))
    assert answer["statusCode"] == 503
    assert json.loads(answer["body"])["error"]["code"] == "unavailable"
    (line,) = webhook.log_lines()
    assert (line["level"], line["correlation_id"]) == ("ERROR", "an-id")
    assert "NotFound" in line["exception"]
    assert webhook.dimensions["reason"] == "unavailable"


def test_an_unreadable_secret_is_no_wrong_signature_and_is_read_again(
    cloud: Cloud, webhook: Function
) -> None:
    cloud.secrets.delete_secret(SecretId=cloud.secret)
    assert webhook(request(NOTIFICATION))["statusCode"] == 503
    cloud.secrets.restore_secret(SecretId=cloud.secret)
    assert webhook(request(NOTIFICATION))["statusCode"] == 204


def test_the_secret_is_read_once(cloud: Cloud, webhook: Function) -> None:
    assert webhook(request(NOTIFICATION))["statusCode"] == 204
    cloud.secrets.delete_secret(SecretId=cloud.secret, ForceDeleteWithoutRecovery=True)
    assert webhook(request(NOTIFICATION))["statusCode"] == 204
