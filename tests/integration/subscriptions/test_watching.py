"""Watching a channel: which subscriptions a watch creates, and what it leaves when it cannot."""

import contextlib
import dataclasses
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lambdas.subscriptions.helix import TwitchUnavailableError
from lambdas.subscriptions.logins import CLAIM_SECONDS, NOBODY_SECONDS, RESOLVED_SECONDS, NoSuchChannelError
from lambdas.subscriptions.model import Subscription
from lambdas.subscriptions.plan import CHALLENGE_SECONDS, TRANSIENT_RETRY_SECONDS, TRUSTED_SECONDS
from lambdas.subscriptions.reconciler import FRESH_SECONDS
from lambdas.subscriptions.requests import LOST_SECONDS, Request
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES, SubscriptionState, summarize
from local.twitch.state import Fault
from tests.integration.subscriptions.servers import FREE
from tests.integration.subscriptions.tables import InProcessClient
from tests.integration.subscriptions.world import GRACE, Crash, Watched, World

ALL = {row.key for row in SUBSCRIPTION_TYPES}
FREE_KEYS = {row.key for row in FREE}


def statuses(result: Watched) -> dict[str, str]:
    return {key: state.status for key, state in result.states.items() if key in FREE_KEYS}


def watched(world: World) -> World:
    """Ninja is watched, and Twitch delivers."""
    world.watch("ninja")
    world.deliver()
    return world


def test_the_first_watch_subscribes_every_type_that_needs_no_consent(world: World) -> None:
    result = world.watch("ninja")
    assert result.created == len(FREE)
    assert statuses(result) == dict.fromkeys(FREE_KEYS, "pending")
    assert world.delivered("ninja").keys() == FREE_KEYS
    assert {state.subscription_id for state in world.known("ninja").values()} == {
        one.id for one in world.listed()
    }
    assert {one.callback for one in world.listed()} == {world.webhook_url}


def test_the_other_types_wait_for_consent_without_asking_twitch(world: World) -> None:
    result = world.watch("ninja")
    assert result.states.keys() == ALL
    assert {result.states[key] for key in ALL - FREE_KEYS} == {
        SubscriptionState("absent", None, "consent_required")
    }
    assert len(world.calls()) == 1 + len(FREE)


@pytest.mark.parametrize("early", [True, False])
def test_the_table_learns_at_once_that_twitch_delivers(world: World, early: bool) -> None:
    """A challenge may be answered before the call that creates the subscription has returned."""
    world.early_challenges = early
    watched(world)
    assert {state.status for state in world.known("ninja").values()} == {"enabled"}
    assert {status for status, _ in world.shown("ninja").values()} == {"enabled", "absent"}


def test_after_early_challenges_a_viewer_is_not_told_that_anything_is_pending(world: World) -> None:
    """Their frames were sent before the viewer's WebSocket opened."""
    world.early_challenges = True
    result = world.watch("ninja")
    assert statuses(result) == dict.fromkeys(FREE_KEYS, "enabled")
    assert result.revision == world.revision("ninja")


def test_the_states_have_a_higher_revision_after_each_change(world: World) -> None:
    first = world.watch("ninja").revision
    world.deliver()
    assert world.revision("ninja") == first + len(FREE)
    assert world.watch("ninja").revision == first + len(FREE)


def test_a_channel_that_is_made_anew_goes_on_with_higher_revisions(world: World) -> None:
    watched(world)
    before = world.revision("ninja")
    world.now += GRACE + 1
    world.reconcile()
    assert world.watch("ninja").revision > before


def test_subscriptions_are_created_side_by_side(world: World) -> None:
    """The essential ones come first; all others are under way together."""
    together = threading.Barrier(len(FREE) - 2, timeout=60)
    create = world.helix.create_subscription

    class Helix:
        def __getattr__(self, name: str) -> object:
            return getattr(world.helix, name)

        def create_subscription(self, event_type: str, *rest: Any, **options: Any) -> object:
            if not event_type.startswith("stream."):
                together.wait()
            return create(event_type, *rest, **options)

    with ThreadPoolExecutor(len(SUBSCRIPTION_TYPES)) as world.executor:
        world.redeploy()
        world.subscriber = dataclasses.replace(world.subscriber, helix=Helix())  # type: ignore[arg-type]
        assert world.watch("ninja").created == len(FREE)


def test_a_viewer_who_returns_within_the_grace_period_costs_no_call(world: World) -> None:
    watched(world)
    before = len(world.pool.requests)
    world.now += GRACE
    result = world.watch("ninja")
    assert statuses(result) == dict.fromkeys(FREE_KEYS, "enabled")
    assert world.pool.requests[before:] == []


def test_a_watch_asks_what_became_of_the_challenges(world: World) -> None:
    world.watch("ninja")
    for message in world.twitch.take_messages():
        world.twitch.answered(message, 200, message.challenge or "", "text/plain")
    world.now += CHALLENGE_SECONDS
    assert statuses(world.watch("ninja")) == dict.fromkeys(FREE_KEYS, "pending")
    world.now += 1
    assert statuses(world.watch("ninja")) == dict.fromkeys(FREE_KEYS, "enabled")


def test_the_table_is_not_believed_for_ever(world: World) -> None:
    watched(world)
    world.watch("ninja")
    for one in world.listed():
        world.twitch.state.delete(one.id)
    world.now += TRUSTED_SECONDS
    assert world.watch("ninja").created == 0
    world.now += 1
    assert world.watch("ninja").created == len(FREE)


def test_if_twitch_cannot_be_asked_the_table_is_believed(world: World) -> None:
    watched(world)
    world.now += TRUSTED_SECONDS + 1
    world.twitch.state.faults.append(Fault("/helix", status=503))
    assert statuses(world.watch("ninja")) == dict.fromkeys(FREE_KEYS, "enabled")


class TestLogins:
    def test_a_login_is_looked_up_once_a_day(self, world: World) -> None:
        watched(world)
        world.now += RESOLVED_SECONDS - 1
        before = len(world.pool.requests)
        world.logins.resolve("ninja", int(world.now))
        assert world.pool.requests[before:] == []
        world.now += 1
        world.logins.resolve("ninja", int(world.now))
        assert world.pool.requests[before:] == [("GET", "/helix/users")]

    def test_a_channel_that_renames_itself_stays_the_same_channel(self, world: World) -> None:
        watched(world)
        user = world.twitch.state.users.by_login("ninja")
        assert user is not None
        world.twitch.rename(user, "ninja_2")
        result = world.watch("ninja_2")
        world.now += CLAIM_SECONDS
        assert (result.created, statuses(result)) == (0, dict.fromkeys(FREE_KEYS, "enabled"))
        with pytest.raises(NoSuchChannelError):
            world.logins.resolve("ninja", int(world.now))

    def test_a_channel_that_is_known_can_be_watched_while_twitch_is_away(self, world: World) -> None:
        watched(world)
        world.now += RESOLVED_SECONDS
        world.twitch.state.faults.append(Fault("/helix/users", status=503))
        assert world.logins.resolve("ninja", int(world.now)).channel.login == "ninja"
        with pytest.raises(TwitchUnavailableError):
            world.logins.resolve("shroud", int(world.now))


class TestRefusals:
    def test_a_revoked_subscription_is_created_again(self, world: World) -> None:
        watched(world)
        (subscription,) = [
            entry
            for entry in world.twitch.state.subscriptions.values()
            if entry.subscription_type.name == "user.update"
        ]
        world.twitch.revoke([subscription], "notification_failures_exceeded")
        world.deliver()
        revoked = SubscriptionState("revoked", None, "notification_failures_exceeded")
        assert world.known("ninja")["user.update"] == revoked
        assert world.shown("ninja")["user.update"] == ("revoked", "notification_failures_exceeded")
        result = world.watch("ninja")
        assert (result.created, result.states["user.update"].status) == (1, "pending")

    def test_a_callback_that_did_not_prove_itself_is_tried_again(self, world: World) -> None:
        world.watch("ninja")
        for message in world.twitch.take_messages():
            world.twitch.answered(message, 500)
        world.now += CHALLENGE_SECONDS + 1
        assert world.watch("ninja").created == len(FREE)
        world.deliver()
        assert {state.status for state in world.known("ninja").values()} == {"enabled"}

    def test_what_twitch_refuses_for_good_is_not_tried_by_every_watch(self, world: World) -> None:
        world.twitch.state.faults.append(Fault("/helix/eventsub", method="POST", status=400, remaining=1))
        result = world.watch("ninja")
        (failed,) = [state for state in result.states.values() if state.status == "failed"]
        assert (failed.reason, failed.attempts) == ("invalid", 1)
        assert world.watch("ninja").created == 0
        world.now = failed.retry_at
        assert world.watch("ninja").created == 1

    def test_three_strangers_with_the_same_subscription_leave_no_room(self, world: World) -> None:
        row, streamer_id = FREE[0], world.streamer_id("ninja")
        for number in range(3):
            callback = f"https://stranger-{number}.example/"
            condition = row.condition(streamer_id)
            world.helix.create_subscription(
                row.event_type, row.version, condition, callback, "a-secret-of-theirs"
            )
        state = world.watch("ninja").states[row.key]
        assert (state.status, state.reason) == ("failed", "limit_exceeded")

    def test_subscriptions_that_exist_already_are_adopted(self, world: World) -> None:
        """As after a watch that Twitch answered but that could not write it down."""
        watched(world)
        ids = {one.id for one in world.listed()}
        assert world.channels.delete_unwatched(
            world.streamer_id("ninja"), not_watched_since=int(world.now) + 1
        )
        world.now += CLAIM_SECONDS
        result = world.watch("ninja")
        assert result.created == 0
        assert {state.subscription_id for state in result.states.values() if state.live} == ids
        assert {state.subscription_id for state in world.known("ninja").values()} == ids

    @pytest.mark.parametrize("calls", range(0, 26, 3))
    def test_what_a_crash_leaves_is_taken_up(self, world: World, calls: int) -> None:
        world.crash_point.calls = calls
        with contextlib.suppress(Crash):
            world.watch("ninja")
        world.crash_point.calls = None
        world.wait(LOST_SECONDS)
        result = world.watch("ninja")
        assert all(result.states[key].live for key in FREE_KEYS)
        assert {key: len(found) for key, found in world.delivered("ninja").items()} == dict.fromkeys(
            FREE_KEYS, 1
        )

    def test_what_fails_for_a_moment_is_tried_again_by_itself_and_shown(self, world: World) -> None:
        world.twitch.state.faults.append(Fault("/helix/eventsub", status=503, remaining=2))
        result = world.watch("ninja")
        world.deliver()
        failed = [state for state in result.states.values() if state.status == "failed"]
        assert result.created == len(FREE) - 2
        assert [(state.reason, state.attempts) for state in failed] == [("twitch_unavailable", 1)] * 2
        assert {state.retry_at - world.now for state in failed} == {TRANSIENT_RETRY_SECONDS[0]}
        assert world.watch("ninja").created == 0, "not by every watch"
        world.wait(TRANSIENT_RETRY_SECONDS[0])
        assert set(world.shown("ninja").values()) == {("enabled", None), ("absent", "consent_required")}

    @pytest.mark.parametrize("status", [429, 503])
    def test_a_twitch_that_is_unavailable_is_asked_less_and_less(self, world: World, status: int) -> None:
        world.watch("ninja")
        for one in world.listed():
            world.twitch.state.delete(one.id)
        world.twitch.state.faults.append(Fault("/helix/eventsub", method="POST", status=status))
        world.now += TRUSTED_SECONDS + 1
        asked = []
        for _ in range(6):
            before = len(world.pool.requests)
            for _ in range(12):
                world.ask_to_watch("ninja")
                world.wait(50)
            asked.append(world.calls(before).count(("POST", "/helix/eventsub/subscriptions")))
        assert asked[0] <= 5 * len(FREE)
        assert asked[-1] <= len(FREE)
        world.twitch.state.faults.clear()
        world.wait(TRANSIENT_RETRY_SECONDS[1])
        world.watch("ninja")
        assert len(world.delivered("ninja")) == len(FREE)

    def test_a_viewer_does_not_wait_for_subscriptions(self, world: World) -> None:
        """Whatever Twitch answers: what is not known then is pending."""
        world.logins.resolve("ninja", int(world.now))
        world.twitch.state.faults.append(Fault("/helix/eventsub", latency_ms=60_000))
        before = len(world.pool.requests)
        states = world.ask_to_watch("ninja")
        assert world.pool.requests[before:] == []
        shown = {topic["event_type"]: topic["status"] for topic in summarize(states)}
        assert {shown[row.event_type] for row in FREE} == {"pending"}
        world.work()
        assert {("failed", "twitch_unavailable")} < set(world.shown("ninja").values())


class TestMany:
    """Load: what Twitch is asked for many viewers and channels."""

    def test_many_watches_of_one_channel_ask_twitch_once(self, world: World) -> None:
        watched(world)
        before = len(world.pool.requests)
        world.twitch.state.faults.append(Fault("/helix/eventsub", method="POST", status=503))
        for one in world.listed():
            world.twitch.state.delete(one.id)
        world.now += TRUSTED_SECONDS + 1
        for _ in range(30):
            world.ask_to_watch("ninja")
        # Else they would be handled at the same time.
        assert world.queues.waiting() == 1
        world.work()
        assert len(world.calls(before)) == 1 + len(FREE)

    def test_a_watch_of_a_channel_that_is_well_writes_at_most_once_a_minute(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watched(world)
        written = []
        call = InProcessClient.call

        def counted(self: InProcessClient, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            if action not in ("GetItem", "Query"):
                written.append(action)
            return call(self, action, parameters)

        monkeypatch.setattr(InProcessClient, "call", counted)
        for _ in range(40):
            world.now += 3
            world.ask_to_watch("ninja")
        assert len(written) == 2

    def test_new_channels_come_before_retries_and_no_minute_has_more_points_than_it_may(
        self, world: World
    ) -> None:
        world.points_are_counted = True
        post = Fault("/helix/eventsub", method="POST", status=503)
        world.twitch.state.faults.append(post)
        for number in range(10):
            world.ask_to_watch(f"failing_{number}")
            world.wait(1)
        times: list[float] = []
        world.after_each_call = lambda: times.append(world.now)
        world.twitch.state.faults.clear()
        world.now += 20
        for number in range(15):
            world.ask_to_watch(f"new_{number}")
            world.wait(0.3)
        assert all("stream.online" in world.delivered(f"new_{number}") for number in range(15))
        world.wait(120)
        assert all(len(world.delivered(f"new_{number}")) == len(FREE) for number in range(15))
        assert all(len(world.delivered(f"failing_{number}")) == len(FREE) for number in range(10))
        most = max(sum(begin <= time < begin + 60 for time in times) for begin in times)
        assert most <= 800


class TestConsent:
    def test_the_streamers_sign_in_allows_every_type(self, world: World) -> None:
        watched(world)
        world.sign_in_as_streamer("ninja")
        result = world.watch("ninja", as_streamer="ninja")
        assert result.created == len(SUBSCRIPTION_TYPES) - len(FREE)
        world.deliver()
        assert set(world.shown("ninja").values()) == {("enabled", None)}
        assert world.delivered("ninja") == {key: ["enabled"] for key in ALL}

    def test_a_moderators_sign_in_allows_follows(self, world: World) -> None:
        users = world.twitch.state.users
        ninja, mod = users.by_login("ninja"), users.by_login("mod")
        assert ninja is not None
        assert mod is not None
        world.twitch.set_moderators(ninja, [mod])
        world.sign_in_as_streamer("mod")
        world.watch("ninja", as_streamer="mod")
        assert world.delivered("ninja").keys() == FREE_KEYS | {"channel.follow"}
        (follow_,) = [one for one in world.listed() if one.type == "channel.follow"]
        assert follow_.condition["moderator_user_id"] == mod.id

    def test_a_viewer_who_moderates_nothing_is_refused_once_a_day_and_not_kept(self, world: World) -> None:
        watched(world)
        world.sign_in_as_streamer("mod")
        before = len(world.pool.requests)
        state = world.watch("ninja", as_streamer="mod").states["channel.follow"]
        assert (state.status, state.reason) == ("absent", "consent_required")
        assert len(world.pool.requests) == before + 1
        world.watch("ninja", as_streamer="mod")
        world.watch("ninja")
        assert len(world.pool.requests) == before + 1
        assert world.grants.for_channel(world.streamer_id("ninja")) == []

    def test_many_visitors_who_moderate_nothing_leave_nothing(self, world: World) -> None:
        users = world.twitch.state.users
        ninja, mod = users.by_login("ninja"), users.by_login("mod")
        assert ninja is not None
        assert mod is not None
        world.twitch.set_moderators(ninja, [mod])
        for visitor in (*(f"visitor_{number}" for number in range(30)), "mod"):
            world.sign_in_as_streamer(visitor)
            world.watch("ninja", as_streamer=visitor)
        world.deliver()
        assert [grant.grantor_id for grant in world.grants.for_channel(ninja.id)] == [mod.id]
        world.twitch.set_moderators(ninja, [])
        world.deliver()
        before = len(world.pool.requests)
        world.watch("ninja")
        assert world.pool.requests[before:] == []
        assert world.grants.for_channel(ninja.id) == []

    def test_visitors_grants_do_not_multiply_the_requests_for_what_fails(self, world: World) -> None:
        world.pool.failing_type = "user.update"
        world.watch("ninja")
        for number in range(30):
            world.sign_in_as_streamer(f"visitor_{number}")
            world.watch("ninja", as_streamer=f"visitor_{number}")
        assert world.queues.waiting() == 1
        world.pool.failing_type = None
        world.wait(TRANSIENT_RETRY_SECONDS[0])
        assert world.delivered("ninja").keys() == FREE_KEYS
        assert world.queues.waiting() == 0

    def test_a_moderators_grant_is_tried_again_when_twitch_fails(self, world: World) -> None:
        users = world.twitch.state.users
        ninja, mod = users.by_login("ninja"), users.by_login("mod")
        assert ninja is not None
        assert mod is not None
        watched(world)
        world.twitch.set_moderators(ninja, [mod])
        world.sign_in_as_streamer("mod")
        world.pool.failing_type = "channel.follow"
        world.watch("ninja", as_streamer="mod")
        world.pool.failing_type = None
        world.wait(TRANSIENT_RETRY_SECONDS[0])
        assert world.delivered("ninja").keys() == FREE_KEYS | {"channel.follow"}

    def test_a_grant_outlives_the_channels_subscriptions(self, world: World) -> None:
        world.sign_in_as_streamer("ninja")
        world.watch("ninja", as_streamer="ninja")
        world.deliver()
        world.now += GRACE + 1
        world.reconcile()
        assert world.listed() == []
        assert world.watch("ninja").created == len(SUBSCRIPTION_TYPES)

    def test_a_grant_that_was_taken_back_is_forgotten_and_shown(self, world: World) -> None:
        world.sign_in_as_streamer("ninja")
        world.watch("ninja", as_streamer="ninja")
        world.deliver()
        user = world.twitch.state.users.by_login("ninja")
        assert user is not None
        world.now += 1
        world.twitch.disconnect(user)
        world.deliver()
        assert world.shown("ninja")["channel.cheer"] == ("revoked", "authorization_revoked")
        before = len(world.pool.requests)
        assert world.watch("ninja").states["channel.cheer"].reason == "authorization_revoked"
        assert world.pool.requests[before:] == []

    def test_a_late_notice_of_an_earlier_revocation_does_not_undo_a_new_grant(self, world: World) -> None:
        world.sign_in_as_streamer("ninja")
        world.watch("ninja", as_streamer="ninja")
        world.deliver()
        user = world.twitch.state.users.by_login("ninja")
        assert user is not None
        world.now += 1
        world.twitch.disconnect(user)
        world.now += 60
        world.sign_in_as_streamer("ninja")
        world.watch("ninja", as_streamer="ninja")
        world.deliver()
        world.now += FRESH_SECONDS + 1
        world.reconcile()
        world.deliver()
        assert world.delivered("ninja") == {key: ["enabled"] for key in ALL}


class TestBudget:
    @pytest.fixture
    def short(self, world: World) -> World:
        """Twitch has room for one channel and a half."""
        world.twitch.state.max_total_cost = 9
        return watched(world)

    def test_types_beyond_the_budget_are_limited_and_the_important_ones_work(self, short: World) -> None:
        states = short.watch("shroud").states
        limited = {key for key in FREE_KEYS if states[key] == SubscriptionState("absent", None, "limited")}
        assert len(limited) == 3
        assert not limited & {"stream.online", "stream.offline"}
        assert short.watch("shroud").created == 0

    def test_without_room_a_channel_is_limited_and_its_viewers_are_told(self, short: World) -> None:
        short.twitch.state.max_total_cost = 7
        before = len(short.pool.requests)
        short.watch("shroud")
        short.deliver()
        assert len(short.delivered("shroud")) == 1
        assert short.calls(before).count(("POST", "/helix/eventsub/subscriptions")) == 2
        assert short.shown("shroud")["channel.update"] == ("absent", "limited")
        before = len(short.pool.requests)
        short.watch("shroud")
        assert short.pool.requests[before:] == []

    def test_a_streamer_who_signed_in_costs_nothing(self, short: World) -> None:
        short.twitch.state.max_total_cost = 6
        short.sign_in_as_streamer("shroud")
        assert short.watch("shroud", as_streamer="shroud").created == len(SUBSCRIPTION_TYPES)


def test_two_requests_at_once_subscribe_every_type_once(world: World) -> None:
    """As when a request is received twice."""
    together = threading.Barrier(2, timeout=60)
    world.logins.resolve("ninja", int(world.now))
    request = Request(world.streamer_id("ninja"))

    def handle(_number: int) -> list[Subscription]:
        together.wait()
        return world.subscriber.handle(request)

    with ThreadPoolExecutor(2) as executor:
        one, other = executor.map(handle, range(2))
    ids = {entry.id for entry in world.listed()}
    assert len(ids) == len(FREE) == len(one) + len(other)
    assert {state.subscription_id for state in world.known("ninja").values()} == ids


class TestLookups:
    """One of all who want to know asks Twitch which channel a login is."""

    def test_of_many_viewers_of_a_new_channel_one_asks(self, world: World) -> None:
        together = threading.Barrier(8, timeout=60)

        def resolve(_number: int) -> str:
            together.wait()
            return world.logins.resolve("ninja", int(world.now)).channel.login

        with ThreadPoolExecutor(8) as executor:
            assert list(executor.map(resolve, range(8))) == ["ninja"] * 8
        assert world.calls() == [("GET", "/helix/users")]

    def test_whoever_waits_for_an_answer_that_does_not_come_is_told_within_two_seconds(
        self, world: World
    ) -> None:
        world.twitch.state.faults.append(Fault("/helix/users", status=503))
        for _ in range(2):
            began = world.now
            with pytest.raises(TwitchUnavailableError):
                world.logins.resolve("ninja", int(world.now))
            assert world.now - began <= 2
        assert world.calls() == [("GET", "/helix/users")]

    def test_an_account_that_is_gone_is_not_asked_for_again_within_a_minute(self, world: World) -> None:
        """Its overlays may ask for ever."""
        user = world.twitch.state.users.by_login("ninja")
        assert user is not None
        world.twitch.delete_user(user)
        for _ in range(5):
            with pytest.raises(NoSuchChannelError):
                world.logins.resolve_id(user.id, int(world.now))
        assert world.calls() == [("GET", "/helix/users")]

    def test_a_name_that_nobody_has_is_not_asked_for_again_within_a_minute(self, world: World) -> None:
        for _ in range(5):
            with pytest.raises(NoSuchChannelError):
                world.logins.resolve("nosuch_channel", int(world.now))
        assert world.calls() == [("GET", "/helix/users")]
        world.now += NOBODY_SECONDS
        with pytest.raises(NoSuchChannelError):
            world.logins.resolve("nosuch_channel", int(world.now))
        assert len(world.calls()) == 2
