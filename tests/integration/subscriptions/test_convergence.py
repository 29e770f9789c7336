"""Whatever happens, in any order: Twitch's subscriptions become the wanted ones, without a gap.

With FANFARE_PROPERTY_EXAMPLES=1000 it looks for longer.
"""

import contextlib
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lambdas.subscriptions.helix import CredentialsRefusedError, HelixError
from lambdas.subscriptions.plan import usable_grants
from lambdas.subscriptions.points import URGENT
from lambdas.subscriptions.requests import LOST_SECONDS
from lambdas.subscriptions.subscriber import CHALLENGE_WAIT_SECONDS
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES, SubscriptionType
from local.twitch.state import Fault
from tests.integration.subscriptions.tables import empty_tables
from tests.integration.subscriptions.world import GRACE, PERIOD, Crash, World

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LOGINS = ("ninja", "shroud")
HOARDED = ("hoarded_1", "hoarded_2", "hoarded_3", "hoarded_4")
KEEP = timedelta(seconds=GRACE)
REVOKED = ("notification_failures_exceeded", "version_removed")
logins = st.sampled_from(LOGINS)
names = st.sampled_from(("ann", "bob"))


class Subscriptions(RuleBasedStateMachine):
    """Viewers, streamers, Twitch, operators and functions act in random order."""

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
        self.world.crash_point.calls = None

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
        """Twitch loses a subscription and sends no message."""
        subscriptions = list(self.world.twitch.state.subscriptions)
        for subscription_id in subscriptions[number : number + 1]:
            self.world.twitch.state.delete(subscription_id)

    @rule()
    def deliver(self) -> None:
        self.world.deliver()

    @rule()
    def lose_messages(self) -> None:
        """Twitch's messages get no answer."""
        for message in self.world.twitch.take_messages():
            self.world.twitch.answered(message, None)

    @rule(early=st.booleans())
    def answer_challenges_early(self, early: bool) -> None:
        self.world.early_challenges = early

    @rule(
        path=st.sampled_from(("/helix/users", "/helix/eventsub", "/oauth2")),
        method=st.sampled_from((None, "GET", "POST", "DELETE")),
        fault_kind=st.sampled_from((429, 500, 503, "request", "answer", "late")),
        count=st.integers(1, 12),
    )
    def add_fault(self, path: str, method: Any, fault_kind: int | str, count: int) -> None:
        fault = Fault(path, method=method, remaining=count)
        if isinstance(fault_kind, int):
            fault.status = fault_kind
        elif fault_kind == "late":
            fault.latency_ms = 60_000
        else:
            fault.lost = "request" if fault_kind == "request" else "answer"
        self.world.twitch.state.faults.append(fault)

    @rule(event_type=st.none() | st.sampled_from([row.event_type for row in SUBSCRIPTION_TYPES[:6]]))
    def let_one_type_fail(self, event_type: str | None) -> None:
        """Until it is another one, or none."""
        self.world.pool.failing_type = event_type

    @rule(repeats=st.booleans())
    def repeat_cursors(self, repeats: bool) -> None:
        self.world.pool.repeats_cursor = repeats

    @rule(late=st.booleans())
    def hold_notices(self, late: bool) -> None:
        self.world.notices_are_late = late

    @rule(data=st.data())
    def deliver_late_notices(self, data: st.DataObject) -> None:
        """In any order, some of them twice."""
        held, self.world.late_notices = self.world.late_notices, []
        for notice in data.draw(st.permutations([*held, *held[:1]])):
            self.world.notice(notice)

    @rule(counted=st.booleans(), used_up=st.booleans())
    def share_the_rate_limit(self, counted: bool, used_up: bool) -> None:
        """Load: other channels' requests may have used up all points."""
        crash_after, self.world.crash_point.calls = self.world.crash_point.calls, None
        self.world.points_are_counted = counted
        while used_up and self.world.points.take(URGENT):
            pass
        self.world.crash_point.calls = crash_after

    @rule(login=logins, viewers=st.integers(2, 8))
    def come_all_at_once(self, login: str, viewers: int) -> None:
        """Load: many viewers of one channel, before anything is subscribed. Twitch is asked once."""
        with contextlib.suppress(HelixError, Crash, CredentialsRefusedError):
            for _ in range(viewers):
                self.world.ask_to_watch(login)
            self.world.connect(login, "ann")
            self.connected.add((login, "ann"))
        self.world.crash_point.calls = None

    @rule()
    def hoard(self) -> None:
        """One account watches channel after channel, and opens no connection."""
        now = datetime.fromtimestamp(self.world.now, UTC)
        followed = 0
        for login in HOARDED:
            with contextlib.suppress(HelixError, Crash, CredentialsRefusedError):
                if self.world.viewers.follow("hoarder", login, most=2, now=now, keep=KEEP):
                    followed += 1
                    self.world.ask_to_watch(login)
            self.world.crash_point.calls = None
        assert followed <= 2

    # -- functions and operators -----------------------------------------------------------------------

    @rule(calls=st.integers(0, 40))
    def crash_soon(self, calls: int) -> None:
        """The next function ends after so many calls."""
        self.world.crash_point.calls = calls

    @precondition(lambda self: self.rotated_since_run == 0)
    @rule()
    def rotate_the_secret(self) -> None:
        self.world.rotate_secret()
        self.rotated_since_run = 1

    @rule(login=logins, row=st.sampled_from(SUBSCRIPTION_TYPES[:6]))
    def leave_unknown_subscription(self, login: str, row: SubscriptionType) -> None:
        """There is a subscription with our callback that the table does not know."""
        with contextlib.suppress(HelixError, Crash, CredentialsRefusedError):
            self.world.helix.create_subscription(
                row.event_type,
                row.version,
                row.condition(self.world.streamer_id(login)),
                self.world.webhook_url,
                self.world.secret.current,
            )
        self.world.crash_point.calls = None

    # -- time ------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((1, 30, 200, 400, 1000)))
    def wait(self, seconds: int) -> None:
        """Time passes; the reconciler runs when it is due."""
        end = self.world.now + seconds
        while self.world.now < end:
            self.world.wait(min(end, max(self.world.now, self.last_run + PERIOD)) - self.world.now)
            self.renew()
            if self.world.now >= self.last_run + PERIOD:
                self.run()

    @rule()
    def run(self) -> None:
        """The reconciler runs, perhaps a second time, perhaps not to its end."""
        self.last_run = self.world.now
        before, points = self.live_and_watched(), len(self.world.pool.requests)
        report = None
        with contextlib.suppress(HelixError, Crash, CredentialsRefusedError):
            report = self.world.run()
        self.world.crash_point.calls = None
        # However Twitch answers, a run comes to its end.
        assert len(self.world.pool.requests) - points < 500
        self.world.work()
        missing = before - self.live_and_watched()
        assert not missing, f"unsubscribed while watched: {missing}"
        is_current = all(one.callback.endswith(self.world.secret.version) for one in self.world.listed())
        if report is not None and report.complete and is_current:
            self.rotated_since_run = 0

    def renew(self) -> None:
        for login, name in self.connected:
            self.world.connect(login, name)

    # -- what must hold --------------------------------------------------------------------------------

    def live_and_watched(self) -> set[tuple[str, str]]:
        """The live subscriptions of watched channels, as (login, subscription type's key)."""
        watched = {self.world.streamer_id(login): login for login, _ in self.connected}
        found = set()
        for one in self.world.listed():
            match = one.target
            if match is not None and match.streamer_id in watched and one.live:
                found.add((watched[match.streamer_id], match.subscription_type.key))
        return found

    def wanted(self, login: str) -> set[str]:
        """The keys of the subscription types that a channel should have."""
        streamer_id = self.world.streamer_id(login)
        grants = self.world.grants.for_channel(streamer_id)
        return {
            row.key
            for row in SUBSCRIPTION_TYPES
            if row.consent == "none" or usable_grants(row, streamer_id, grants)
        }

    def check_nothing_is_missing(self) -> None:
        for login in {login for login, _ in self.connected}:
            live = {key for channel, key in self.live_and_watched() if channel == login}
            assert live >= self.wanted(login), f"{login} lacks {self.wanted(login) - live}"

    def teardown(self) -> None:
        """Once the faults end and what failed is due, two runs are enough."""
        world = self.world
        world.twitch.state.faults.clear()
        world.pool.failing_type, world.pool.repeats_cursor = None, False
        world.points_are_counted = False
        world.crash_point.calls = None
        world.notices_are_late = False
        world.deliver()
        for notice in world.late_notices:
            world.notice(notice)
        for _ in range(2):
            states = [state for _, record in world.channels.scan() for state in record.states.values()]
            latest = max((state.retry_at for state in states), default=0)
            world.wait(max(PERIOD, LOST_SECONDS, latest - world.now))
            self.renew()
            world.deliver()
            if not world.reconcile().complete:
                # The list was left in the middle.
                assert world.reconcile().complete
            world.deliver()
            world.wait(2 * CHALLENGE_WAIT_SECONDS)
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
            live = {state.subscription_id for state in record.states.values() if state.live}
            listed = {one.id for one in world.listed() if world.streamer_id(login) in one.condition.values()}
            assert live == listed
        hoarded = {self.world.streamer_id(login) for login in HOARDED}
        assert known.keys() <= hoarded
        self.check_a_steady_state_costs_the_listing_alone()
        self.check_everything_is_deleted_when_everybody_has_left()

    def check_a_steady_state_costs_the_listing_alone(self) -> None:
        before = len(self.world.pool.requests)
        self.world.reconcile()
        calls = self.world.calls(before)
        assert calls == [("GET", "/helix/eventsub/subscriptions")] * max(1, len(calls))
        assert len(calls) <= 1 + len(self.world.listed()) // 100

    def check_everything_is_deleted_when_everybody_has_left(self) -> None:
        self.world.now += 3600 + GRACE
        self.world.reconcile()
        assert self.world.listed() == []


def test_subscriptions_converge(tables: "DynamoDBClient") -> None:
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
