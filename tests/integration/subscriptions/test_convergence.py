"""Whatever happens, in whatever order: what Twitch has becomes what is wanted, and no viewer is let down.

With FANFARE_PROPERTY_EXAMPLES=1000 it looks for longer.
"""

import contextlib
import os
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lambdas.subscriptions.helix import CredentialsRefusedError, HelixError
from lambdas.subscriptions.plan import attribution, consents, is_live
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES, SubscriptionType
from local.twitch.state import Fault
from tests.integration.subscriptions.tables import empty_tables
from tests.integration.subscriptions.world import GRACE, PERIOD, Crash, World

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LOGINS = ("ninja", "shroud")
REVOKED = ("notification_failures_exceeded", "version_removed")
logins = st.sampled_from(LOGINS)
names = st.sampled_from(("ann", "bob"))


class Subscriptions(RuleBasedStateMachine):
    """Viewers, streamers, Twitch, operators and functions, all at odds with each other."""

    dynamodb: "DynamoDBClient"

    def __init__(self) -> None:
        super().__init__()
        empty_tables(self.dynamodb)
        self.world = World(self.dynamodb)
        self.connected: set[tuple[str, str]] = set()
        self.last_run = self.world.now
        self.rotated_since_run = 0

    # -- viewers -------------------------------------------------------------------------------------

    @rule(login=logins, name=names, as_streamer=st.none() | st.sampled_from((*LOGINS, "mod")))
    def watch(self, login: str, name: str, as_streamer: str | None) -> None:
        """A viewer opens the page; whoever signs in as a streamer has granted everything a moment before."""
        if as_streamer is not None:
            self.world.sign_in_as_streamer(as_streamer)
        with contextlib.suppress(HelixError, Crash, CredentialsRefusedError):
            self.world.watch(login, as_streamer=as_streamer)
            self.world.connect(login, name)
            self.connected.add((login, name))
        self.world.fuse.calls = None

    @rule(login=logins, name=names, noticed=st.booleans())
    def leave(self, login: str, name: str, noticed: bool) -> None:
        """A viewer leaves, and ``$disconnect`` arrives or not."""
        self.connected.discard((login, name))
        if noticed:
            self.world.disconnect(login, name)

    # -- streamers and Twitch ------------------------------------------------------------------------

    @rule(login=st.sampled_from((*LOGINS, "mod")))
    def take_grant_back(self, login: str) -> None:
        user = self.world.twitch.state.users.by_login(login)
        assert user is not None
        self.world.twitch.disconnect(user)

    @rule(login=logins, moderates=st.booleans())
    def change_moderators(self, login: str, moderates: bool) -> None:
        users = self.world.twitch.state.users
        channel, moderator = users.by_login(login), users.by_login("mod")
        assert channel is not None
        assert moderator is not None
        self.world.twitch.set_moderators(channel, [moderator] if moderates else [])

    @rule(
        number=st.integers(0, 60),
        reason=st.sampled_from(REVOKED),
    )
    def revoke(self, number: int, reason: str) -> None:
        subscriptions = list(self.world.twitch.state.subscriptions.values())
        self.world.twitch.revoke(subscriptions[number : number + 1], reason)

    @rule(number=st.integers(0, 60))
    def lose(self, number: int) -> None:
        """Twitch forgets a subscription without a word."""
        subscriptions = list(self.world.twitch.state.subscriptions)
        for subscription_id in subscriptions[number : number + 1]:
            self.world.twitch.state.delete(subscription_id)

    @rule()
    def deliver(self) -> None:
        self.world.deliver()

    @rule()
    def lose_messages(self) -> None:
        """What Twitch has to tell gets no answer."""
        for message in self.world.twitch.take_messages():
            self.world.twitch.answered(message, None)

    @rule(early=st.booleans())
    def hurry_challenges(self, early: bool) -> None:
        self.world.early_challenges = early

    @rule(
        path=st.sampled_from(("/helix/users", "/helix/eventsub", "/oauth2")),
        method=st.sampled_from((None, "GET", "POST", "DELETE")),
        trouble=st.sampled_from((429, 500, 503, "request", "answer", "late")),
        count=st.integers(1, 12),
    )
    def make_trouble(self, path: str, method: str | None, trouble: int | str, count: int) -> None:
        fault = Fault(path, method=method, remaining=count)
        if isinstance(trouble, int):
            fault.status = trouble
        elif trouble == "late":
            fault.latency_ms = 60_000
        else:
            fault.lost = "request" if trouble == "request" else "answer"
        self.world.twitch.state.faults.append(fault)

    # -- functions and operators -----------------------------------------------------------------------

    @rule(calls=st.integers(0, 40))
    def light_the_fuse(self, calls: int) -> None:
        """The next function ends after so many calls."""
        self.world.fuse.calls = calls

    @precondition(lambda self: self.rotated_since_run == 0)
    @rule()
    def rotate_the_secret(self) -> None:
        self.world.rotate_secret()
        self.rotated_since_run = 1

    @rule(login=logins, topic=st.sampled_from(SUBSCRIPTION_TYPES[:6]))
    def leave_something_behind(self, login: str, topic: SubscriptionType) -> None:
        """Somebody subscribes with our callback, and we know nothing of it."""
        with contextlib.suppress(HelixError, Crash, CredentialsRefusedError):
            self.world.helix.create_subscription(
                topic.event_type,
                topic.version,
                topic.condition(self.world.streamer_id(login)),
                self.world.webhook_url,
                self.world.secret.current,
            )
        self.world.fuse.calls = None

    # -- time ------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((1, 30, 200, 400, 1000)))
    def wait(self, seconds: int) -> None:
        """Time passes; the reconciler runs when it is due."""
        end = self.world.now + seconds
        while self.world.now < end:
            self.world.now = min(end, max(self.world.now, self.last_run + PERIOD))
            self.renew()
            if self.world.now >= self.last_run + PERIOD:
                self.run()

    @rule()
    def run(self) -> None:
        """The reconciler runs, perhaps a second time, perhaps not to its end."""
        self.last_run = self.world.now
        healthy = not self.world.twitch.state.faults and self.world.fuse.calls is None
        before = self.live_and_watched()
        report = None
        with contextlib.suppress(HelixError, Crash, CredentialsRefusedError):
            report = self.world.reconcile()
        self.world.fuse.calls = None
        missing = before - self.live_and_watched()
        assert not missing, f"unsubscribed while watched: {missing}"
        if healthy and report is not None and report.complete and not report.failed:
            self.rotated_since_run = 0
            self.check_nothing_is_missing()

    def renew(self) -> None:
        for login, name in self.connected:
            self.world.connect(login, name)

    # -- what must hold --------------------------------------------------------------------------------

    def live_and_watched(self) -> set[tuple[str, str]]:
        """The topics of watched channels that Twitch delivers, or is about to, and may go on to."""
        watched = {self.world.streamer_id(login): login for login, _ in self.connected}
        found = set()
        for one in self.world.listed():
            match = attribution(one)
            if match is not None and match.streamer_id in watched and is_live(one):
                found.add((watched[match.streamer_id], match.topic.key))
        return found

    def wanted(self, login: str) -> set[str]:
        """The keys of the topics that a channel should have."""
        streamer_id = self.world.streamer_id(login)
        grants = self.world.grants.of(streamer_id)
        return {
            topic.key
            for topic in SUBSCRIPTION_TYPES
            if topic.consent == "none" or consents(topic, streamer_id, grants)
        }

    def check_nothing_is_missing(self) -> None:
        for login in {login for login, _ in self.connected}:
            live = {key for channel, key in self.live_and_watched() if channel == login}
            assert live >= self.wanted(login), f"{login} lacks {self.wanted(login) - live}"

    def teardown(self) -> None:
        """Once the trouble stops, two runs are enough."""
        world = self.world
        world.twitch.state.faults.clear()
        world.fuse.calls = None
        world.deliver()
        for _ in range(2):
            world.now += PERIOD
            self.renew()
            world.deliver()
            assert world.reconcile().complete
            world.deliver()
        self.check_nothing_is_missing()
        known = dict(world.channels.scan())
        for login in LOGINS:
            record = known.pop(world.streamer_id(login), None)
            delivered = world.delivered(login)
            if record is None:
                assert delivered == {}, f"nobody watches {login}"
                assert not any(channel == login for channel, _ in self.connected)
                continue
            assert delivered == {key: ["enabled"] for key in self.wanted(login)}
            live = {state.subscription_id for state in record.topics.values() if state.live}
            listed = {one.id for one in world.listed() if world.streamer_id(login) in one.condition.values()}
            assert live == listed
        assert known == {}
        self.check_a_steady_state_costs_the_listing_alone()
        self.check_everything_goes_when_everybody_has_left()

    def check_a_steady_state_costs_the_listing_alone(self) -> None:
        before = len(self.world.pool.requests)
        self.world.reconcile()
        calls = self.world.calls(before)
        assert calls == [("GET", "/helix/eventsub/subscriptions")] * max(1, len(calls))
        assert len(calls) <= 1 + len(self.world.listed()) // 100

    def check_everything_goes_when_everybody_has_left(self) -> None:
        self.world.now += 3600 + GRACE
        self.world.reconcile()
        assert self.world.listed() == []


def test_subscriptions_keep_themselves_right(tables: "DynamoDBClient") -> None:
    machine = type("Machine", (Subscriptions,), {"dynamodb": tables})
    run_state_machine_as_test(
        machine,
        settings=settings(
            # The same few in every run; others each time when more are asked for.
            max_examples=int(os.environ.get("FANFARE_PROPERTY_EXAMPLES", "12")),
            derandomize="FANFARE_PROPERTY_EXAMPLES" not in os.environ,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
