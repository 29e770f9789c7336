"""A stage of Fanfare as the live path sees it: tables, queues, functions, viewers, the channels' events."""

import functools
import json
import math
import random
from datetime import UTC, datetime
from pathlib import Path
from types import CodeType
from typing import Any

from benchmarks.scale import constants, deployment
from benchmarks.scale.clock import Bucket, Clock
from benchmarks.scale.connections_api import ConnectionsApi
from benchmarks.scale.dynamodb import DynamoDB, Table
from benchmarks.scale.functions import Account, Deaths, Function
from benchmarks.scale.queues import SQS, EventSource, Queue
from benchmarks.scale.stand_ins import EPOCH, Services, World
from benchmarks.scale.viewers import Channel, Page
from lambdas.common import connections, tickets
from lambdas.common.aws import AwsError, Client

PING_EVERY_SECONDS = 240.0
# What an event of Twitch's is like: some 600 bytes.
PAYLOAD = {"user_name": "viewer", "broadcaster_user_name": "streamer", "message": "x" * 300}
# A watch whose topics are subscribed already. Assumed.
WATCH_SECONDS = 0.03
# From the browser to the Region and back. Assumed.
TO_AND_FRO_SECONDS = 0.05


class Model:
    """One run. Everything that is random follows from the seed."""

    def __init__(
        self,
        *,
        seed: int = 1,
        quota: float = 1.0,
        deaths_every: int = 0,
    ) -> None:
        """API Gateway's budget is ``quota`` times the usual one, and so is the stage's ``api_requests``.

        One of ``deaths_every`` invocations of the broadcaster dies, none if that is 0.
        """
        self.clock = clock = Clock()
        self.rng = random.Random(seed)
        self.api = ConnectionsApi(clock, self.rng, quota=quota)
        self.api.on_dropped = self._dropped
        self.tables = {name: Table(clock, *keys) for name, keys in deployment.TABLES.items()}
        self.queues = {name: Queue(clock, name, **settings) for name, settings in deployment.QUEUES.items()}
        self.services = Services(clock, self.rng, DynamoDB(self.tables), SQS(self.queues, self.rng), self.api)
        posts_per_second = round(int(deployment.ENVIRONMENT["POSTS_PER_SECOND"]) * quota)
        self._world = World(
            self.services,
            {
                **deployment.ENVIRONMENT,
                "TICKETS_TABLE": "tickets",
                "POSTS_PER_SECOND": str(posts_per_second),
            },
        )
        self.account = Account()
        self.watches_allowed = Bucket(clock, *deployment.WATCH_THROTTLE)
        self.pings_allowed = Bucket(clock, *deployment.PING_THROTTLE)
        self.deaths = Deaths(deaths_every, self.rng) if deaths_every else None
        self.broadcaster = self._function(
            "broadcaster", deployment.TIMEOUT_SECONDS, deployment.RESERVED_CONCURRENCY, self.deaths
        )
        self._connection = self._function("connection", 5.0)
        self._authorizer = self._function("authorizer", 5.0)
        for name, source in deployment.SOURCES.items():
            EventSource(clock, self.queues[name], self.broadcaster, **source)
        self.channels: list[Channel] = []
        self._connections = 0
        self._events = 0
        self.joined: list[float] = []
        self.refused_watches = self.refused_connections = 0
        self.refused_pings = 0
        self.failed_attempts = 0

    def run(self, until: float) -> None:
        """Let the scenario happen."""
        with self._world.entered():
            self.clock.run(until)

    def channel(self, streamer_id: str, viewers: int) -> Channel:
        """A channel with so many viewers, who have been there for a while."""
        channel = Channel(streamer_id)
        self.channels.append(channel)
        for _ in range(viewers):
            page = Page(channel, "")
            connection_id = self._new_connection_id()
            self.api.open(page, connection_id, 0.0)
            renewed = EPOCH - self.rng.uniform(10.0, PING_EVERY_SECONDS)
            self._place(page, datetime.fromtimestamp(renewed, UTC))
        return channel

    def events(self, channel: Channel, per_second: float, begin: float, end: float) -> None:
        """Events at that rate, each at any time of its part of it."""
        for number in range(round((end - begin) * per_second)):
            self.event(channel, begin + (number + self.rng.random()) / per_second)

    def event(self, channel: Channel, at: float) -> None:
        """One event."""
        self.clock.at(at, self._happen, channel)

    def pings(self, pages: list[Page], end: float) -> None:
        """Every page pings every four minutes."""
        for page in pages:
            at = self.rng.uniform(0.0, PING_EVERY_SECONDS)
            if at < end:
                self.clock.at(at, self._ping, page)

    def silence_dynamodb(self, begin: float, end: float) -> None:
        """DynamoDB does not answer in that time."""
        self.services.dynamodb_silent_from, self.services.dynamodb_silent_until = begin, end

    def forbid_posts(self, begin: float, end: float) -> None:
        """The functions may not post in that time."""
        self.api.forbidden_from, self.api.forbidden_until = begin, end

    def leave(self, page: Page, at: float, *, says_so: bool) -> None:
        """The viewer leaves; API Gateway may say so or not."""

        def leaves() -> None:
            self.api.close(page)
            if says_so:
                self._disconnected(page)

        self.clock.at(at, leaves)

    def join(self, channel: Channel, at: float) -> Page:
        """A viewer comes: asks for a ticket, opens a connection, and tries again as the page does."""
        page = Page(channel, "", since=math.inf)
        self.clock.at(at, self.clock.spawn, self._come, page, 0)
        return page

    def _happen(self, channel: Channel) -> None:
        # The delivery is a request of the same budget. Here it comes although it may be refused.
        self.api.request()
        now = self.clock.now
        self._events += 1
        event_id = f"event-{self._events}"
        channel.happened(event_id, now)
        time = (
            datetime.fromtimestamp(EPOCH + now, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
            + "Z"
        )
        body = json.dumps(
            {
                "id": event_id,
                "streamer_id": channel.streamer_id,
                "streamer_name": channel.streamer_id,
                "event_type": "channel.chat.message",
                "occurred_at": time,
                "created_at": time,
                "payload": PAYLOAD,
            },
            separators=(",", ":"),
        )
        self.clock.at(now + constants.TOPIC_SECONDS, self.queues["broadcast"].send, body)

    def _ping(self, page: Page) -> None:
        if not math.isinf(page.closed_at):
            return
        if self.api.request() and self.pings_allowed.take():
            self._connection.invoke(self._request(page, "MESSAGE", "ping"), lambda answer: None)
        else:
            self.refused_pings += 1

    def _disconnected(self, page: Page) -> None:
        self._connection.invoke(self._request(page, "DISCONNECT", "$disconnect"), lambda answer: None)

    def _dropped(self, page: Page) -> None:
        self._disconnected(page)
        if self.clock.now < page.full_until < math.inf:
            # Its device works again some time; then it finds its connection gone.
            self.clock.at(page.full_until, self.clock.spawn, self._come, page, constants.LOSS)

    def _come(self, page: Page, failures: int) -> None:
        """The page's attempts to connect, one after the other."""
        clock = self.clock
        while True:
            if failures:
                bound = min(constants.MOST_BACKOFF_SECONDS, constants.BACKOFF_SECONDS * 2 ** (failures - 1))
                clock.sleep(self.rng.random() * bound)
            if self._attempt(page):
                self.joined.append(clock.now)
                return
            self.failed_attempts += 1
            failures += 1

    def _attempt(self, page: Page) -> bool:
        """Ask for a ticket and open a connection; whether that succeeded."""
        ticket = self._watch(page)
        self.clock.sleep(TO_AND_FRO_SECONDS)
        if not ticket or not self.api.request():
            return False
        if not self.api.new_connections.take():
            self.refused_connections += 1
            return False
        request = {"queryStringParameters": {"ticket": ticket}, "methodArn": "arn"}
        answer = self._call(self._authorizer, request)
        return bool(answer and answer["context"]) and self._connect(page)

    def _watch(self, page: Page) -> str:
        """A ticket, or "" for an answer of another status than 200."""
        if not self.api.request() or not self.watches_allowed.take():
            self.refused_watches += 1
            return ""
        self.clock.sleep(WATCH_SECONDS)
        try:
            return tickets.issue(
                Client("dynamodb"),
                "tickets",
                viewer_id=page.viewer_id,
                streamer_id=page.channel.streamer_id,
                streamer_name=page.channel.streamer_id,
                now=datetime.fromtimestamp(EPOCH + self.clock.now, UTC),
            ).value
        except AwsError:
            return ""

    def _connect(self, page: Page) -> bool:
        clock = self.clock
        # The function stores it before its handshake is over.
        self.api.open(page, self._new_connection_id(), math.inf)
        answer = self._call(self._connection, self._request(page, "CONNECT", "$connect"))
        if answer is None or answer["statusCode"] != 200:
            self.api.close(page)
            return False
        page.since = min(page.since, clock.now)
        clock.sleep(constants.HANDSHAKE_SECONDS)
        page.opens_at = clock.now
        self.api.catch_up(page, clock.now)
        return True

    def _call(self, function: Function, event: dict[str, Any]) -> dict[str, Any] | None:
        """Call a function and wait for its answer; None when there is none."""
        if not function.has_room():
            function.refused += 1
            return None
        process = self.clock.current()
        answers: list[dict[str, Any] | None] = []

        def ended(answer: dict[str, Any] | None) -> None:
            answers.append(answer)
            process.switch()

        function.invoke(event, ended)
        self.clock.wait()
        return answers[0]

    def _request(self, page: Page, event_type: str, route: str) -> dict[str, Any]:
        claim = {
            "viewer_id": page.viewer_id,
            "streamer_id": page.channel.streamer_id,
            "streamer_name": page.channel.streamer_id,
        }
        return {
            "requestContext": {
                "eventType": event_type,
                "routeKey": route,
                "connectionId": page.connection_id,
                "authorizer": claim,
                "connectedAt": int((EPOCH + self.clock.now) * 1000),
            },
            "body": '{"action": "ping"}',
        }

    def _place(self, page: Page, now: datetime) -> None:
        connections.put(
            _Placing(self.tables),  # type: ignore[arg-type]
            "connections",
            streamer_id=page.channel.streamer_id,
            connection_id=page.connection_id,
            viewer_id=page.viewer_id,
            now=now,
        )

    def _new_connection_id(self) -> str:
        self._connections += 1
        return f"{self.rng.getrandbits(80):020x}{self._connections:x}="

    def _function(
        self, name: str, timeout: float, reserved: int | None = None, deaths: Deaths | None = None
    ) -> Function:
        module = f"lambdas.handlers.{name}"
        return Function(
            self.clock,
            self.account,
            name,
            functools.partial(self._world.load, _code(module), module),
            timeout=timeout,
            world_time=lambda: EPOCH + self.clock.now,
            reserved=reserved,
            deaths=deaths,
        )


class _Placing:
    """Where ``connections.put`` puts the connections that are there when a scenario begins."""

    def __init__(self, tables: dict[str, Table]) -> None:
        self._tables = tables

    def call(self, action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """PutItem."""
        assert action == "PutItem"
        self._tables[parameters["TableName"]].place(parameters["Item"])
        return {}


@functools.cache
def _code(module: str) -> CodeType:
    path = Path(*module.split(".")).with_suffix(".py")
    return compile((Path(__file__).parents[2] / path).read_text(), str(path), "exec")
