"""Watching a channel: which subscriptions a watch creates, and what it leaves when it cannot."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lambdas.subscriptions.helix import (
    BudgetExceededError,
    NoSuchChannelError,
    RateLimitedError,
    TwitchUnavailableError,
)
from lambdas.subscriptions.plan import CHALLENGE_SECONDS, TRUSTED_SECONDS
from lambdas.subscriptions.subscriber import Subscriber
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES, SubscriptionState
from lambdas.subscriptions.watching import RESOLVED_SECONDS, WatchResult, resolve_login, watch_channel
from local.twitch.state import Fault
from tests.integration.subscriptions.servers import FREE
from tests.integration.subscriptions.world import GRACE, Crash, World

ALL = {row.key for row in SUBSCRIPTION_TYPES}
FREE_KEYS = {row.key for row in FREE}


def statuses(result: WatchResult) -> dict[str, str]:
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

        def create_subscription(self, event_type: str, *rest: object) -> object:
            if not event_type.startswith("stream."):
                together.wait()
            return create(event_type, *rest)  # type: ignore[arg-type]

    with ThreadPoolExecutor(len(SUBSCRIPTION_TYPES)) as executor:
        subscriber = Subscriber(
            Helix(),  # type: ignore[arg-type]
            world.statuses,
            world.grants,
            world.webhook_url,
            lambda: world.secret,
            executor,
        )
        resolution = resolve_login(world.helix, world.channels, "ninja", int(world.now))
        assert watch_channel(subscriber, resolution, None, int(world.now)).created == len(FREE)


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
        resolve_login(world.helix, world.channels, "ninja", int(world.now))
        assert world.pool.requests[before:] == []
        world.now += 1
        resolve_login(world.helix, world.channels, "ninja", int(world.now))
        assert world.pool.requests[before:] == [("GET", "/helix/users")]

    def test_a_channel_that_renames_itself_stays_the_same_channel(self, world: World) -> None:
        watched(world)
        user = world.twitch.state.users.by_login("ninja")
        assert user is not None
        world.twitch.rename(user, "ninja_2")
        result = world.watch("ninja_2")
        assert (result.created, statuses(result)) == (0, dict.fromkeys(FREE_KEYS, "enabled"))
        with pytest.raises(NoSuchChannelError):
            resolve_login(world.helix, world.channels, "ninja", int(world.now))

    def test_a_channel_that_is_known_can_be_watched_while_twitch_is_away(self, world: World) -> None:
        watched(world)
        world.now += RESOLVED_SECONDS
        world.twitch.state.faults.append(Fault("/helix/users", status=503))
        assert resolve_login(world.helix, world.channels, "ninja", int(world.now)).channel.login == "ninja"
        with pytest.raises(TwitchUnavailableError):
            resolve_login(world.helix, world.channels, "shroud", int(world.now))


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
        result = world.watch("ninja")
        assert result.created == 0
        assert {state.subscription_id for state in result.states.values() if state.live} == ids
        assert {state.subscription_id for state in world.known("ninja").values()} == ids

    @pytest.mark.parametrize("calls", range(0, 18, 4))
    def test_what_a_crash_leaves_is_taken_up(self, world: World, calls: int) -> None:
        world.crash_point.calls = calls
        with pytest.raises(Crash):
            world.watch("ninja")
        world.crash_point.calls = None
        result = world.watch("ninja")
        assert all(result.states[key].live for key in FREE_KEYS)
        assert {key: len(found) for key, found in world.delivered("ninja").items()} == dict.fromkeys(
            FREE_KEYS, 1
        )

    def test_subscriptions_that_fail_for_a_moment_are_tried_again_by_the_next_watch(
        self, world: World
    ) -> None:
        world.twitch.state.faults.append(Fault("/helix/eventsub", status=503, remaining=2))
        result = world.watch("ninja")
        assert result.created == len(FREE) - 2
        assert [state for state in result.states.values() if state.status == "failed"] == [
            SubscriptionState("failed", None, "twitch_unavailable")
        ] * 2
        assert world.watch("ninja").created == 2

    @pytest.mark.parametrize(("status", "error"), [(429, RateLimitedError), (503, TwitchUnavailableError)])
    def test_a_watch_without_a_live_subscription_raises_twitchs_error(
        self, world: World, status: int, error: type[Exception]
    ) -> None:
        world.twitch.state.faults.append(Fault("/helix/eventsub", status=status))
        with pytest.raises(error):
            world.watch("ninja")
        world.twitch.state.faults.clear()
        assert world.watch("ninja").created == len(FREE)


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

    def test_a_viewer_who_moderates_nothing_is_refused_once_a_sign_in(self, world: World) -> None:
        watched(world)
        world.sign_in_as_streamer("mod")
        before = len(world.pool.requests)
        state = world.watch("ninja", as_streamer="mod").states["channel.follow"]
        assert (state.status, state.reason) == ("absent", "consent_required")
        assert len(world.pool.requests) == before + 1
        world.watch("ninja", as_streamer="mod")
        world.watch("ninja")
        assert len(world.pool.requests) == before + 1
        world.now += 60
        world.watch("ninja", as_streamer="mod")
        assert len(world.pool.requests) == before + 2

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

    def test_without_room_for_the_important_ones_nothing_is_left_half_made(self, short: World) -> None:
        short.twitch.state.max_total_cost = 7
        with pytest.raises(BudgetExceededError):
            short.watch("shroud")
        assert short.delivered("shroud") == {}
        assert short.channels.get(short.streamer_id("shroud")) is None
        assert len(short.delivered("ninja")) == len(FREE)

    def test_a_streamer_who_signed_in_costs_nothing(self, short: World) -> None:
        short.twitch.state.max_total_cost = 6
        short.sign_in_as_streamer("shroud")
        assert short.watch("shroud", as_streamer="shroud").created == len(SUBSCRIPTION_TYPES)


def test_two_first_watches_at_once_subscribe_every_type_once(world: World) -> None:
    together = threading.Barrier(2, timeout=60)
    resolution = resolve_login(world.helix, world.channels, "ninja", int(world.now))

    def watch(_viewer: int) -> WatchResult:
        together.wait()
        return watch_channel(world.subscriber, resolution, None, int(world.now))

    with ThreadPoolExecutor(2) as executor:
        one, other = executor.map(watch, range(2))
    ids = {entry.id for entry in world.listed()}
    assert len(ids) == len(FREE) == one.created + other.created
    for states in (one.states, other.states, world.known("ninja")):
        assert {state.subscription_id for state in states.values() if state.live} == ids
