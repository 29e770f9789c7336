"""The functions as Lambda calls them: what they answer, log and measure, and that they log no secret."""

import hashlib
import hmac
import importlib
import io
import json
import logging
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from lambdas.common import connections, tickets
from lambdas.common.aws import AwsError, Client
from lambdas.common.event import format_time, parse_time
from lambdas.common.observability import logger
from lambdas.common.overlay_keys import OverlayKeysTable
from lambdas.common.sessions import COOKIE, SessionsTable, SignIn
from lambdas.common.settings import SettingsError
from lambdas.common.viewers import OpenConnection, ViewersTable
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.subscription_types import SCOPES, SUBSCRIPTION_TYPES, SubscriptionState
from tests.integration.subscriptions.servers import (
    CLIENT_ID,
    CLIENT_SECRET,
    FREE,
    Answer,
    Request,
    Server,
    Twitch,
    eventually,
    serve,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

WEBHOOK_SECRET = "the-webhook-secret-that-nobody-knows"
SITE = "https://fanfare.example"
WEBSOCKET_URL = "wss://abc123.execute-api.eu-west-1.amazonaws.com/live"
EVENT_TYPES = ["stream.online", "stream.offline", "channel.update", "channel.raid", "user.update"]

Load = Callable[[str], ModuleType]


class Context:
    """What the handlers' decorators read of Lambda's context."""

    function_name = "a-function"
    memory_limit_in_mb = 256
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:a-function"
    aws_request_id = str(uuid.UUID(int=1))

    def get_remaining_time_in_millis(self) -> int:
        """Time enough."""
        return 240_000


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the functions log meanwhile."""
    handler = logger.registered_handler
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    before = handler.setStream(stream)
    yield stream
    handler.setStream(before)


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    """The log, one object a line."""
    return [json.loads(line) for line in log.getvalue().splitlines()]


@pytest.fixture
def connections_api() -> Iterator[Server]:
    """Where connections are closed."""
    with serve(lambda _request: Answer(204)) as server:
        yield server


@pytest.fixture
def load(
    dynamodb: "DynamoDBClient",
    twitch: Twitch,
    webhook: Server,
    connections_api: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> Load:
    """Start a function as Lambda does: set its environment, import its module."""
    secrets = boto3.client("secretsmanager")
    twitch_secret = secrets.create_secret(
        Name="twitch", SecretString=json.dumps({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET})
    )
    webhook_secret = secrets.create_secret(Name="webhook", SecretString=WEBHOOK_SECRET)
    broadcast, subscribe = (
        boto3.client("sqs").create_queue(QueueName=name)["QueueUrl"] for name in ("broadcast", "subscribe")
    )
    environment = {
        "CHANNELS_TABLE": "channels",
        "GRANTS_TABLE": "grants",
        "BROADCAST_QUEUE_URL": broadcast,
        "SUBSCRIBE_QUEUE_URL": subscribe,
        "STREAMER_PROVIDER": "TwitchStreamer",
        "TICKETS_TABLE": "tickets",
        "OVERLAYS_TABLE": "overlays",
        "VIEWERS_TABLE": "viewers",
        "TWITCH_TABLE": "twitch",
        "CONNECTIONS_ENDPOINT": connections_api.url,
        "CHANNELS_PER_VIEWER": "3",
        "CONNECTIONS_TABLE": "connections",
        "TWITCH_SECRET_ARN": twitch_secret["ARN"],
        "WEBHOOK_SECRET_ARN": webhook_secret["ARN"],
        "WEBHOOK_URL": f"{webhook.url}/webhooks/twitch",
        "WEBSOCKET_URL": WEBSOCKET_URL,
        "TWITCH_API_URL": twitch.api_url,
        "TWITCH_AUTH_URL": twitch.auth_url,
        "GRACE_PERIOD_SECONDS": "600",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # A fast machine does not wait for points either: test_points says who waits.
    monkeypatch.setattr("lambdas.subscriptions.points.ROOM", (1_000,) * 5)
    # The machine may be busy: no request ends because the simulated Twitch is slow.
    monkeypatch.setattr("lambdas.subscriptions.helix.PATIENCE_SECONDS", 60)
    monkeypatch.setattr("lambdas.subscriptions.helix.CONNECT_SECONDS", 60)

    def load_module(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, f"lambdas.handlers.{name}", raising=False)
        return importlib.import_module(f"lambdas.handlers.{name}")

    return load_module


@pytest.fixture
def subscribe(load: Load) -> Callable[[], None]:
    """Let the function handle the requests that wait."""
    module = load("subscriber")
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName="subscribe")["QueueUrl"]

    def handle() -> None:
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            records = [{"messageId": one["MessageId"], "body": one["Body"]} for one in messages]
            assert module.handler({"Records": records}, Context()) == {"batchItemFailures": []}
            for one in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])

    return handle


@pytest.fixture
def watch(load: Load, subscribe: Callable[[], None]) -> "Watch":
    """Ask to watch a channel, as the viewer 42 unless the token says otherwise; then it is subscribed."""
    module = load("watch")

    def ask(login: str, **claims: str) -> dict[str, Any]:
        claims = {"username": "Twitch_42", "auth_time": "1800000000", "token_use": "access", **claims}
        event = {
            "version": "2.0",
            "routeKey": "POST /api/channels/{login}/watch",
            "rawPath": f"/api/channels/{login}/watch",
            "pathParameters": {"login": login},
            "requestContext": {"authorizer": {"jwt": {"claims": claims, "scopes": None}}},
        }
        answer: dict[str, Any] = module.handler(event, Context())
        answer["json"] = json.loads(answer["body"])
        subscribe()
        return answer

    return ask


Watch = Callable[..., dict[str, Any]]


def sent_frames() -> list[dict[str, Any]]:
    """What was put into the broadcast queue."""
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName="broadcast")["QueueUrl"]
    answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20)
    return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


def known_states(channels: ChannelsTable, streamer_id: str) -> dict[str, SubscriptionState]:
    """What the table says of a channel's subscriptions."""
    record = channels.get(streamer_id)
    assert record is not None
    return dict(record.states)


def metric_values(output: str) -> dict[str, list[float]]:
    """The metrics among the lines that a function printed."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {
        metric["Name"]: line[metric["Name"]]
        for line in lines
        if "_aws" in line
        for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    }


def signed_with(secret: str, request: Request) -> bool:
    """Whether Twitch signed the request with this secret."""
    parts = (
        request.headers["twitch-eventsub-message-id"],
        request.headers["twitch-eventsub-message-timestamp"],
    )
    digest = hmac.new(secret.encode(), "".join((*parts, request.body)).encode(), hashlib.sha256).hexdigest()
    return request.headers["twitch-eventsub-message-signature"] == f"sha256={digest}"


def empty_queue() -> None:
    """Empty the broadcast queue."""
    sqs = boto3.client("sqs")
    sqs.purge_queue(QueueUrl=sqs.get_queue_url(QueueName="broadcast")["QueueUrl"])


def notice(subscription: dict[str, Any]) -> dict[str, Any]:
    """What SNS invokes the function with."""
    sent_at = format_time(datetime.now(UTC))
    message = json.dumps({"id": "a-message-id", "sent_at": sent_at, "subscription": subscription})
    return {"Records": [{"EventSource": "aws:sns", "Sns": {"MessageId": "1", "Message": message}}]}


def verify(load: Load, twitch: Twitch) -> None:
    """Send a notice of every challenge that was answered."""
    notices = load("notices")
    for subscription in twitch.subscriptions():
        pending = subscription | {"status": "webhook_callback_verification_pending"}
        notices.handler(notice(pending), Context())


class TestWatch:
    def test_a_viewer_gets_the_channel_its_states_and_a_ticket(self, watch: Watch) -> None:
        begin = datetime.now(UTC)
        answer = watch("Ninja")
        assert answer["statusCode"] == 200
        assert answer["headers"] == {"Content-Type": "application/json", "Cache-Control": "no-store"}
        body = answer["json"]
        assert body.keys() == {
            "channel",
            "topics",
            "topics_version",
            "ticket",
            "websocket_url",
            "expires_at",
        }
        assert body["channel"].keys() == {"id", "login", "display_name", "avatar_url"}
        assert body["channel"]["login"] == "ninja"
        shown = {topic["event_type"]: (topic["status"], topic["reason"]) for topic in body["topics"]}
        assert {shown.pop(event_type) for event_type in EVENT_TYPES} == {("pending", None)}
        assert set(shown.values()) == {("absent", "consent_required")}
        assert body["websocket_url"] == WEBSOCKET_URL
        lifetime, second = timedelta(seconds=60), timedelta(seconds=1)
        assert begin + lifetime - second < parse_time(body["expires_at"]) <= datetime.now(UTC) + lifetime

    def test_a_viewer_who_follows_too_many_channels_is_told_what_to_do_and_twitch_is_not_asked(
        self, watch: Watch, twitch: Twitch, channels: ChannelsTable
    ) -> None:
        """Also without opening a WebSocket."""
        for login in ("alice", "bob", "carol", "alice"):
            assert watch(login)["statusCode"] == 200
        twitch.order("faults", status=500)
        answer = watch("dave")
        assert (answer["statusCode"], answer["json"]["error"]["code"]) == (429, "too_many_channels")
        assert "Close one" in answer["json"]["error"]["message"]
        assert answer["headers"]["Retry-After"] == "60"
        assert len(list(channels.scan())) == 3
        twitch.heal()
        assert watch("dave", username="Twitch_43")["statusCode"] == 200

    def test_channels_that_do_not_exist_count_for_a_minute(
        self, watch: Watch, dynamodb: "DynamoDBClient"
    ) -> None:
        """So one account cannot use up the rate limit."""
        assert [watch(f"nosuch_{number}")["statusCode"] for number in range(4)] == [404] * 3 + [429]
        ends = [int(item["expires_at"]["N"]) for item in dynamodb.scan(TableName="viewers")["Items"]]
        assert max(ends) <= datetime.now(UTC).timestamp() + 60

    def test_the_ticket_is_for_this_viewer_and_channel(
        self, watch: Watch, dynamodb: "DynamoDBClient"
    ) -> None:
        body = watch("ninja")["json"]
        claim = tickets.redeem(Client("dynamodb"), "tickets", body["ticket"], datetime.now(UTC))
        assert claim == tickets.Claim("42", body["channel"]["id"], "ninja")

    def test_twitch_signs_with_the_webhooks_secret(
        self, watch: Watch, webhook: Server, twitch: Twitch
    ) -> None:
        watch("ninja")
        eventually(lambda: twitch.statuses() == ["enabled"] * len(FREE))
        assert len(webhook.requests) == len(FREE)
        assert all(signed_with(WEBHOOK_SECRET, request) for request in webhook.requests)

    def test_only_new_subscriptions_are_counted(
        self, load: Load, watch: Watch, twitch: Twitch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        watch("ninja")
        assert metric_values(capsys.readouterr().out) == {
            "SubscriptionsCreated": [len(FREE)],
            "TopicsPending": [1] * len(FREE),
        }
        eventually(lambda: twitch.statuses() == ["enabled"] * len(FREE))
        verify(load, twitch)
        capsys.readouterr()
        assert {topic["status"] for topic in watch("ninja")["json"]["topics"]} == {"enabled", "absent"}
        assert metric_values(capsys.readouterr().out) == {}

    def test_the_answer_does_not_wait_for_subscriptions(
        self, load: Load, watch: Watch, twitch: Twitch
    ) -> None:
        twitch.order("faults", path="/helix/eventsub", status=503)
        answer = watch("ninja")
        assert answer["statusCode"] == 200
        shown = {topic["event_type"]: topic["status"] for topic in answer["json"]["topics"]}
        assert {shown[event_type] for event_type in EVENT_TYPES} == {"pending"}
        (frame,) = sent_frames()
        shown = {topic["event_type"]: topic["status"] for topic in frame["topics"]}
        assert {shown[event_type] for event_type in EVENT_TYPES} == {"failed"}

    @pytest.mark.parametrize("token_use", ["id", "refresh", None])
    def test_only_an_access_token_opens_it(self, watch: Watch, twitch: Twitch, token_use: str | None) -> None:
        twitch.order("faults", status=500)
        answer = watch("ninja", token_use=token_use)
        assert (answer["statusCode"], answer["json"]["error"]["code"]) == (401, "signed_out")

    @pytest.mark.parametrize("login", ["_ninja", "two words", "a" * 26, "nin-ja"])
    def test_what_cannot_be_a_login_is_refused_without_asking_twitch(
        self, watch: Watch, twitch: Twitch, login: str
    ) -> None:
        twitch.order("faults", status=500)
        answer = watch(login)
        assert (answer["statusCode"], answer["json"]["error"]["code"]) == (400, "invalid_login")

    def test_a_channel_that_twitch_does_not_know_is_not_found(self, watch: Watch) -> None:
        answer = watch("nosuch_channel")
        assert answer["statusCode"] == 404
        assert answer["json"]["error"]["code"] == "no_such_channel"
        assert answer["headers"]["Cache-Control"] == "no-store"

    @pytest.mark.parametrize(
        ("fault", "expected"),
        [
            (429, (429, "rate_limited")),
            *((status, (503, "twitch_unavailable")) for status in (401, 403, 404, 418, 502)),
        ],
    )
    def test_a_twitch_that_is_unavailable_is_to_be_asked_later(
        self, watch: Watch, twitch: Twitch, fault: int, expected: tuple[int, str]
    ) -> None:
        path = "/helix/users"
        twitch.order("faults", path=path, status=fault)
        answer = watch("ninja")
        assert (answer["statusCode"], answer["json"]["error"]["code"]) == expected
        assert 1 <= int(answer["headers"]["Retry-After"]) <= 60
        assert "ticket" not in answer["json"]

    def test_a_channel_that_twitchs_budget_has_no_room_for_is_limited(
        self, watch: Watch, twitch: Twitch
    ) -> None:
        twitch.order("limits", max_total_cost=0)
        assert watch("ninja")["statusCode"] == 200
        assert twitch.subscriptions() == []
        topics = watch("ninja")["json"]["topics"]
        assert {(one["status"], one["reason"]) for one in topics} == {
            ("absent", "limited"),
            ("absent", "consent_required"),
        }

    def test_whoever_signed_in_as_the_streamer_gets_every_event_type_and_others_see_it(
        self, load: Load, watch: Watch, twitch: Twitch
    ) -> None:
        streamer_id = watch("ninja")["json"]["channel"]["id"]
        verify(load, twitch)
        empty_queue()
        twitch.grant("ninja", SCOPES)
        body = watch("ninja", username=f"twitchstreamer_{streamer_id}")["json"]
        assert {topic["status"] for topic in body["topics"]} == {"enabled", "pending"}
        eventually(lambda: twitch.statuses() == ["enabled"] * len(SUBSCRIPTION_TYPES))
        verify(load, twitch)
        (frame, *_) = sent_frames()
        assert (frame["type"], frame["streamer_id"]) == ("topics", streamer_id)
        assert {topic["status"] for topic in frame["topics"]} == {"enabled"}
        assert frame["version"] > body["topics_version"]

    def test_a_viewers_token_grants_nothing(self, watch: Watch, twitch: Twitch) -> None:
        streamer_id = watch("ninja")["json"]["channel"]["id"]
        twitch.grant("ninja", SCOPES)
        watch("ninja", username=f"Twitch_{streamer_id}")
        assert len(twitch.subscriptions()) == len(FREE)

    def test_who_signs_in_as_the_streamer_is_the_viewer_that_they_were(self, watch: Watch) -> None:
        """Cognito has two users for them, one for each identity provider."""
        for login, provider in (("alice", "Twitch"), ("bob", "TwitchStreamer"), ("carol", "Twitch")):
            assert watch(login, username=f"{provider}_42")["statusCode"] == 200
        assert watch("dave", username="TwitchStreamer_42")["statusCode"] == 429

    def test_an_unexpected_error_is_logged_once_and_not_shown(
        self, watch: Watch, dynamodb: "DynamoDBClient", log: io.StringIO
    ) -> None:
        dynamodb.delete_table(TableName="tickets")
        answer = watch("ninja")
        assert answer["statusCode"] == 500
        assert answer["json"] == {
            "error": {"code": "internal_error", "message": "Something went wrong on our side."}
        }
        (line,) = (line for line in lines(log) if line["level"] == "ERROR")
        assert (line["level"], line["exception_name"]) == ("ERROR", "AwsError")

    def test_secrets_are_not_logged(
        self, watch: Watch, twitch: Twitch, log: io.StringIO, capsys: pytest.CaptureFixture[str]
    ) -> None:
        twitch.order("faults", path="/helix/eventsub", status=503, count=6)
        ticket = watch("ninja")["json"]["ticket"]
        output = log.getvalue() + "".join(capsys.readouterr())
        assert "twitch_unavailable" in output
        for secret in (CLIENT_SECRET, WEBHOOK_SECRET, ticket, "Bearer"):
            assert secret not in output

    def test_without_a_setting_the_function_does_not_start(
        self, load: Load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("WEBSOCKET_URL")
        with pytest.raises(SettingsError, match="WEBSOCKET_URL"):
            load("watch")


class TestReconciler:
    @pytest.fixture
    def shroud(
        self, watch: Watch, dynamodb: "DynamoDBClient", twitch: Twitch, monkeypatch: pytest.MonkeyPatch
    ) -> str:
        """Ninja and Shroud were last watched long ago, but somebody is still connected to Shroud."""
        ninja, shroud = (watch(login)["json"]["channel"]["id"] for login in ("ninja", "shroud"))
        for streamer_id in (ninja, shroud):
            dynamodb.update_item(
                TableName="channels",
                Key={"streamer_id": {"S": streamer_id}},
                UpdateExpression="SET watched_at = :long_ago",
                ExpressionAttributeValues={":long_ago": {"N": "1000000000"}},
            )
        # What is so new may be newer than Twitch's list.
        monkeypatch.setattr("lambdas.subscriptions.reconciler.FRESH_SECONDS", -3600)
        dynamodb.put_item(
            TableName="connections",
            Item={
                "streamer_id": {"S": shroud},
                "connection_id": {"S": "a-connection"},
                "expires_at": {"N": str(int(datetime.now(UTC).timestamp()) + 900)},
            },
        )
        eventually(lambda: twitch.statuses() == ["enabled"] * 2 * len(FREE))
        return str(shroud)

    def test_it_deletes_what_nobody_watches_and_logs_each(
        self, load: Load, shroud: str, twitch: Twitch, log: io.StringIO
    ) -> None:
        load("reconciler").handler({}, Context())
        users = {value for entry in twitch.subscriptions() for value in entry["condition"].values()}
        assert users - {""} == {shroud}
        deleted = [line for line in lines(log) if line["message"] == "Subscription deleted"]
        assert {(line["event_type"], line["why"]) for line in deleted} == {
            (event_type, "not_watched") for event_type in EVENT_TYPES
        }

    def test_it_measures_what_it_did_and_twitchs_budget(
        self, load: Load, shroud: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        capsys.readouterr()
        load("reconciler").handler({}, Context())
        assert metric_values(capsys.readouterr().out) == {
            "RunsCompleted": [1],
            "SubscriptionsDeleted": [len(FREE)],
            "SubscriptionsLimited": [0],
            "ChannelsFailed": [0],
            "SubscriptionCost": [len(FREE)],
            "SubscriptionCostLimit": [10_000],
            "TopicsEnabled": [1] * len(FREE),
        }

    def test_every_change_is_logged_and_sent_to_viewers(
        self, load: Load, shroud: str, twitch: Twitch, log: io.StringIO
    ) -> None:
        empty_queue()
        load("reconciler").handler({}, Context())
        changed = [line for line in lines(log) if line["message"] == "A subscription's state changed"]
        assert [
            {name: line[name] for name in ("channel", "subscription_type", "from", "to", "why")}
            for line in changed
        ] == [
            {
                "channel": shroud,
                "subscription_type": row.key,
                "from": "pending",
                "to": "enabled",
                "why": "found_at_twitch",
            }
            for row in FREE
        ]
        (frame,) = sent_frames()
        assert frame["streamer_id"] == shroud
        assert {topic["status"] for topic in frame["topics"]} == {"enabled", "absent"}


class TestNotices:
    def revoke(self, twitch: Twitch, event_type: str, reason: str) -> dict[str, Any]:
        """Let Twitch revoke Ninja's subscription, and return it as in the notice."""
        twitch.order("revoke", event_type=event_type, login="ninja", reason=reason)
        (revoked,) = (entry for entry in twitch.subscriptions() if entry["status"] == reason)
        return revoked

    def test_a_revoked_subscription_is_created_again_by_the_next_watch(
        self, load: Load, watch: Watch, twitch: Twitch, channels: ChannelsTable
    ) -> None:
        streamer_id = watch("ninja")["json"]["channel"]["id"]
        eventually(lambda: twitch.statuses() == ["enabled"] * len(FREE))
        verify(load, twitch)
        empty_queue()
        subscription = self.revoke(twitch, "channel.update", "notification_failures_exceeded")
        load("notices").handler(notice(subscription), Context())
        record = channels.get(streamer_id)
        assert record is not None
        state = record.states["channel.update"]
        assert state.subscription_id is None
        assert (state.status, state.reason) == ("revoked", "notification_failures_exceeded")
        (frame,) = sent_frames()
        assert ("channel.update", "revoked") in {
            (topic["event_type"], topic["status"]) for topic in frame["topics"]
        }
        watch("ninja")
        eventually(lambda: twitch.statuses().count("enabled") == len(FREE))

    def test_viewers_get_a_frame_when_twitch_delivers(self, load: Load, watch: Watch, twitch: Twitch) -> None:
        watch("ninja")
        verify(load, twitch)
        (frame,) = sent_frames()
        assert {topic["status"] for topic in frame["topics"]} == {"enabled", "absent"}

    def test_a_frame_says_which_states_are_newer(
        self, load: Load, watch: Watch, twitch: Twitch, channels: ChannelsTable
    ) -> None:
        body = watch("ninja")["json"]
        verify(load, twitch)
        (frame,) = sent_frames()
        record = channels.get(body["channel"]["id"])
        assert record is not None
        assert body["topics_version"] < frame["version"] == record.revision

    def test_a_late_notice_about_an_older_subscription_changes_nothing(
        self, load: Load, watch: Watch, twitch: Twitch, channels: ChannelsTable
    ) -> None:
        streamer_id = watch("ninja")["json"]["channel"]["id"]
        before = known_states(channels, streamer_id)
        (subscription,) = (entry for entry in twitch.subscriptions() if entry["type"] == "user.update")
        older = subscription | {"id": "an-older-one", "status": "user_removed"}
        load("notices").handler(notice(older), Context())
        assert known_states(channels, streamer_id) == before

    def test_a_notice_of_an_unknown_type_is_logged(self, load: Load, log: io.StringIO) -> None:
        subscription = {
            "id": "an-id",
            "status": "authorization_revoked",
            "type": "channel.moderate",
            "version": "2",
            "condition": {"broadcaster_user_id": "1", "moderator_user_id": "1"},
        }
        load("notices").handler(notice(subscription), Context())
        (line,) = lines(log)
        assert (line["level"], line["correlation_id"]) == ("WARNING", "a-message-id")
        assert line["subscription"]["type"] == "channel.moderate"


class TestOverlay:
    """An overlay has no viewer's token, but a key of its own."""

    @pytest.fixture
    def order(self, load: Load) -> Callable[..., dict[str, Any]]:
        """Make or end the key of a viewer's overlay."""
        module = load("overlay")

        def ask(
            method: str, login: str = "alice", viewer: str = "42", *, use: str = "access"
        ) -> dict[str, Any]:
            claims = {"username": f"Twitch_{viewer}", "auth_time": "1800000000", "token_use": use}
            event = {
                "pathParameters": {"login": login},
                "requestContext": {
                    "http": {"method": method},
                    "authorizer": {"jwt": {"claims": claims, "scopes": None}},
                },
            }
            answer: dict[str, Any] = module.handler(event, Context())
            return answer

        return ask

    @pytest.fixture
    def show(self, load: Load) -> Callable[..., dict[str, Any]]:
        """Ask to follow a channel as an overlay does."""
        module = load("watch")

        def ask(key: str, login: str = "alice") -> dict[str, Any]:
            event = {
                "routeKey": "POST /api/overlays/{login}/watch",
                "headers": {"authorization": f"Bearer {key}"},
                "pathParameters": {"login": login},
                # API Gateway's, of an authorizer that admits without a context.
                "requestContext": {"authorizer": {"lambda": None}},
            }
            answer: dict[str, Any] = module.handler(event, Context())
            return answer

        return ask

    def test_its_key_follows_the_channel_until_it_is_ended(
        self, order: Callable[..., dict[str, Any]], show: Callable[..., dict[str, Any]]
    ) -> None:
        key = json.loads(order("POST")["body"])["key"]
        answer = show(key)
        assert answer["statusCode"] == 200
        assert json.loads(answer["body"])["ticket"]
        assert order("DELETE") | {"headers": None} == {"statusCode": 204, "headers": None}
        assert show(key)["statusCode"] == 401

    def test_a_viewers_overlays_are_counted_by_themselves(
        self, watch: Watch, order: Callable[..., dict[str, Any]], show: Callable[..., dict[str, Any]]
    ) -> None:
        for login in ("alice", "bob", "carol"):
            assert watch(login)["statusCode"] == 200
        for login in ("dave", "eve", "frank"):
            key = json.loads(order("POST", login)["body"])["key"]
            assert show(key, login)["statusCode"] == 200

    @pytest.mark.parametrize("method", ["POST", "DELETE"])
    def test_keys_for_too_many_channels_are_refused_and_twitch_is_not_asked(
        self,
        order: Callable[..., dict[str, Any]],
        twitch: Twitch,
        channels: ChannelsTable,
        method: str,
    ) -> None:
        """A channel that was asked for is subscribed for a while."""
        names = ("dave", "eve", "nosuch_1")
        assert [order(method, name)["statusCode"] // 100 for name in names] == [2, 2, 4]
        twitch.order("faults", status=500)
        answer = order(method, "frank")
        assert answer["statusCode"] == 429
        assert json.loads(answer["body"])["error"]["code"] == "too_many_channels"
        assert len(list(channels.scan())) == 2

    def test_a_key_of_one_channel_too_many_does_not_make_twitch_be_asked(
        self,
        order: Callable[..., dict[str, Any]],
        show: Callable[..., dict[str, Any]],
        twitch: Twitch,
        channels: ChannelsTable,
    ) -> None:
        """Keys do not end by themselves, so somebody may have gathered many."""
        key = json.loads(order("POST")["body"])["key"]
        ((streamer_id, _record),) = channels.scan()
        channels.delete_unwatched(streamer_id, not_watched_since=2**40)
        viewers, now = ViewersTable(Client("dynamodb"), "viewers"), datetime.now(UTC)
        viewers.unfollow("overlay/42", "alice")
        for login in ("dave", "eve", "frank"):
            viewers.follow("overlay/42", login, most=3, now=now, keep=timedelta(minutes=1))
        twitch.order("faults", status=500)
        assert show(key)["statusCode"] == 429

    def test_a_new_key_ends_the_one_before(
        self, order: Callable[..., dict[str, Any]], show: Callable[..., dict[str, Any]]
    ) -> None:
        first, second = (json.loads(order("POST")["body"])["key"] for _ in range(2))
        assert [show(key)["statusCode"] for key in (first, second)] == [401, 200]

    def test_a_key_is_for_one_channel_and_one_viewer(
        self, order: Callable[..., dict[str, Any]], show: Callable[..., dict[str, Any]]
    ) -> None:
        key = json.loads(order("POST")["body"])["key"]
        assert json.loads(show(key, "bob")["body"])["channel"]["login"] == "alice"
        order("DELETE", viewer="43")
        order("DELETE", "bob")
        assert show(key)["statusCode"] == 200

    def test_key_and_address_follow_the_channel_when_it_is_renamed(
        self,
        order: Callable[..., dict[str, Any]],
        show: Callable[..., dict[str, Any]],
        twitch: Twitch,
        dynamodb: "DynamoDBClient",
    ) -> None:
        key = json.loads(order("POST")["body"])["key"]
        twitch.order("rename", login="alice", to="alice_2")
        for item in dynamodb.scan(TableName="channels")["Items"]:
            dynamodb.update_item(
                TableName="channels",
                Key={"streamer_id": item["streamer_id"]},
                UpdateExpression="SET resolved_at = :long_ago",
                ExpressionAttributeValues={":long_ago": {"N": "1000000000"}},
            )
        for login in ("alice", "alice_2"):
            answer = show(key, login)
            assert answer["statusCode"] == 200
            assert json.loads(answer["body"])["channel"]["login"] == "alice_2"
        assert order("DELETE", "alice_2")["statusCode"] == 204
        assert show(key)["statusCode"] == 401

    @pytest.mark.parametrize("method", ["POST", "DELETE"])
    def test_its_sockets_are_closed_when_its_key_ends(
        self,
        order: Callable[..., dict[str, Any]],
        show: Callable[..., dict[str, Any]],
        connections_api: Server,
        dynamodb: "DynamoDBClient",
        method: str,
    ) -> None:
        answers = [show(json.loads(order("POST", login)["body"])["key"], login) for login in ("alice", "bob")]
        for login, answer in zip(("alice", "bob"), answers, strict=True):
            streamer_id = json.loads(answer["body"])["channel"]["id"]
            opened = OpenConnection(f"socket-of-{login}", streamer_id, login, 0)
            viewers = ViewersTable(Client("dynamodb"), "viewers")
            now = datetime.now(UTC)
            viewers.connect("overlay/42", opened, most=9, most_per_channel=9, now=now)
            connections.put(
                Client("dynamodb"),
                "connections",
                streamer_id=streamer_id,
                connection_id=opened.id,
                viewer_id="overlay/42",
                now=now,
            )
        assert connections_api.requests == []
        order(method)
        assert [(one.method, one.path) for one in connections_api.requests] == [
            ("DELETE", "/@connections/socket-of-alice")
        ]
        assert len(dynamodb.scan(TableName="connections")["Items"]) == 1
        assert [one.login for one in viewers.connections("overlay/42", now)] == ["bob"]

    def test_its_tickets_say_which_key_they_are_of(
        self, order: Callable[..., dict[str, Any]], show: Callable[..., dict[str, Any]]
    ) -> None:
        ticket = json.loads(show(json.loads(order("POST")["body"])["key"])["body"])["ticket"]
        claim = tickets.redeem(Client("dynamodb"), "tickets", ticket, datetime.now(UTC))
        assert claim is not None
        keys = OverlayKeysTable(Client("dynamodb"), "overlays")
        assert keys.is_valid(claim.overlay_key)
        order("POST")
        assert not keys.is_valid(claim.overlay_key)

    def test_only_an_access_token_makes_a_key(self, order: Callable[..., dict[str, Any]]) -> None:
        assert order("POST", use="id")["statusCode"] == 401

    @pytest.mark.parametrize(
        "key", ["", ".", "made.up", "\ud800.x", "x" * 3000, f"{'x' * 3000}.x", f"{'a' * 32}.{'b' * 43}"]
    )
    def test_what_is_no_key_opens_nothing(
        self, show: Callable[..., dict[str, Any]], key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        call = Client.call

        def as_dynamodb_does(self: Client, action: str, parameters: dict[str, Any]) -> dict[str, Any]:
            overlay_id = parameters.get("Key", {}).get("overlay_id", {"S": ""})["S"]
            if len(overlay_id.encode(errors="replace")) > 2048:
                raise AwsError(action, "ValidationException", "the key is too long")
            return call(self, action, parameters)

        monkeypatch.setattr(Client, "call", as_dynamodb_does)
        answer = show(key)
        assert answer["statusCode"] == 401
        assert json.loads(answer["body"])["error"]["code"] == "unknown_key"

    def test_the_table_does_not_hold_the_key(
        self, order: Callable[..., dict[str, Any]], dynamodb: "DynamoDBClient", log: io.StringIO
    ) -> None:
        secret = json.loads(order("POST")["body"])["key"].split(".")[1]
        assert secret not in json.dumps(dynamodb.scan(TableName="overlays")["Items"])
        assert secret not in log.getvalue()

    def test_a_malformed_login_is_refused(
        self, order: Callable[..., dict[str, Any]], show: Callable[..., dict[str, Any]]
    ) -> None:
        assert order("POST", login="not a name")["statusCode"] == 400
        key = json.loads(order("POST")["body"])["key"]
        assert show(key, login="not a name")["statusCode"] == 400


class TestSessions:
    """Without Cognito a viewer has a session's cookie instead of a token."""

    @pytest.fixture
    def sessions(self, dynamodb: "DynamoDBClient", monkeypatch: pytest.MonkeyPatch) -> SessionsTable:
        monkeypatch.setenv("SESSIONS_TABLE", "sessions")
        monkeypatch.setenv("SITE_URL", SITE)
        return SessionsTable(Client("dynamodb"), "sessions")

    @pytest.fixture
    def send(self, load: Load, sessions: SessionsTable) -> Callable[..., dict[str, Any]]:
        """Watch ninja, or make or end the key of its overlay."""

        def send(
            function: str, method: str, token: str | None, origin: str | None = SITE, **headers: str
        ) -> dict[str, Any]:
            event = {
                "routeKey": f"{method} /api/channels/{{login}}/watch",
                "pathParameters": {"login": "ninja"},
                "requestContext": {"http": {"method": method}},
                "headers": {**headers, **({} if origin is None else {"origin": origin})},
                "cookies": [] if token is None else [f"{COOKIE}={token}"],
            }
            answer: dict[str, Any] = load(function).handler(event, Context())
            return answer

        return send

    @pytest.mark.parametrize(
        ("function", "method", "status"),
        [("watch", "POST", 200), ("overlay", "POST", 200), ("overlay", "DELETE", 204)],
    )
    def test_open_what_a_token_opens_but_for_another_sites_page(
        self,
        send: Callable[..., dict[str, Any]],
        sessions: SessionsTable,
        function: str,
        method: str,
        status: int,
    ) -> None:
        token = sessions.begin(SignIn("42", int(time.time())))
        assert send(function, method, token)["statusCode"] == status
        for origin in (None, "null", "https://evil.example"):
            answer = send(function, method, token, origin)
            assert (answer["statusCode"], json.loads(answer["body"])["error"]["code"]) == (401, "signed_out")

    def test_end_when_their_viewer_disconnects_the_application(
        self, load: Load, sessions: SessionsTable
    ) -> None:
        theirs = [sessions.begin(SignIn("42", int(time.time()))) for _ in range(2)]
        others = [
            sessions.begin(SignIn(*one)) for one in (("43", int(time.time())), ("42", int(time.time()) + 9))
        ]
        message = json.dumps({"id": "m", "sent_at": format_time(datetime.now(UTC)), "user_id": "42"})
        load("notices").handler({"Records": [{"Sns": {"Message": message}}]}, Context())
        assert [sessions.find(token, int(time.time())) for token in theirs] == [None, None]
        # Neither somebody else's, nor one that they have begun since.
        assert None not in [sessions.find(token, int(time.time())) for token in others]

    @pytest.mark.parametrize("function", ["watch", "overlay"])
    def test_are_needed(
        self, send: Callable[..., dict[str, Any]], sessions: SessionsTable, function: str
    ) -> None:
        ended = sessions.begin(SignIn("42", int(time.time())))
        sessions.end(ended, int(time.time()))
        old = sessions.begin(SignIn("42", int(time.time()) - 90 * 86_400))
        for token in (None, "", ended, old, f"43.{old.partition('.')[2]}"):
            assert send(function, "POST", token)["statusCode"] == 401
        assert send(function, "POST", None, authorization=f"Bearer {old}")["statusCode"] == 401

    def test_of_a_streamer_unlock_what_they_granted(
        self, send: Callable[..., dict[str, Any]], sessions: SessionsTable, twitch: Twitch
    ) -> None:
        viewer = sessions.begin(SignIn("42", int(time.time())))
        streamer_id = json.loads(send("watch", "POST", viewer)["body"])["channel"]["id"]
        twitch.grant("ninja", SCOPES)
        granted = frozenset({"channel:read:polls"})
        streamer = sessions.begin(SignIn(streamer_id, int(time.time()), granted))
        topics = json.loads(send("watch", "POST", streamer)["body"])["topics"]
        waiting = {topic["event_type"] for topic in topics if topic["reason"] == "consent_required"}
        assert len(topics) - len(waiting) == len(EVENT_TYPES) + 2
        assert waiting.isdisjoint({"channel.poll.begin", "channel.poll.end"})
