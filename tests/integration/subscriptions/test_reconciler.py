"""The reconciler: what stays subscribed, what is created again, what is deleted, and what viewers see."""

import dataclasses
from typing import Any

import pytest

from lambdas.common.event import DISCONNECTED
from lambdas.subscriptions.channels import ChannelRecord, ChannelsTable
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.helix import (
    Helix,
    InvalidRequestError,
    Page,
    RateLimitedError,
    TwitchUnavailableError,
)
from lambdas.subscriptions.model import Grant
from lambdas.subscriptions.notices import Notice
from lambdas.subscriptions.plan import TRUSTED_SECONDS
from lambdas.subscriptions.points import COMMON
from lambdas.subscriptions.reconciler import FRESH_SECONDS, MAX_UNAVAILABLE, Report
from lambdas.subscriptions.reconciler_progress import Progress
from lambdas.subscriptions.requests import LOST_SECONDS
from lambdas.subscriptions.subscriber import CHALLENGE_WAIT_SECONDS
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPE_BY_KEY, SubscriptionState
from local.twitch.state import Fault, Subscription
from local.twitch.subscription_types import SubscriptionType
from tests.integration.subscriptions.servers import FREE
from tests.integration.subscriptions.world import GRACE, LIFETIME, PERIOD, WEBHOOK_URL, Crash, World

FREE_KEYS = {row.key for row in FREE}
DELIVERED = {key: ["enabled"] for key in FREE_KEYS}


def open_page(world: World, login: str = "ninja") -> None:
    """A viewer has opened the page a while ago, and Twitch delivers."""
    world.watch(login)
    world.connect(login, "a-viewer")
    world.deliver()
    world.now += FRESH_SECONDS + 1


def leave(world: World, login: str = "ninja") -> None:
    world.disconnect(login, "a-viewer")
    world.now += GRACE + 1


def held(world: World, event_type: str) -> Subscription:
    """The subscription that Twitch holds for the only watched channel."""
    (found,) = [
        one for one in world.twitch.state.subscriptions.values() if one.subscription_type.name == event_type
    ]
    return found


def retire(world: World) -> None:
    """Ninja has a subscription of a type that is not in the table of subscription types any more."""
    world.twitch.state.subscribe(
        kind=SubscriptionType("channel.guest_star_session.begin", "beta"),
        condition={"broadcaster_user_id": world.streamer_id("ninja")},
        transport={"method": "webhook", "callback": world.webhook_url},
        secret=world.secret.current,
        now=int(world.now * 10**9),
    )


class TestCleaningUp:
    def test_a_channel_that_somebody_watches_stays_subscribed(self, world: World) -> None:
        open_page(world)
        for _ in range(10):
            world.now += PERIOD
            world.connect("ninja", "a-viewer")
            world.reconcile()
        assert world.delivered("ninja") == DELIVERED

    def test_a_channel_stays_for_the_grace_period_after_it_was_last_watched(self, world: World) -> None:
        """And up to a minute longer."""
        world.watch("ninja")
        world.deliver()
        world.now += GRACE
        assert world.reconcile().deleted == 0
        world.now += 1
        assert world.reconcile().deleted == len(FREE)
        assert world.channels.get(world.streamer_id("ninja")) is None

    def test_the_grace_period_begins_when_the_last_viewer_was_seen(self, world: World) -> None:
        open_page(world)
        world.connect("ninja", "a-viewer")
        world.now += LIFETIME - 1
        world.reconcile()
        world.disconnect("ninja", "a-viewer")
        world.now += GRACE
        assert world.reconcile().deleted == 0
        world.now += 1
        assert world.reconcile().deleted == len(FREE)

    def test_a_connection_whose_end_nobody_noticed_does_not_count_for_ever(self, world: World) -> None:
        open_page(world)
        world.now += LIFETIME + GRACE + 1
        assert world.reconcile().deleted == len(FREE)

    def test_a_channel_that_the_table_does_not_know_is_a_leftover(self, world: World) -> None:
        world.watch("ninja")
        assert world.channels.delete_unwatched(
            world.streamer_id("ninja"), not_watched_since=int(world.now) + 1
        )
        assert world.reconcile().deleted == len(FREE)
        assert world.listed() == []

    def test_another_stage_with_the_same_application_is_left_alone(self, world: World) -> None:
        row, streamer_id = FREE[0], world.streamer_id("ninja")
        world.helix.create_subscription(
            row.event_type,
            row.version,
            row.condition(streamer_id),
            "https://another-stage.example/webhooks/twitch",
            "a-secret-of-theirs",
        )
        open_page(world)
        leave(world)
        assert world.reconcile().deleted == len(FREE)
        assert len(world.twitch.state.subscriptions) == 1

    def test_a_subscription_of_a_type_that_was_removed_is_deleted(self, world: World) -> None:
        open_page(world)
        retire(world)
        assert world.reconcile().deleted == 1
        assert world.delivered("ninja") == DELIVERED

    def test_a_watch_that_comes_while_its_subscriptions_are_deleted_gets_new_ones(self, world: World) -> None:
        world.watch("ninja")
        world.deliver()
        world.now += GRACE + 1
        world.after_call = ("DELETE", lambda: world.watch("ninja"))
        world.reconcile()
        world.deliver()
        assert world.delivered("ninja") == DELIVERED
        assert {state.subscription_id for state in world.known("ninja").values()} == {
            one.id for one in world.listed()
        }

    def test_a_deleted_channel_with_a_connection_is_subscribed_again(self, world: World) -> None:
        world.streamer_id("ninja")
        world.connect("ninja", "a-viewer")
        assert world.reconcile().created == len(FREE)
        world.deliver()
        assert world.delivered("ninja") == DELIVERED


class TestCreatingAgain:
    def test_what_twitch_lost_is_subscribed_again_and_shown(self, world: World) -> None:
        open_page(world)
        world.twitch.state.delete(held(world, "channel.update").id)
        assert world.reconcile().created == 1
        world.deliver()
        assert world.delivered("ninja") == DELIVERED
        assert world.shown("ninja")["channel.update"] == ("enabled", None)

    @pytest.mark.parametrize(
        "reason", ["notification_failures_exceeded", "version_removed", "user_removed", "moderator_removed"]
    )
    def test_what_twitch_revoked_is_subscribed_again(self, world: World, reason: str) -> None:
        open_page(world)
        world.twitch.revoke([held(world, "channel.update")], reason)
        world.twitch.take_messages()  # the notice gets lost
        assert (world.reconcile().created, world.delivered("ninja")["channel.update"]) == (
            1,
            ["webhook_callback_verification_pending"],
        )

    def test_a_challenge_that_was_never_answered_is_repeated(self, world: World) -> None:
        world.watch("ninja")
        for message in world.twitch.take_messages():
            world.twitch.answered(message, None)
        world.now += FRESH_SECONDS + 1
        world.reconcile()
        world.deliver()
        assert world.delivered("ninja") == DELIVERED

    def test_a_deleted_account_is_not_asked_for_again_and_again(self, world: World) -> None:
        open_page(world)
        user = world.twitch.state.users.by_login("ninja")
        assert user is not None
        world.twitch.delete_user(user)
        world.deliver()
        asked = []
        for _ in range(12):
            world.now += PERIOD
            world.connect_id(user.id, "a-viewer")
            before = len(world.pool.requests)
            world.reconcile()
            asked.append(("POST", "/helix/eventsub/subscriptions") in world.pool.requests[before:])
        assert asked == [True, True, False, True, False, False, False, True, False, False, False, False]
        world.wait(1)
        assert set(world.delivered_to(user.id)) == set()

    def test_only_one_of_two_of_the_same_type_stays(self, world: World) -> None:
        open_page(world)
        row = SUBSCRIPTION_TYPE_BY_KEY["stream.online"]
        condition = row.condition(world.streamer_id("ninja"))
        again = f"{world.webhook_url}?secret=another"
        world.helix.create_subscription(row.event_type, "1", condition, again, world.secret.current)
        world.deliver()
        before = world.known("ninja")
        world.reconcile()
        assert world.delivered("ninja") == DELIVERED
        assert world.known("ninja") == before

    @pytest.mark.parametrize("twice", [False, True])
    def test_runs_at_the_same_time_do_each_others_work(self, world: World, twice: bool) -> None:
        open_page(world)
        for one in list(world.twitch.state.subscriptions.values())[:3]:
            world.twitch.state.delete(one.id)
        if twice:
            world.after_call = ("POST", world.reconcile)
        world.reconcile()
        world.deliver()
        world.now += FRESH_SECONDS + 1
        world.reconcile()
        assert world.delivered("ninja") == DELIVERED


class TestWithoutAGap:
    def test_a_new_secret_replaces_every_subscription_while_the_old_one_verifies(self, world: World) -> None:
        open_page(world)
        world.rotate_secret()
        before = {one.id for one in world.listed()}
        gaps = []
        world.after_each_call = lambda: gaps.append(
            [key for key in FREE_KEYS if "enabled" not in world.delivered("ninja").get(key, [])]
        )
        world.reconcile()
        world.deliver()
        world.wait(CHALLENGE_WAIT_SECONDS)
        assert (world.created, world.delivered("ninja")) == (2 * len(FREE), DELIVERED)
        assert not any(gaps)
        assert before.isdisjoint(one.id for one in world.listed())
        assert {one.callback for one in world.listed()} == {f"{world.webhook_url}?secret=v2"}
        calls = len(world.pool.requests)
        world.reconcile()
        assert len(world.pool.requests) == calls + 1

    def test_replacements_do_not_wait_for_others_with_the_former_ones_beside_them(self, world: World) -> None:
        """Both deliver until then."""
        open_page(world)
        world.rotate_secret()
        world.points_are_counted = True
        world.reconcile()
        world.deliver()
        while world.points.take(COMMON):
            pass
        world.wait(CHALLENGE_WAIT_SECONDS)
        assert world.delivered("ninja") == DELIVERED

    def test_a_replacement_that_cannot_be_made_leaves_the_old_one(self, world: World) -> None:
        open_page(world)
        world.rotate_secret()
        world.twitch.state.faults.append(Fault("/helix/eventsub", method="POST", status=503))
        world.reconcile()
        assert world.delivered("ninja") == DELIVERED
        assert {state.status for state in world.known("ninja").values()} == {"enabled"}

    def test_a_new_callback_url_replaces_what_the_table_knows(self, world: World) -> None:
        open_page(world)
        world.webhook_url = "https://fanfare.example/elsewhere"
        world.redeploy()
        world.reconcile()
        world.deliver()
        world.wait(CHALLENGE_WAIT_SECONDS)
        assert {one.callback for one in world.twitch.state.subscriptions.values()} == {world.webhook_url}
        assert len(world.twitch.state.subscriptions) == len(FREE)


class TestTrouble:
    def test_one_channel_that_fails_does_not_stop_the_others(self, world: World) -> None:
        for login in ("ninja", "shroud"):
            world.watch(login)
        world.deliver()
        world.now += GRACE + 1
        world.twitch.state.faults.append(Fault("/helix/eventsub", method="DELETE", status=400, remaining=1))
        report = world.reconcile()
        assert (report.failed, report.deleted) == (1, len(FREE))
        assert world.reconcile().deleted == len(FREE)
        assert world.listed() == []

    def test_a_rate_limit_is_waited_for(self, world: World) -> None:
        open_page(world)
        leave(world)
        world.twitch.state.faults.append(Fault("/helix/eventsub", status=429, remaining=3))
        before = world.now
        assert world.reconcile().deleted == len(FREE)
        assert world.now >= before + 3

    def test_unless_it_lasts_longer_than_the_run(self, world: World) -> None:
        open_page(world)
        leave(world)
        world.twitch.state.faults.append(Fault("/helix/eventsub", method="DELETE", status=429))
        report = world.reconcile()
        assert (report.complete, report.deleted) == (False, 0)
        world.twitch.state.faults.clear()
        assert world.reconcile().deleted == len(FREE)

    def test_a_run_goes_on_when_twitch_fails_for_many_channels(self, world: World) -> None:
        """Ten in a row are no outage if it answers for others."""
        for number in range(MAX_UNAVAILABLE + 3):
            world.watch(f"streamer_{number}")
        world.deliver()
        world.now += GRACE + 1
        faults = world.twitch.state.faults
        faults.append(Fault("/helix/eventsub", method="DELETE", status=503, remaining=MAX_UNAVAILABLE - 1))
        report = world.reconcile()
        assert (report.complete, report.failed) == (True, MAX_UNAVAILABLE - 1)
        faults.append(Fault("/helix/eventsub", method="DELETE", status=503))
        world.watch("ninja")
        assert world.reconcile().complete
        faults.clear()
        world.reconcile()
        assert len(world.listed()) == len(FREE)

    def test_a_run_gives_up_when_everything_fails(self, world: World) -> None:
        for number in range(MAX_UNAVAILABLE + 3):
            world.watch(f"streamer_{number}")
        world.now += GRACE + 1
        world.twitch.state.faults.append(Fault("/helix/eventsub", method="DELETE", status=503))
        report = world.reconcile()
        assert (report.complete, report.failed) == (False, MAX_UNAVAILABLE)

    def test_one_type_that_always_fails_keeps_nothing_else_from_being_made(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        create = Helix.create_subscription

        def failing(self: Helix, event_type: str, *rest: Any, **options: Any) -> Any:
            if event_type == "channel.update":
                raise TwitchUnavailableError("503: this type fails")
            return create(self, event_type, *rest, **options)

        monkeypatch.setattr(Helix, "create_subscription", failing)
        for login in ("busy_1", "busy_2", "busy_3", "small"):
            open_page(world, login)
        (revoked,) = (
            one
            for one in world.listed()
            if one.type == "user.update" and world.streamer_id("small") in one.condition.values()
        )
        world.twitch.revoke([world.twitch.state.subscriptions[revoked.id]], "version_removed")
        world.deliver()
        world.now += FRESH_SECONDS + 1
        report = world.reconcile()
        world.deliver()
        assert report.complete
        assert world.delivered("small")["user.update"] == ["enabled"]

    def test_what_a_run_had_no_time_for_comes_first_in_the_next(self, world: World) -> None:
        logins = [f"streamer_{number}" for number in range(6)]
        for login in logins:
            world.watch(login)
        world.now += GRACE + 1
        seconds = iter([0.0] * 20 + [300.0])
        world.after_each_call = lambda: setattr(world, "now", world.now + next(seconds, 0.0))
        first = world.run()
        left = {login for login in logins if world.delivered(login)}
        assert not first.complete
        assert left
        world.after_each_call = lambda: None
        for login in set(logins) - left:
            world.watch(login)
        world.now += GRACE + 1
        order: list[str] = []
        delete = world.channels.delete_unwatched

        def deleted(streamer_id: str, not_watched_since: int) -> bool:
            order.append(streamer_id)
            return delete(streamer_id, not_watched_since)

        world.channels.delete_unwatched = deleted  # type: ignore[method-assign]
        assert world.run().complete
        assert set(order[: len(left)]) == {world.streamer_id(login) for login in left}

    @pytest.mark.parametrize("status", [400, 503])
    def test_an_unknown_subscription_that_cannot_be_deleted_stops_nothing_else(
        self, world: World, status: int
    ) -> None:
        open_page(world)
        retire(world)
        world.twitch.state.delete(held(world, "user.update").id)
        world.twitch.state.faults.append(Fault("/helix/eventsub", method="DELETE", status=status))
        report = world.reconcile()
        world.deliver()
        assert (report.complete, report.failed) == (True, 1)
        assert world.delivered("ninja") == DELIVERED

    def test_a_run_whose_calls_are_slow_ends_before_its_function_is_ended(self, world: World) -> None:
        """It keeps where it stopped then."""
        for login in ("ninja", "shroud"):
            world.watch(login)
        began = world.now = world.now + GRACE + 1
        world.after_each_call = lambda: setattr(world, "now", world.now + 50)
        assert not world.run().complete
        assert world.now - began <= 220 + 50

    def test_a_list_that_cannot_be_read_stops_the_run(self, world: World) -> None:
        open_page(world)
        leave(world)
        world.twitch.state.faults.append(Fault("/helix", status=500))
        with pytest.raises(TwitchUnavailableError):
            world.reconcile()
        assert world.delivered("ninja") == DELIVERED

    @pytest.mark.parametrize("calls", range(0, 13, 3))
    def test_what_a_crash_leaves_is_done_by_the_next_run(self, world: World, calls: int) -> None:
        open_page(world, "shroud")
        world.twitch.state.delete(held(world, "user.update").id)
        world.watch("ninja")
        world.now += GRACE + 1
        world.connect("shroud", "a-viewer")
        world.crash_point.calls = calls
        with pytest.raises(Crash):
            world.run()
        world.crash_point.calls = None
        world.reconcile()
        world.deliver()
        world.wait(LOST_SECONDS)
        world.connect("shroud", "a-viewer")
        world.reconcile()
        world.deliver()
        assert (world.delivered("shroud"), world.delivered("ninja")) == (DELIVERED, {})

    def test_a_run_goes_through_every_page(self, world: World) -> None:
        for number in range(18):
            world.watch(f"streamer_{number}")
        assert len(world.listed()) > 100  # Twitch's page
        world.now += GRACE + 1
        assert world.reconcile().deleted == 18 * len(FREE)
        assert world.listed() == []


class TestASteadyState:
    def test_it_costs_the_listing_alone(self, world: World) -> None:
        for number in range(18):
            open_page(world, f"streamer_{number}")
        for number in range(18):
            world.connect(f"streamer_{number}", "a-viewer")
        before = len(world.pool.requests)
        report = world.run()
        assert world.calls(before) == [("GET", "/helix/eventsub/subscriptions")] * 2
        assert report == Report(channels=18, total_cost=18 * len(FREE), max_total_cost=10_000)

    def test_nothing_is_sent_or_logged_twice(self, world: World) -> None:
        open_page(world)
        frames, changes = len(world.queues.frames), len(world.changes)
        world.reconcile()
        assert (len(world.queues.frames), len(world.changes)) == (frames, changes)

    def test_no_grant_is_read(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        world.sign_in_as_streamer("ninja")
        world.watch("ninja", as_streamer="ninja")
        world.deliver()
        open_page(world, "shroud")

        def read(_self: GrantsTable, _streamer_id: str) -> list[Grant]:
            raise AssertionError("a grant is read")

        monkeypatch.setattr(GrantsTable, "for_channel", read)
        assert world.run() == Report(channels=2, total_cost=len(FREE), max_total_cost=10_000)


class TestTelling:
    """A change that viewers were not told of is told later."""

    def test_a_notice_that_comes_again_tells_what_it_could_not(self, world: World) -> None:
        open_page(world)
        frames = len(world.queues.frames)
        world.queues.fails = 1
        world.twitch.revoke([held(world, "channel.update")], "version_removed")
        world.deliver()
        assert world.known("ninja")["channel.update"].status == "revoked"
        assert world.shown("ninja")["channel.update"] == ("revoked", "version_removed")
        assert len(world.queues.frames) == frames + 1

    def test_the_next_run_tells_what_nobody_else_did(self, world: World) -> None:
        open_page(world)
        world.queues.fails = 3
        world.twitch.revoke([held(world, "channel.update")], "version_removed")
        world.deliver()
        assert world.shown("ninja")["channel.update"] == ("enabled", None)
        frames = len(world.queues.frames)
        world.reconcile()
        world.deliver()
        assert len(world.queues.frames) == frames + 1
        record = world.channels.get(world.streamer_id("ninja"))
        assert record is not None
        assert record.told == record.revision


class TestAListWithFaults:
    """Whatever Twitch answers, a run ends, and takes up the list where the last one left it."""

    @pytest.fixture
    def pages(self, world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str | None, Page]:
        """What Twitch answers, by cursor; at first two pages with the subscriptions of two channels."""
        for login in ("ninja", "shroud"):
            open_page(world, login)
        every = world.listed()
        found: dict[str | None, Page] = {
            None: Page(every[:6], 12, 10_000, "second"),
            "second": Page(every[6:], 12, 10_000, None),
        }

        def read_page(
            _self: Helix, cursor: str | None = None, user_id: str | None = None, **_options: int
        ) -> Page:
            assert user_id is None
            read.append(cursor)
            if cursor not in found:
                raise InvalidRequestError("400: invalid cursor")
            return found[cursor]

        read: list[str | None] = []
        monkeypatch.setattr(Helix, "read_page", read_page)
        monkeypatch.setattr(world, "read", read, raising=False)
        return found

    def test_a_cursor_that_repeats_ends_the_list(self, world: World, pages: dict[str | None, Page]) -> None:
        pages["second"] = dataclasses.replace(pages["second"], cursor="second")
        before = {login: world.known(login) for login in ("ninja", "shroud")}
        assert not world.run().complete
        assert world.read == [None, "second"]  # type: ignore[attr-defined]
        assert {login: world.known(login) for login in ("ninja", "shroud")} == before
        assert world.progress.load().cursor is None

    def test_pages_without_end_are_read_for_half_of_the_time(
        self, world: World, pages: dict[str | None, Page], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = Helix.read_page

        def endless(self: Helix, cursor: str | None = None, **_options: int) -> Page:
            world.now += 1
            number = int(cursor or 0)
            return dataclasses.replace(read(self, None), cursor=str(number + 1))

        monkeypatch.setattr(Helix, "read_page", endless)
        report = world.run()
        assert not report.complete
        assert report.channels == 2
        cursor = world.progress.load().cursor
        assert cursor is not None
        assert 100 < int(cursor) < 120

    def test_a_list_that_was_cut_short_is_read_on_by_the_next_run(
        self, world: World, pages: dict[str | None, Page], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = Helix.read_page

        def cut_short(self: Helix, cursor: str | None = None, **_options: int) -> Page:
            if cursor == "second":
                raise TwitchUnavailableError("503")
            return read(self, cursor)

        with monkeypatch.context() as patch:
            patch.setattr(Helix, "read_page", cut_short)
            assert not world.run().complete
        before = {login: world.known(login) for login in ("ninja", "shroud")}
        assert world.run().complete
        assert world.read == [None, "second"]  # type: ignore[attr-defined]
        assert {login: world.known(login) for login in ("ninja", "shroud")} == before
        world.run()
        assert world.read[2:] == [None, "second"]  # type: ignore[attr-defined]

    def test_a_page_that_fails_is_asked_for_again(
        self, world: World, pages: dict[str | None, Page], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of hundreds of pages, some do."""
        read, failing = Helix.read_page, [None, "second", "second"]

        def sometimes(self: Helix, cursor: str | None = None, **_options: int) -> Page:
            if cursor in failing:
                failing.remove(cursor)
                raise TwitchUnavailableError("503")
            return read(self, cursor)

        monkeypatch.setattr(Helix, "read_page", sometimes)
        assert world.run().complete

    def test_a_cursor_that_twitch_does_not_know_any_more_begins_anew(
        self, world: World, pages: dict[str | None, Page]
    ) -> None:
        world.progress.keep(Progress(cursor="forgotten"))
        assert not world.run().complete
        assert world.run().complete

    def test_a_cursor_whose_page_always_fails_is_given_up(
        self, world: World, pages: dict[str | None, Page], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Channels are reconciled all the same."""
        read = Helix.read_page

        def failing(self: Helix, cursor: str | None = None, **_options: int) -> Page:
            if cursor == "second":
                raise TwitchUnavailableError("503")
            return read(self, cursor)

        monkeypatch.setattr(Helix, "read_page", failing)
        reports = [world.run() for _ in range(3)]
        assert [(one.complete, one.channels) for one in reports] == [(False, 2)] * 3
        assert world.read == [None, None]  # type: ignore[attr-defined]

    def test_what_twitch_lost_is_found_although_the_list_is_never_whole(
        self, world: World, pages: dict[str | None, Page], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The list is too long for a run: a channel of which it is not sure is compared by itself."""
        lost = next(one.id for one in pages["second"].subscriptions)
        world.twitch.state.delete(lost)
        read = Helix.read_page

        def cut_short(self: Helix, cursor: str | None = None, user_id: str | None = None, **_: int) -> Page:
            if user_id is not None:
                return Page(world.listed(), 0, 0, None)
            if cursor == "second":
                raise TwitchUnavailableError("503")
            return read(self, cursor)

        monkeypatch.setattr(Helix, "read_page", cut_short)
        for _ in range(TRUSTED_SECONDS // PERIOD + 1):
            world.now += PERIOD
            for login in ("ninja", "shroud"):
                world.connect(login, "a-viewer")
            assert not world.reconcile().complete
        world.deliver()
        assert [world.delivered(login) for login in ("ninja", "shroud")] == [DELIVERED] * 2

    def test_a_rate_limit_that_lasts_leaves_half_of_the_time_and_the_cursor(
        self, world: World, pages: dict[str | None, Page], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = Helix.read_page

        def limited_page(self: Helix, cursor: str | None = None, **_options: int) -> Page:
            if cursor == "second":
                raise RateLimitedError("429")
            return read(self, cursor)

        monkeypatch.setattr(Helix, "read_page", limited_page)
        began = world.now
        report = world.run()
        assert (report.complete, report.channels) == (False, 2)
        assert world.now - began <= 110
        assert world.progress.load().cursor == "second"

    def test_a_rate_limit_in_the_middle_does_not_begin_anew(
        self, world: World, pages: dict[str | None, Page], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read, limited = Helix.read_page, [None, "second", "second"]

        def limited_page(self: Helix, cursor: str | None = None, **_options: int) -> Page:
            if cursor in limited:
                limited.remove(cursor)
                raise RateLimitedError("429")
            return read(self, cursor)

        monkeypatch.setattr(Helix, "read_page", limited_page)
        assert world.run().complete
        assert world.read == [None, "second"]  # type: ignore[attr-defined]


class TestLateNotices:
    """A notice may come late; the newer news stays."""

    def test_a_challenge_later_than_a_revocation_does_not_enable_what_has_ended(self, world: World) -> None:
        world.watch("ninja")
        late = [
            one
            for one in world.twitch.take_messages()
            if one.subscription.subscription_type.name == "user.update"
        ]
        challenge = Notice(late[0].subscription.to_dict(), int(world.now * 1000))
        world.now += 1
        ended = held(world, "user.update")
        world.twitch.state.end(ended, "version_removed", int(world.now * 10**9))
        world.notice(Notice(ended.to_dict(), int(world.now * 1000)))
        assert world.known("ninja")["user.update"].status == "revoked"
        world.notice(challenge)
        assert world.known("ninja")["user.update"].status == "revoked"

    def test_a_challenge_at_the_moment_the_subscription_is_stored_counts(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.watch("ninja")
        pending = world.twitch.take_messages()
        get, stale = ChannelsTable.get, [True]

        def get_as_before(table: ChannelsTable, streamer_id: str) -> ChannelRecord | None:
            record = get(table, streamer_id)
            if record is not None and stale:
                stale.pop()
                return dataclasses.replace(record, states={})
            return record

        monkeypatch.setattr(ChannelsTable, "get", get_as_before)
        for one in pending:
            stale.append(True)
            world.notice(Notice(one.subscription.to_dict(), int(world.now * 1000)))
        assert {state.status for state in world.known("ninja").values()} == {"enabled"}

    def test_a_list_that_was_read_before_a_notice_does_not_undo_it(self, world: World) -> None:
        world.watch("ninja")
        world.now += FRESH_SECONDS + 1
        pending = world.twitch.take_messages()

        def enable() -> None:
            for one in pending:
                world.notice(Notice(one.subscription.to_dict(), int(world.now * 1000)))

        world.now += 1
        world.after_call = ("GET", enable)
        world.run()
        assert {state.status for state in world.known("ninja").values()} == {"enabled"}


class TestConsent:
    def test_a_revocation_whose_notice_got_lost_shows_within_a_period(self, world: World) -> None:
        world.sign_in_as_streamer("ninja")
        world.watch("ninja", as_streamer="ninja")
        world.connect("ninja", "a-viewer")
        world.deliver()
        user = world.twitch.state.users.by_login("ninja")
        assert user is not None
        world.twitch.disconnect(user)
        world.twitch.take_messages()
        world.now += FRESH_SECONDS + 1
        world.reconcile()
        assert world.shown("ninja")["channel.cheer"] == ("revoked", "authorization_revoked")
        assert world.delivered("ninja").keys() == FREE_KEYS
        calls = len(world.pool.requests)
        world.reconcile()
        assert len(world.pool.requests) == calls + 1

    def test_follows_go_over_to_another_moderators_consent(self, world: World) -> None:
        users = world.twitch.state.users
        ninja, ann, bob = (users.by_login(login) for login in ("ninja", "ann", "bob"))
        assert ninja is not None
        assert ann is not None
        assert bob is not None
        world.twitch.set_moderators(ninja, [ann, bob])
        for moderator in ("ann", "bob"):
            world.sign_in_as_streamer(moderator)
            world.watch("ninja", as_streamer=moderator)
            world.now += 1
        world.connect("ninja", "a-viewer")
        world.deliver()
        assert len(world.grants.for_channel(ninja.id)) == 1
        rests_on = held(world, "channel.follow").condition["moderator_user_id"]
        world.twitch.set_moderators(ninja, [bob if rests_on == ann.id else ann])
        world.deliver()
        assert world.shown("ninja")["channel.follow"] == ("revoked", "moderator_removed")
        world.watch("ninja", as_streamer="bob" if rests_on == ann.id else "ann")
        world.deliver()
        assert world.shown("ninja")["channel.follow"] == ("enabled", None)
        world.now += FRESH_SECONDS + 1
        world.connect("ninja", "a-viewer")
        world.reconcile()
        assert held(world, "channel.follow").condition["moderator_user_id"] != rests_on


class TestBudget:
    def test_what_few_people_watch_is_limited_and_restored(self, world: World) -> None:
        world.twitch.state.max_total_cost = 20
        for login, viewers in (("crowded", 3), ("quiet", 1), ("empty", 0)):
            world.watch(login)
            world.deliver()
            for number in range(viewers):
                world.connect(login, f"viewer-{number}")
        # 18 of 20 is fine; another one's two make it crowded.
        for key in ("stream.online", "stream.offline"):
            row = SUBSCRIPTION_TYPE_BY_KEY[key]
            world.helix.create_subscription(
                row.event_type,
                row.version,
                row.condition(world.streamer_id("somebody")),
                "https://another-stage.example/",
                "a-secret-of-theirs",
            )
        world.now += FRESH_SECONDS + 1
        report = world.reconcile()
        limited = SubscriptionState("absent", None, "limited")
        assert report.limited == 2
        # What nobody is connected to comes first.
        assert world.known("empty")["user.update"] == world.known("empty")["channel.raid:from"] == limited
        assert world.known("quiet")["user.update"].status == "enabled"

        calls = len(world.pool.requests)
        assert world.reconcile().limited == 2
        assert len(world.pool.requests) == calls + 1, "what is limited is not tried again and again"

        world.twitch.state.max_total_cost = 40
        world.reconcile()
        world.deliver()
        assert len(world.delivered("empty")) == len(FREE)

    def test_channels_that_nobody_is_connected_to_give_way_to_a_newcomers(self, world: World) -> None:
        world.twitch.state.max_total_cost = 20
        for number in range(4):
            world.watch(f"hoarded_{number}")
            world.deliver()
        world.watch("newcomer")
        world.connect("newcomer", "a-viewer")
        assert world.delivered("newcomer") == {}
        world.reconcile()
        world.deliver()
        world.now += FRESH_SECONDS + 1
        world.connect("newcomer", "a-viewer")
        world.reconcile()
        world.deliver()
        assert world.delivered("newcomer") == DELIVERED
        assert world.shown("newcomer")["user.update"] == ("enabled", None)

    def test_a_budget_that_twitch_cuts_leaves_the_watched_channels_their_best(self, world: World) -> None:
        for login in ("ninja", "shroud"):
            open_page(world, login)
        world.twitch.state.max_total_cost = 5
        world.reconcile()
        left = {key for login in ("ninja", "shroud") for key in world.delivered(login)}
        assert left == {"stream.online", "stream.offline"}


class TestDisconnections:
    """Without Cognito Twitch is asked to say when a user disconnects the application."""

    @pytest.fixture(autouse=True)
    def _wanted(self, world: World) -> None:
        world.tells_disconnections = True

    def kept(self, world: World) -> list[tuple[str, str]]:
        return [(one.callback, one.status) for one in world.listed() if one.type == DISCONNECTED]

    def test_one_subscription_is_made_and_kept(self, world: World) -> None:
        world.reconcile()
        assert self.kept(world) == [(WEBHOOK_URL, "webhook_callback_verification_pending")]
        world.deliver()
        for _ in range(2):
            assert world.reconcile().deleted == 0
        assert self.kept(world) == [(WEBHOOK_URL, "enabled")]

    def test_it_is_made_again_when_twitch_has_ended_it(self, world: World) -> None:
        world.reconcile()
        world.deliver()
        world.twitch.revoke(list(world.twitch.state.subscriptions.values()), "notification_failures_exceeded")
        world.reconcile()
        world.deliver()
        assert self.kept(world) == [(WEBHOOK_URL, "enabled")]

    def test_it_is_replaced_when_the_secret_was_renewed(self, world: World) -> None:
        world.reconcile()
        world.deliver()
        world.rotate_secret()
        world.reconcile()
        assert [callback for callback, _ in self.kept(world)] == [f"{WEBHOOK_URL}?secret=v2"]

    def test_it_is_deleted_with_cognito(self, world: World) -> None:
        world.reconcile()
        world.tells_disconnections = False
        assert world.reconcile().deleted == 1
        assert self.kept(world) == []

    def test_channels_are_reconciled_although_twitch_refuses_it(self, world: World) -> None:
        world.twitch.state.max_total_cost = 0
        world.reconcile()
        assert self.kept(world) == []
