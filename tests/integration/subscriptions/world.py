"""Fanfare's subscriptions as a whole, in one process: the simulated Twitch, the tables in moto, the clock."""

import itertools
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lambdas.common import connections
from lambdas.common.event import parse_time
from lambdas.common.rotated_secret import RotatedSecret
from lambdas.ingest import eventsub_signature, message
from lambdas.ingest.refusal import RefusedError
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.helix import Credentials, Helix
from lambdas.subscriptions.model import Grant, Subscription
from lambdas.subscriptions.notices import Notice, apply_notice
from lambdas.subscriptions.reconciler import Reconciler, Report
from lambdas.subscriptions.subscriber import Subscriber
from lambdas.subscriptions.subscription_status import StatusUpdater
from lambdas.subscriptions.subscription_types import SCOPES, EventTypeStatus, SubscriptionState, summarize
from lambdas.subscriptions.watching import WatchResult, resolve_login, watch_channel
from local.twitch.in_process import InProcessPool
from local.twitch.settings import Settings
from local.twitch.simulator import Simulator
from tests.integration.subscriptions.tables import InProcessClient

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

BASE_URL = "https://twitch.example"
WEBHOOK_URL = "https://fanfare.example/webhooks/twitch"
CLIENT_ID, CLIENT_SECRET = "the-client-id", "the-client-secret"
BEGIN = 1_800_000_000
GRACE = 600
PERIOD = 300
LIFETIME = 900
FOLLOWERS = "moderator:read:followers"


class Crash(BaseException):
    """The function is ended between two calls, as by a timeout: no handler of errors sees it."""


class CrashPoint:
    """Crashes the function after ``calls`` more calls; None is never."""

    def __init__(self) -> None:
        self.calls: int | None = None

    def count_call(self) -> None:
        """Count a call."""
        if self.calls is not None:
            self.calls -= 1
            if self.calls < 0:
                raise Crash


class CrashingPool(InProcessPool):
    """The simulated Twitch; a request may crash the function, and a callback may come before the answer."""

    def __init__(self, simulator: Simulator, crash_point: CrashPoint, answered: Callable[[], None]) -> None:
        super().__init__(simulator)
        self._crash_point = crash_point
        self._answered = answered

    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> Any:  # type: ignore[override]
        """Ask the simulator."""
        self._crash_point.count_call()
        try:
            return super().urlopen(method, url, redirect, **options)
        finally:
            self._answered()


class AtOnce(Executor):
    """Runs what is submitted at once, in this thread, so that a test does the same each time."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call ``fn``."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class World:
    """Twitch, the tables, the clock, and what viewers and functions do."""

    def __init__(self, dynamodb: "DynamoDBClient", **limits: int) -> None:
        self.now = float(BEGIN)
        self.crash_point = CrashPoint()
        self.early_challenges = False
        self.after_each_call: Callable[[], object] = lambda: None
        self.after_call: tuple[str, Callable[[], object]] | None = None
        self.frames: list[tuple[str, list[EventTypeStatus]]] = []
        settings = Settings(BASE_URL, CLIENT_ID, CLIENT_SECRET, cognito_callback_base=BASE_URL, **limits)  # type: ignore[arg-type]
        self.twitch = Simulator(settings, clock=lambda: int(self.now * 10**9))
        self.pool = CrashingPool(self.twitch, self.crash_point, self._answered)
        self.helix = Helix(
            self.pool,
            lambda: Credentials(CLIENT_ID, CLIENT_SECRET),
            f"{BASE_URL}/helix",
            f"{BASE_URL}/oauth2",
            clock=lambda: self.now,
        )
        self._dynamodb = dynamodb
        self._client = InProcessClient(dynamodb, self.crash_point.count_call)
        self.channels = ChannelsTable(self._client, "channels")
        self.grants = GrantsTable(self._client, "grants")
        self.changes: list[str] = []
        self.statuses = StatusUpdater(self.channels, self.changes.append)
        self.secret = RotatedSecret("the-first-webhook-secret", None, "v1")
        self.webhook_url = WEBHOOK_URL
        self._numbers = itertools.count(2)
        self.redeploy()

    def redeploy(self) -> None:
        """Functions start anew, with the settings as they are now."""
        self.subscriber = Subscriber(
            self.helix, self.statuses, self.grants, self.webhook_url, lambda: self.secret, AtOnce()
        )

    # -- what people do ----------------------------------------------------------------------------

    def streamer_id(self, login: str) -> str:
        """A login's Twitch id."""
        user = self.twitch.state.users.by_login(login)
        assert user is not None
        return user.id

    def watch(self, login: str, *, as_streamer: str | None = None) -> WatchResult:
        """A viewer asks to watch; ``as_streamer`` has signed in as a streamer or moderator just now."""
        resolution = resolve_login(self.helix, self.channels, login, int(self.now))
        grant = None
        if as_streamer is not None:
            grantor_id = self.streamer_id(as_streamer)
            scopes = SCOPES if grantor_id == resolution.channel.id else frozenset({FOLLOWERS})
            grant = Grant(grantor_id, int(self.now), scopes)
        return watch_channel(self.subscriber, resolution, grant, int(self.now))

    def sign_in_as_streamer(self, login: str) -> None:
        """Somebody grants everything at Twitch."""
        self.twitch.state.grant(self.streamer_id(login), SCOPES)

    def connect(self, login: str, connection_id: str) -> None:
        """A viewer's WebSocket opens, or is renewed."""
        self.connect_id(self.streamer_id(login), connection_id)

    def connect_id(self, streamer_id: str, connection_id: str) -> None:
        """A viewer's WebSocket opens, or is renewed, for a channel that may have no login any more."""
        self._dynamodb.put_item(
            TableName="connections",
            Item={
                "streamer_id": {"S": streamer_id},
                "connection_id": {"S": connection_id},
                "expires_at": {"N": str(int(self.now) + LIFETIME)},
            },
        )

    def disconnect(self, login: str, connection_id: str) -> None:
        """A viewer's WebSocket closes, and ``$disconnect`` arrives."""
        self._dynamodb.delete_item(
            TableName="connections",
            Key={"streamer_id": {"S": self.streamer_id(login)}, "connection_id": {"S": connection_id}},
        )

    # -- what Twitch and operators do ----------------------------------------------------------------

    def deliver(self) -> None:
        """Twitch sends its messages; the webhook verifies them, and its notices are applied."""
        for delivery in self.twitch.take_messages():
            if delivery.subscription.callback.startswith("https://another-stage.example/"):
                self.twitch.answered(delivery, 200, delivery.challenge or "", "text/plain")
                continue
            headers = {name.lower(): value for name, value in delivery.headers().items()}
            now = datetime.fromtimestamp(self.now, UTC)
            body = delivery.body.encode()
            leads_here = delivery.subscription.callback.startswith("https://fanfare.example/")
            try:
                sent_at = eventsub_signature.verify(
                    headers, body, self.secret.accepted if leads_here else (), now
                )
            except RefusedError:
                self.twitch.answered(delivery, 403)
                continue
            match message.read(headers, body, sent_at, now):
                case message.Challenge(text, published):
                    self.twitch.answered(delivery, 200, text, "text/plain")
                case published:
                    self.twitch.answered(delivery, 204)
            if published is not None and published.message_type != "notification":
                self._notice(published)

    def _notice(self, published: message.Message) -> None:
        fields = json.loads(published.body)
        published_notice = Notice(fields["subscription"], int(parse_time(fields["sent_at"]).timestamp()))
        try:
            change = apply_notice(self.statuses, self.grants, published_notice)
        except Crash:
            # Twitch has its answer already: the notice is lost, and the reconciler corrects the table.
            self.crash_point.calls = None
            return
        if change is not None:
            self.frames.append((change[0], summarize(change[1])))

    def _answered(self) -> None:
        """What happens while the answer to a request is under way."""
        if self.early_challenges and self.crash_point.calls is None:
            self.deliver()
        self.after_each_call()
        if self.after_call is not None and self.pool.requests[-1][0] == self.after_call[0]:
            (_, happen), self.after_call = self.after_call, None
            happen()

    def rotate_secret(self) -> None:
        """An operator gives the webhook a new secret."""
        version = f"v{next(self._numbers)}"
        self.secret = RotatedSecret(f"the-webhook-secret-{version}", self.secret.current, version)

    # -- time, and the reconciler --------------------------------------------------------------------

    def reconcile(self) -> Report:
        """One run of the reconciler."""
        reconciler = Reconciler(
            self.subscriber,
            lambda: connections.count_by_channel(
                self._client, "connections", datetime.fromtimestamp(self.now, UTC)
            ),
            GRACE,
            self._on_change,
            clock=lambda: self.now,
            sleep=self._sleep,
        )
        return reconciler.run(self.now + 220)

    def _on_change(
        self,
        streamer_id: str,
        before: Mapping[str, SubscriptionState],
        after: Mapping[str, SubscriptionState],
    ) -> None:
        if summarize(before) != summarize(after):
            self.frames.append((streamer_id, summarize(after)))

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.deliver()

    # -- what there is -------------------------------------------------------------------------------

    def listed(self) -> list[Subscription]:
        """What the simulated Twitch holds for this stage, dead ones included."""
        every = (
            Subscription.from_dict(entry.to_dict()) for entry in self.twitch.state.subscriptions.values()
        )
        return [one for one in every if one.callback.partition("?")[0] == WEBHOOK_URL]

    def delivered(self, login: str) -> dict[str, list[str]]:
        """The statuses of a channel's subscriptions at Twitch, by type key."""
        return self.delivered_to(self.streamer_id(login))

    def delivered_to(self, streamer_id: str) -> dict[str, list[str]]:
        """The same for a channel that may have no login any more."""
        statuses: dict[str, list[str]] = {}
        for one in self.listed():
            match = one.target
            if match is not None and match.streamer_id == streamer_id:
                statuses.setdefault(match.subscription_type.key, []).append(one.status)
        return statuses

    def known(self, login: str) -> dict[str, SubscriptionState]:
        """What the table says of a channel's subscriptions."""
        record = self.channels.get(self.streamer_id(login))
        assert record is not None
        return dict(record.states)

    def revision(self, login: str) -> int:
        """Which states of a channel's subscriptions these are."""
        record = self.channels.get(self.streamer_id(login))
        assert record is not None
        return record.revision

    def shown(self, login: str) -> dict[str, tuple[str, str | None]]:
        """What the last frame showed a channel's viewers: status and reason by event type."""
        topics = [topics for streamer_id, topics in self.frames if streamer_id == self.streamer_id(login)][-1]
        return {topic["event_type"]: (topic["status"], topic["reason"]) for topic in topics}

    def calls(self, since: int = 0) -> list[tuple[str, str]]:
        """Helix requests so far, after the first ``since``."""
        return [call for call in self.pool.requests[since:] if call[1].startswith("/helix")]
