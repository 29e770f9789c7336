"""Fanfare's subscriptions as a whole, in one process: the simulated Twitch, the tables in moto, the clock."""

import dataclasses
import functools
import heapq
import itertools
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3

from benchmarks.in_process_twitch import InProcessPool
from lambdas.common import connections
from lambdas.common.aws import AwsError, Client
from lambdas.common.event import parse_time
from lambdas.common.rotated_secret import RotatedSecret
from lambdas.common.viewers import ViewersTable
from lambdas.ingest import eventsub_signature, message
from lambdas.ingest.refusal import RefusedError
from lambdas.subscriptions.channels import WATCHED_SECONDS, ChannelsTable
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.helix import Credentials, Helix
from lambdas.subscriptions.logins import Logins
from lambdas.subscriptions.model import Grant, Subscription
from lambdas.subscriptions.notices import Notice, apply_notice
from lambdas.subscriptions.plan import apply_consent
from lambdas.subscriptions.points import Points
from lambdas.subscriptions.reconciler import Reconciler, Report
from lambdas.subscriptions.reconciler_progress import ProgressItem
from lambdas.subscriptions.requests import Request, Requests
from lambdas.subscriptions.subscriber import Subscriber
from lambdas.subscriptions.subscription_status import DELAYS_SECONDS, Announcer, StatusUpdater
from lambdas.subscriptions.subscription_types import (
    MODERATOR_SCOPES,
    SCOPES,
    EventTypeStatus,
    SubscriptionState,
)
from lambdas.subscriptions.watching import Watching
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
# How long a message stays invisible whose function has died.
VISIBILITY = 60


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
        # A type whose creation always answers 503, and whether every page of the list leads to itself.
        self.failing_type: str | None = None
        self.repeats_cursor = False

    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> Any:  # type: ignore[override]
        """Ask the simulator."""
        self._crash_point.count_call()
        try:
            if self.failing_type and f'"{self.failing_type}"' in str(options.get("body")):
                self.requests.append((method, urlsplit(url).path))
                return urllib3.HTTPResponse(b"{}", status=503)
            answer = super().urlopen(method, url, redirect, **options)
            if self.repeats_cursor and method == "GET" and "subscriptions" in url and answer.status == 200:
                body = json.dumps({**answer.json(), "pagination": {"cursor": "1"}}).encode()
                return urllib3.HTTPResponse(body, status=200)
        finally:
            self._answered()
        return answer


class AtOnce(Executor):
    """Runs what is submitted at once, in this thread, so that a test does the same each time."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call ``fn``."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Queues(Client):
    """SQS in this process: frames to viewers, and requests, which wait until they are due."""

    def __init__(self, clock: Callable[[], float], before_call: Callable[[], None]) -> None:
        self.frames: list[dict[str, Any]] = []
        self.fails = 0
        self._clock = clock
        self._before_call = before_call
        self._requests: list[tuple[float, int, str]] = []
        self._numbers = itertools.count()

    def call(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Send a message. Raises AwsError, ``fails`` times."""
        assert action == "SendMessage"
        self._before_call()
        if self.fails:
            self.fails -= 1
            raise AwsError("sqs:SendMessage", "Unreachable", "no answer")
        if parameters["QueueUrl"] == "broadcast":
            if parameters["DelaySeconds"] == DELAYS_SECONDS[0]:
                self.frames.append(json.loads(parameters["MessageBody"]))
        else:
            self.put(parameters["MessageBody"], parameters["DelaySeconds"])
        return {}

    def put(self, body: str, delay: float) -> None:
        """A request can be received after so many seconds."""
        heapq.heappush(self._requests, (self._clock() + delay, next(self._numbers), body))

    def receive(self) -> str | None:
        """The next request that is due."""
        if not self._requests or self._requests[0][0] > self._clock():
            return None
        return heapq.heappop(self._requests)[2]

    def waiting(self) -> int:
        """How many requests there are."""
        return len(self._requests)

    def next_due(self) -> float | None:
        """When the next request is due."""
        return self._requests[0][0] if self._requests else None


@dataclasses.dataclass(frozen=True)
class Watched:
    """What a watch has led to: the states then, their revision, and how many subscriptions were created."""

    states: Mapping[str, SubscriptionState]
    revision: int
    created: int


@dataclasses.dataclass
class Reconciled(Report):
    """What a run did, and how many subscriptions were created that it asked for."""

    created: int = 0


class World:
    """Twitch, the tables, the queues, the clock, and what viewers and functions do."""

    def __init__(self, dynamodb: "DynamoDBClient", **limits: int) -> None:
        self.now = float(BEGIN)
        self.crash_point = CrashPoint()
        self.early_challenges = False
        self.after_each_call: Callable[[], object] = lambda: None
        self.after_call: tuple[str, Callable[[], object]] | None = None
        self.tells_disconnections = False
        settings = Settings(BASE_URL, CLIENT_ID, CLIENT_SECRET, cognito_callback_base=BASE_URL, **limits)  # type: ignore[arg-type]
        self.twitch = Simulator(settings, clock=lambda: int(self.now * 10**9))
        self.pool = CrashingPool(self.twitch, self.crash_point, self._answered)
        self._dynamodb = dynamodb
        self._client = InProcessClient(dynamodb, self.crash_point.count_call)
        self.points = Points(self._client, "twitch", lambda: self.now)
        self.points_are_counted = False
        self.helix = Helix(
            self.pool,
            lambda: Credentials(CLIENT_ID, CLIENT_SECRET),
            f"{BASE_URL}/helix",
            f"{BASE_URL}/oauth2",
            take_point=lambda rank: not self.points_are_counted or self.points.take(rank),
            clock=lambda: self.now,
        )
        self.channels = ChannelsTable(self._client, "channels")
        self.grants = GrantsTable(self._client, "grants")
        self.logins = Logins(self.helix, self.channels, self._client, "twitch", sleep=self._sleep)
        self.changes: list[str] = []
        self.statuses = StatusUpdater(self.channels, self.changes.append)
        self.queues = Queues(lambda: self.now, self.crash_point.count_call)
        self.requests = Requests(self.queues, "subscribe", self.channels)
        self.announcer = Announcer(self.channels, self.grants, self.queues, "broadcast")
        self.watching = Watching(self.channels, self.grants, self.requests)
        self.progress = ProgressItem(self._client, "twitch")
        self.secret = RotatedSecret("the-first-webhook-secret", None, "v1")
        self.webhook_url = WEBHOOK_URL
        self.created = 0
        # Notices that are still on their way.
        self.notices_are_late = False
        self.late_notices: list[Notice] = []
        self.viewers = ViewersTable(self._client, "viewers")
        self.executor: Executor = AtOnce()
        self._numbers = itertools.count(2)
        self.redeploy()

    def redeploy(self) -> None:
        """Functions start anew, with the settings as they are now."""
        self.subscriber = Subscriber(
            self.helix,
            self.statuses,
            self.grants,
            self.requests,
            self.webhook_url,
            lambda: self.secret,
            self.executor,
            clock=lambda: self.now,
            chance=lambda: 0.0,
        )

    # -- what people do ----------------------------------------------------------------------------

    def streamer_id(self, login: str) -> str:
        """A login's Twitch id."""
        user = self.twitch.state.users.by_login(login)
        assert user is not None
        return user.id

    def ask_to_watch(self, login: str, *, as_streamer: str | None = None) -> Mapping[str, SubscriptionState]:
        """A viewer asks to watch, and gets these states in the answer.

        ``as_streamer`` has signed in as a streamer or moderator just now.
        """
        resolution = self.logins.resolve(login, int(self.now))
        grant, streamer_id, now = None, resolution.channel.id, datetime.fromtimestamp(self.now, UTC)
        if as_streamer is not None:
            grantor_id = self.streamer_id(as_streamer)
            scopes = SCOPES if grantor_id == streamer_id else MODERATOR_SCOPES
            grant = Grant(grantor_id, int(self.now), scopes)
        may_try = functools.partial(self.viewers.try_grant, str(as_streamer), streamer_id, now)
        return self.watching.watch(resolution, grant, may_try, int(self.now)).states

    def watch(self, login: str, *, as_streamer: str | None = None) -> Watched:
        """The same, and what is requested at once happens."""
        before = self.created
        self.ask_to_watch(login, as_streamer=as_streamer)
        self.work()
        record = self.channels.get(self.streamer_id(login))
        assert record is not None
        grants = self.grants.for_channel(self.streamer_id(login))
        states = apply_consent(record.states, self.streamer_id(login), grants)
        return Watched(states, record.revision, self.created - before)

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
        sent_at = int(parse_time(fields["sent_at"]).timestamp() * 1000)
        notice = Notice(fields["subscription"], sent_at)
        if self.notices_are_late:
            self.late_notices.append(notice)
        else:
            self.notice(notice)

    def notice(self, notice: Notice) -> None:
        """The function ``notices`` gets a notice; SNS tries three times."""
        for _ in range(3):
            try:
                streamer_id = apply_notice(self.statuses, self.grants, notice)
                if streamer_id is not None:
                    self.announcer.tell(streamer_id, settled=notice.verifies)
            except AwsError:
                continue
            except Crash:
                # Twitch has its answer already: the notice is lost, and the reconciler corrects the table.
                self.crash_point.calls = None
            return

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

    # -- time, requests, and the reconciler -----------------------------------------------------------

    def work(self) -> None:
        """The function ``subscriber`` handles the requests that are due; after a failure they come again."""
        while (body := self.queues.receive()) is not None:
            request = Request.from_json(body)
            try:
                self.created += len(self.subscriber.handle(request))
                self.announcer.tell(request.streamer_id, settled=True)
            except (AwsError, Crash):
                self.crash_point.calls = None
                self.queues.put(body, VISIBILITY)

    def wait(self, seconds: float) -> None:
        """Time passes; requests are handled when they are due."""
        end = self.now + seconds
        while (due := self.queues.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.work()
            self.deliver()
        self.now = end

    def run(self) -> Report:
        """One run of the reconciler."""
        reconciler = Reconciler(
            self.subscriber,
            self.announcer,
            self.progress,
            lambda: connections.count_by_channel(
                self._client, "connections", datetime.fromtimestamp(self.now, UTC)
            ),
            GRACE - WATCHED_SECONDS,
            sleep=self._sleep,
            tells_disconnections=self.tells_disconnections,
        )
        return reconciler.run(self.now + 220)

    def reconcile(self) -> "Reconciled":
        """One run of the reconciler, and what it requests at once happens."""
        before = self.created
        report = self.run()
        self.work()
        return Reconciled(**dataclasses.asdict(report), created=self.created - before)

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

    def frames(self, login: str) -> list[list[EventTypeStatus]]:
        """What a channel's viewers were sent."""
        streamer_id = self.streamer_id(login)
        return [frame["topics"] for frame in self.queues.frames if frame["streamer_id"] == streamer_id]

    def shown(self, login: str) -> dict[str, tuple[str, str | None]]:
        """What the last frame showed a channel's viewers: status and reason by event type."""
        return {topic["event_type"]: (topic["status"], topic["reason"]) for topic in self.frames(login)[-1]}

    def calls(self, since: int = 0) -> list[tuple[str, str]]:
        """Helix requests so far, after the first ``since``."""
        return [call for call in self.pool.requests[since:] if call[1].startswith("/helix")]
