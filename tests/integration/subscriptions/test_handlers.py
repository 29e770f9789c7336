"""The functions as Lambda calls them: what they answer, log and measure, and that they log no secret."""

import hashlib
import hmac
import importlib
import io
import json
import logging
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from lambdas.common import tickets
from lambdas.common.aws import Client
from lambdas.common.event import format_time, parse_time
from lambdas.common.observability import logger
from lambdas.common.settings import SettingsError
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.subscription_types import SCOPES
from tests.integration.subscriptions.servers import (
    CLIENT_ID,
    CLIENT_SECRET,
    FREE,
    Request,
    Server,
    Twitch,
    eventually,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

WEBHOOK_SECRET = "the-webhook-secret-that-nobody-knows"
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
def load(
    dynamodb: "DynamoDBClient", twitch: Twitch, webhook: Server, monkeypatch: pytest.MonkeyPatch
) -> Load:
    """Start a function as Lambda does: set its environment, import its module."""
    secrets = boto3.client("secretsmanager")
    twitch_secret = secrets.create_secret(
        Name="twitch", SecretString=json.dumps({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET})
    )
    webhook_secret = secrets.create_secret(Name="webhook", SecretString=WEBHOOK_SECRET)
    queue = boto3.client("sqs").create_queue(QueueName="broadcast")
    environment = {
        "CHANNELS_TABLE": "channels",
        "GRANTS_TABLE": "grants",
        "BROADCAST_QUEUE_URL": queue["QueueUrl"],
        "STREAMER_PROVIDER": "TwitchStreamer",
        "TICKETS_TABLE": "tickets",
        "OVERLAYS_TABLE": "overlays",
        "VIEWERS_TABLE": "viewers",
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
    # The machine may be busy: no request ends because the simulated Twitch is slow.
    monkeypatch.setattr("lambdas.subscriptions.helix.READ_SECONDS", 60)

    def load_module(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, f"lambdas.handlers.{name}", raising=False)
        return importlib.import_module(f"lambdas.handlers.{name}")

    return load_module


@pytest.fixture
def watch(load: Load) -> "Watch":
    """Ask to watch a channel, as the viewer 42 unless the token says otherwise."""
    module = load("watch")

    def ask(login: str, **claims: str) -> dict[str, Any]:
        event = {
            "version": "2.0",
            "routeKey": "POST /api/channels/{login}/watch",
            "rawPath": f"/api/channels/{login}/watch",
            "pathParameters": {"login": login},
            "requestContext": {
                "authorizer": {"jwt": {"claims": {"sub": "viewer-42", **claims}, "scopes": None}}
            },
        }
        answer: dict[str, Any] = module.handler(event, Context())
        answer["json"] = json.loads(answer["body"])
        return answer

    return ask


Watch = Callable[..., dict[str, Any]]


def sent_frames() -> list[dict[str, Any]]:
    """What was put into the broadcast queue."""
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName="broadcast")["QueueUrl"]
    answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20)
    return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


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
        assert watch("dave", sub="another-viewer")["statusCode"] == 200

    def test_a_channel_that_does_not_exist_is_not_followed(self, watch: Watch) -> None:
        assert [watch(f"nosuch_{number}")["statusCode"] for number in range(5)] == [404] * 5
        assert watch("ninja")["statusCode"] == 200

    def test_the_ticket_is_for_this_viewer_and_channel(
        self, watch: Watch, dynamodb: "DynamoDBClient"
    ) -> None:
        body = watch("ninja")["json"]
        claim = tickets.redeem(Client("dynamodb"), "tickets", body["ticket"], datetime.now(UTC))
        assert claim == tickets.Claim("viewer-42", body["channel"]["id"], "ninja")

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

    @pytest.mark.parametrize("path", ["/helix/users", "/helix/eventsub"])
    @pytest.mark.parametrize(
        ("fault", "expected"), [(429, (429, "rate_limited")), (502, (503, "twitch_unavailable"))]
    )
    def test_a_twitch_that_is_unavailable_is_to_be_asked_later(
        self, watch: Watch, twitch: Twitch, path: str, fault: int, expected: tuple[int, str]
    ) -> None:
        twitch.order("faults", path=path, status=fault)
        answer = watch("ninja")
        assert (answer["statusCode"], answer["json"]["error"]["code"]) == expected
        assert 1 <= int(answer["headers"]["Retry-After"]) <= 60
        assert "ticket" not in answer["json"]

    def test_a_channel_that_twitchs_budget_has_no_room_for_is_to_be_watched_later(
        self, watch: Watch, twitch: Twitch, channels: ChannelsTable
    ) -> None:
        twitch.order("limits", max_total_cost=1)
        answer = watch("ninja")
        assert (answer["statusCode"], answer["json"]["error"]["code"]) == (503, "limited")
        assert answer["headers"]["Retry-After"] == "300"
        assert twitch.subscriptions() == []
        assert list(channels.scan()) == []

    def test_whoever_signed_in_as_the_streamer_gets_every_event_type_and_others_see_it(
        self, load: Load, watch: Watch, twitch: Twitch
    ) -> None:
        streamer_id = watch("ninja")["json"]["channel"]["id"]
        verify(load, twitch)
        empty_queue()
        twitch.grant("ninja", SCOPES)
        body = watch("ninja", username=f"twitchstreamer_{streamer_id}", auth_time="1800000000")["json"]
        assert {topic["status"] for topic in body["topics"]} == {"enabled", "pending"}
        (frame,) = sent_frames()
        assert frame == {
            "type": "topics",
            "streamer_id": streamer_id,
            "topics": body["topics"],
            "version": body["topics_version"],
        }

    def test_a_viewers_token_grants_nothing(self, watch: Watch, twitch: Twitch) -> None:
        streamer_id = watch("ninja")["json"]["channel"]["id"]
        twitch.grant("ninja", SCOPES)
        watch("ninja", username=f"Twitch_{streamer_id}", auth_time="1800000000")
        assert len(twitch.subscriptions()) == len(FREE)

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
        # Three times are what one request is tried.
        twitch.order("faults", path="/helix/eventsub", status=503, count=6)
        ticket = watch("ninja")["json"]["ticket"]
        output = log.getvalue() + "".join(capsys.readouterr())
        assert "twitch_unavailable" in output
        for secret in (CLIENT_SECRET, WEBHOOK_SECRET, ticket, "Bearer"):
            assert secret not in output

    def test_without_a_setting_the_function_does_not_start(
        self, load: Load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("WEBHOOK_URL")
        with pytest.raises(SettingsError, match="WEBHOOK_URL"):
            load("watch")


class TestReconciler:
    @pytest.fixture
    def shroud(self, watch: Watch, dynamodb: "DynamoDBClient", twitch: Twitch) -> str:
        """Ninja and Shroud were last watched long ago, but somebody is still connected to Shroud."""
        ninja, shroud = (watch(login)["json"]["channel"]["id"] for login in ("ninja", "shroud"))
        for streamer_id in (ninja, shroud):
            dynamodb.update_item(
                TableName="channels",
                Key={"streamer_id": {"S": streamer_id}},
                UpdateExpression="SET watched_at = :long_ago",
                ExpressionAttributeValues={":long_ago": {"N": "1000000000"}},
            )
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
            "SubscriptionsCreated": [0],
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
        topics = {topic["event_type"]: topic["status"] for topic in watch("ninja")["json"]["topics"]}
        assert topics.pop("channel.update") == "pending"
        assert set(topics.values()) == {"enabled", "absent"}

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
        before = channels.get(streamer_id)
        (subscription,) = (entry for entry in twitch.subscriptions() if entry["type"] == "user.update")
        older = subscription | {"id": "an-older-one", "status": "user_removed"}
        load("notices").handler(notice(older), Context())
        assert channels.get(streamer_id) == before

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

        def ask(method: str, login: str = "alice", viewer: str = "viewer-42") -> dict[str, Any]:
            event = {
                "pathParameters": {"login": login},
                "requestContext": {
                    "http": {"method": method},
                    "authorizer": {"jwt": {"claims": {"sub": viewer}, "scopes": None}},
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
        statuses = []
        for login in ("dave", "eve", "frank", "grace"):
            key = json.loads(order("POST", login)["body"])["key"]
            statuses.append(show(key, login)["statusCode"])
        assert statuses == [200, 200, 200, 429]

    def test_a_new_key_ends_the_one_before(
        self, order: Callable[..., dict[str, Any]], show: Callable[..., dict[str, Any]]
    ) -> None:
        first, second = (json.loads(order("POST")["body"])["key"] for _ in range(2))
        assert [show(key)["statusCode"] for key in (first, second)] == [401, 200]

    def test_a_key_is_for_one_channel_and_one_viewer(
        self, order: Callable[..., dict[str, Any]], show: Callable[..., dict[str, Any]]
    ) -> None:
        key = json.loads(order("POST")["body"])["key"]
        assert show(key, "bob")["statusCode"] == 401
        order("DELETE", viewer="viewer-43")
        assert show(key)["statusCode"] == 200

    @pytest.mark.parametrize("key", ["", ".", "made.up", "\ud800.x", "x" * 3000])
    def test_what_is_no_key_opens_nothing(self, show: Callable[..., dict[str, Any]], key: str) -> None:
        answer = show(key)
        assert answer["statusCode"] == 401
        assert json.loads(answer["body"])["error"]["code"] == "unknown_key"

    def test_the_table_does_not_hold_the_key(
        self, order: Callable[..., dict[str, Any]], dynamodb: "DynamoDBClient", log: io.StringIO
    ) -> None:
        secret = json.loads(order("POST")["body"])["key"].split(".")[1]
        assert secret not in json.dumps(dynamodb.scan(TableName="overlays")["Items"])
        assert secret not in log.getvalue()

    def test_a_malformed_login_is_refused(self, order: Callable[..., dict[str, Any]]) -> None:
        assert order("POST", login="not a name")["statusCode"] == 400
