"""Fanfare's subscriptions as a whole, in one process: the simulated Twitch, the tables in moto, the clock."""

import itertools
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.client import BaseClient

from lambdas.common.event import parse_time
from lambdas.common.webhook_secret import WebhookSecret
from lambdas.ingest import eventsub_signature, message
from lambdas.ingest.refusal import RefusedError
from lambdas.subscriptions import viewers
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.helix import Credentials, Helix
from lambdas.subscriptions.model import Grant, Subscription
from lambdas.subscriptions.notices import Notice, notice
from lambdas.subscriptions.plan import attribution
from lambdas.subscriptions.reconciler import Reconciler, Report
from lambdas.subscriptions.subscriber import Subscriber
from lambdas.subscriptions.subscription_status import StatusUpdater
from lambdas.subscriptions.subscription_types import SCOPES, SubscriptionState, TopicStatus, summarize
from lambdas.subscriptions.watching import Following, follow, resolve
from local.twitch.in_process import InProcessPool
from local.twitch.settings import Settings
from local.twitch.simulator import Simulator

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


class Fuse:
    """Ends whatever runs at the call that is due; ``calls`` counts down to it, None is never."""

    def __init__(self) -> None:
        self.calls: int | None = None

    def burn(self) -> None:
        """Count a call."""
        if self.calls is not None:
            self.calls -= 1
            if self.calls < 0:
                raise Crash


class FusedPool(InProcessPool):
    """The simulated Twitch, with a fuse before each request, and callbacks that may overtake answers."""

    def __init__(self, simulator: Simulator, fuse: Fuse, answered: Callable[[], None]) -> None:
        super().__init__(simulator)
        self._fuse = fuse
        self._answered = answered

    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> Any:  # type: ignore[override]
        """Ask the simulator."""
        self._fuse.burn()
        try:
            return super().urlopen(method, url, redirect, **options)
        finally:
            self._answered()


class FusedClient:
    """A boto3 client with a fuse before each call."""

    def __init__(self, client: BaseClient, fuse: Fuse) -> None:
        self._client = client
        self._fuse = fuse
        self.exceptions = client.exceptions
        self.get_paginator = client.get_paginator

    def __getattr__(self, name: str) -> Any:
        self._fuse.burn()
        return getattr(self._client, name)


class AtOnce(Executor):
    """Runs what is submitted at once, in this thread: what happens can be repeated."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call ``fn``."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class World:
    """Twitch, the tables, the clock, and what viewers and functions do."""

    def __init__(self, dynamodb: "DynamoDBClient", **limits: int) -> None:
        self.now = float(BEGIN)
        self.fuse = Fuse()
        self.early_challenges = False
        self.after_each_call: Callable[[], object] = lambda: None
        self.after_call: tuple[str, Callable[[], object]] | None = None
        self.frames: list[tuple[str, list[TopicStatus]]] = []
        settings = Settings(BASE_URL, CLIENT_ID, CLIENT_SECRET, cognito_callback_base=BASE_URL, **limits)  # type: ignore[arg-type]
        self.twitch = Simulator(settings, clock=lambda: int(self.now * 10**9))
        self.pool = FusedPool(self.twitch, self.fuse, self._answered)
        self.helix = Helix(
            self.pool,
            lambda: Credentials(CLIENT_ID, CLIENT_SECRET),
            f"{BASE_URL}/helix",
            f"{BASE_URL}/oauth2",
            clock=lambda: self.now,
        )
        self._dynamodb = dynamodb
        client: Any = FusedClient(dynamodb, self.fuse)
        self.channels = ChannelsTable(client, "channels")
        self.grants = GrantsTable(client, "grants")
        self.moves: list[str] = []
        self.statuses = StatusUpdater(self.channels, self.moves.append)
        self.secret = WebhookSecret("the-first-webhook-secret", None, "v1")
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

    def watch(self, login: str, *, as_streamer: str | None = None) -> Following:
        """A viewer asks to watch; ``as_streamer`` has signed in as a streamer or moderator just now."""
        resolution = resolve(self.helix, self.channels, login, int(self.now))
        grant = None
        if as_streamer is not None:
            grantor_id = self.streamer_id(as_streamer)
            scopes = SCOPES if grantor_id == resolution.channel.id else frozenset({FOLLOWERS})
            grant = Grant(grantor_id, int(self.now), scopes)
        return follow(self.subscriber, resolution, grant, int(self.now))

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
        """Twitch sends what it has to tell; the webhook verifies, and what it publishes is taken."""
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
        news = Notice(fields["subscription"], int(parse_time(fields["sent_at"]).timestamp()))
        try:
            change = notice(self.statuses, self.grants, news)
        except Crash:
            # Twitch has its answer by then: what was noticed is lost, and the reconciler's to find out.
            self.fuse.calls = None
            return
        if change is not None:
            self.frames.append((change[0], summarize(change[1])))

    def _answered(self) -> None:
        """What happens while the answer to a request is under way."""
        if self.early_challenges and self.fuse.calls is None:
            self.deliver()
        self.after_each_call()
        if self.after_call is not None and self.pool.requests[-1][0] == self.after_call[0]:
            (_, happen), self.after_call = self.after_call, None
            happen()

    def rotate_secret(self) -> None:
        """An operator gives the webhook a new secret."""
        version = f"v{next(self._numbers)}"
        self.secret = WebhookSecret(f"the-webhook-secret-{version}", self.secret.current, version)

    # -- time, and the reconciler --------------------------------------------------------------------

    def reconcile(self) -> Report:
        """One run of the reconciler."""
        reconciler = Reconciler(
            self.subscriber,
            lambda: viewers.count(self._dynamodb, "connections", datetime.fromtimestamp(self.now, UTC)),
            GRACE,
            self._tell,
            clock=lambda: self.now,
            sleep=self._sleep,
        )
        return reconciler.run(self.now + 220)

    def _tell(
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
        """The statuses of a channel's subscriptions at Twitch, by topic key."""
        return self.delivered_to(self.streamer_id(login))

    def delivered_to(self, streamer_id: str) -> dict[str, list[str]]:
        """The same for a channel that may have no login any more."""
        statuses: dict[str, list[str]] = {}
        for one in self.listed():
            match = attribution(one)
            if match is not None and match.streamer_id == streamer_id:
                statuses.setdefault(match.topic.key, []).append(one.status)
        return statuses

    def known(self, login: str) -> dict[str, SubscriptionState]:
        """What the table says of a channel's topics."""
        record = self.channels.get(self.streamer_id(login))
        assert record is not None
        return dict(record.topics)

    def told(self, login: str) -> dict[str, tuple[str, str | None]]:
        """What the last frame told a channel's viewers: status and reason by event type."""
        topics = [topics for streamer_id, topics in self.frames if streamer_id == self.streamer_id(login)][-1]
        return {topic["event_type"]: (topic["status"], topic["reason"]) for topic in topics}

    def calls(self, since: int = 0) -> list[tuple[str, str]]:
        """Helix requests so far, after the first ``since``."""
        return [call for call in self.pool.requests[since:] if call[1].startswith("/helix")]
