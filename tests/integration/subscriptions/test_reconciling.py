"""The reconciler: what stays subscribed, what goes, and what the channels table says afterwards."""

from collections.abc import Callable

import pytest
import urllib3

from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.following import follow
from lambdas.subscriptions.helix import Credentials, Helix, TwitchUnavailableError
from lambdas.subscriptions.reconciling import Reconciler, Report
from lambdas.subscriptions.topics import TopicState
from tests.integration.subscriptions.servers import (
    CLIENT_ID,
    CLIENT_SECRET,
    FREE,
    Answer,
    Server,
    Twitch,
    eventually,
    serve,
)

NOW = 1_800_000_000
GRACE = 600
LATER = NOW + GRACE + 1
SECRET = "the-webhook-secret"


class Stage:
    """A stage of Fanfare with its callback, its table, and viewers that come and go."""

    def __init__(self, helix: Helix, channels: ChannelsTable, twitch: Twitch, callback: str) -> None:
        self.helix = helix
        self.channels = channels
        self.twitch = twitch
        self.callback = callback
        self.connected: set[str] = set()
        self.before_looking: Callable[[str], object] = lambda streamer_id: None

    def watch(self, login: str, now: int = NOW) -> str:
        """A viewer opens the page; returns the streamer's id once Twitch delivers."""
        channel = self.helix.get_user(login)
        follow(
            self.helix,
            self.channels,
            channel,
            callback=self.callback,
            load_secret=lambda: SECRET,
            now=now,
        )
        eventually(lambda: "webhook_callback_verification_pending" not in self.twitch.statuses())
        return channel.id

    def reconcile(self, now: int) -> Report:
        return Reconciler(self.helix, self.channels, self._anyone, self.callback, GRACE).run(now)

    def _anyone(self, streamer_id: str) -> bool:
        self.before_looking(streamer_id)
        return streamer_id in self.connected

    def known(self, streamer_id: str) -> dict[str, TopicState]:
        record = self.channels.get(streamer_id)
        assert record is not None
        return dict(record.topics)

    def subscribed(self) -> dict[str, list[str]]:
        """What Twitch lists for this stage: statuses by streamer."""
        listed: dict[str, list[str]] = {}
        for entry in self.twitch.subscriptions():
            if entry["transport"]["callback"] == self.callback:
                (streamer_id,) = {value for value in entry["condition"].values() if value}
                listed.setdefault(streamer_id, []).append(entry["status"])
        return listed


@pytest.fixture
def stage(helix: Helix, channels: ChannelsTable, twitch: Twitch, webhook: Server) -> Stage:
    return Stage(helix, channels, twitch, f"{webhook.url}/webhooks/twitch")


ENABLED = ["enabled"] * len(FREE)


def test_a_channel_that_somebody_watches_stays_subscribed(stage: Stage) -> None:
    ninja = stage.watch("ninja")
    stage.connected = {ninja}
    report = stage.reconcile(LATER)
    assert report == Report(channels=1, total_cost=len(FREE), max_total_cost=10_000)
    assert stage.subscribed() == {ninja: ENABLED}


def test_the_table_learns_that_twitch_has_verified_the_callback(stage: Stage) -> None:
    ninja = stage.watch("ninja")
    assert {state.status for state in stage.known(ninja).values()} == {"pending"}
    stage.reconcile(NOW)
    assert {state.status for state in stage.known(ninja).values()} == {"enabled"}


def test_a_channel_stays_for_the_grace_period_after_it_was_last_watched(stage: Stage) -> None:
    ninja = stage.watch("ninja")
    assert stage.reconcile(NOW + GRACE).deleted == 0
    assert stage.subscribed() == {ninja: ENABLED}


def test_then_its_subscriptions_are_deleted_and_it_is_forgotten(stage: Stage) -> None:
    ninja, shroud = stage.watch("ninja"), stage.watch("shroud", LATER)
    assert stage.reconcile(LATER).deleted == len(FREE)
    assert stage.subscribed() == {shroud: ENABLED}
    assert stage.channels.get(ninja) is None


def test_the_grace_period_begins_when_the_last_viewer_leaves(stage: Stage) -> None:
    ninja = stage.watch("ninja")
    stage.connected = {ninja}
    stage.reconcile(LATER)
    stage.connected = set()
    assert stage.reconcile(LATER + GRACE).deleted == 0
    assert stage.reconcile(LATER + GRACE + 1).deleted == len(FREE)


def test_a_channel_that_comes_back_is_subscribed_again(stage: Stage) -> None:
    stage.watch("ninja")
    stage.reconcile(LATER)
    ninja = stage.watch("ninja", LATER + 1)
    assert stage.subscribed() == {ninja: ENABLED}


def test_a_channel_that_the_table_does_not_know_is_a_leftover(stage: Stage) -> None:
    ninja = stage.watch("ninja")
    assert stage.channels.retire(ninja, not_watched_since=NOW + 1)
    assert stage.reconcile(NOW).deleted == len(FREE)
    assert stage.subscribed() == {}


def test_another_stage_with_the_same_application_is_left_alone(
    stage: Stage, channels: ChannelsTable, helix: Helix, twitch: Twitch, webhook: Server
) -> None:
    other = Stage(helix, channels, twitch, f"{webhook.url}/another/stage")
    other.watch("ninja")
    ours = stage.watch("shroud")
    assert stage.reconcile(LATER).deleted == len(FREE)
    assert ours not in stage.subscribed()
    assert list(other.subscribed().values()) == [ENABLED]


def test_a_subscription_of_a_topic_that_is_not_in_the_table_goes(
    channels: ChannelsTable, pool: urllib3.PoolManager
) -> None:
    """As after a release that gave a topic up, or moved on to its next version."""
    callback = "https://fanfare.example/webhooks/twitch"
    outdated = {
        "id": "outdated",
        "status": "enabled",
        "type": "channel.update",
        "version": "1",
        "condition": {"broadcaster_user_id": "1234"},
        "transport": {"method": "webhook", "callback": callback},
    }
    answers = {
        "POST": Answer(200, {"access_token": "token", "expires_in": 5_000_000}),
        "GET": Answer(200, {"data": [outdated], "total_cost": 1, "max_total_cost": 10_000}),
        "DELETE": Answer(204),
    }
    with serve(lambda request: answers[request.method]) as twitch:
        helix = Helix(pool, lambda: Credentials(CLIENT_ID, CLIENT_SECRET), twitch.url, twitch.url)
        report = Reconciler(helix, channels, lambda _: True, callback, GRACE).run(NOW)
    assert (report.channels, report.deleted) == (0, 1)
    assert (twitch.requests[-1].method, twitch.requests[-1].query) == ("DELETE", {"id": ["outdated"]})


def test_a_dead_subscription_goes_and_its_reason_stays(stage: Stage) -> None:
    ninja = stage.watch("ninja")
    stage.twitch.order("revoke", event_type="user.update", login="ninja", reason="version_removed")
    assert stage.reconcile(NOW).deleted == 1
    assert stage.subscribed() == {ninja: ENABLED[1:]}
    state = stage.known(ninja)["user.update"]
    assert (state.status, state.reason) == ("revoked", "version_removed")
    stage.reconcile(NOW + 300)
    assert stage.known(ninja)["user.update"] == state


def test_a_subscription_that_twitch_lost_is_missing_in_the_table_too(stage: Stage) -> None:
    ninja = stage.watch("ninja")
    lost = stage.known(ninja)["stream.online"].subscription_id
    assert lost is not None
    stage.helix.delete_subscription(lost)
    stage.reconcile(NOW)
    assert stage.known(ninja)["stream.online"] == TopicState("failed", None, "lost_at_twitch")
    stage.watch("ninja")
    assert stage.subscribed() == {ninja: ENABLED}


def test_a_subscription_that_is_younger_than_the_list_is_not_taken_for_lost(stage: Stage) -> None:
    ninja = stage.watch("ninja")
    lost = stage.known(ninja)["stream.online"].subscription_id
    assert lost is not None
    stage.helix.delete_subscription(lost)
    stage.channels.replace(ninja, "stream.online", lost, TopicState("failed"))
    stage.before_looking = lambda _: stage.watch("ninja")
    stage.reconcile(NOW)
    assert {state.status for state in stage.known(ninja).values()} == {"enabled"}
    assert stage.subscribed() == {ninja: ENABLED}


def test_a_watch_that_comes_just_before_a_channel_is_given_up_keeps_it(stage: Stage) -> None:
    ninja = stage.watch("ninja")
    stage.before_looking = lambda _: stage.watch("ninja", LATER)
    assert stage.reconcile(LATER).deleted == 0
    assert stage.subscribed() == {ninja: ENABLED}


class InterruptedHelix(Helix):
    """Lets something happen just before the first deletion."""

    interruption: Callable[[], object] | None = None

    def delete_subscription(self, subscription_id: str) -> None:
        interruption, self.interruption = self.interruption, None
        if interruption is not None:
            interruption()
        super().delete_subscription(subscription_id)


def test_a_watch_that_comes_while_a_channel_is_being_given_up_is_made_good_by_the_next(
    stage: Stage, twitch: Twitch, pool: urllib3.PoolManager
) -> None:
    """It adopts subscriptions that are deleted a moment later: they must not be believed to be live."""
    ninja = stage.watch("ninja")
    stage.helix = helix = InterruptedHelix(
        pool, lambda: Credentials(CLIENT_ID, CLIENT_SECRET), twitch.api_url, twitch.auth_url
    )
    helix.interruption = lambda: stage.watch("ninja", LATER)
    assert stage.reconcile(LATER).deleted == len(FREE)
    assert {state.reason for state in stage.known(ninja).values()} == {"lost_at_twitch"}
    stage.watch("ninja", LATER + 1)
    assert stage.subscribed() == {ninja: ENABLED}


def test_one_channel_that_fails_does_not_stop_the_others(stage: Stage) -> None:
    ninja, shroud = stage.watch("ninja"), stage.watch("shroud")

    def fail(streamer_id: str) -> None:
        if streamer_id == ninja:
            raise RuntimeError("the connections table is out of reach")

    stage.before_looking = fail
    report = stage.reconcile(LATER)
    assert (report.channels, report.failed, report.deleted) == (2, 1, len(FREE))
    assert stage.subscribed() == {ninja: ENABLED}
    assert shroud not in stage.subscribed()


def test_a_rate_limit_ends_the_run_and_the_next_one_goes_on(stage: Stage) -> None:
    stage.watch("ninja")
    stage.watch("shroud")
    stage.before_looking = lambda _: stage.twitch.order("faults", path="/helix", status=429, count=1)
    report = stage.reconcile(LATER)
    assert (report.complete, report.failed, report.deleted) == (False, 0, 0)
    stage.before_looking = lambda _: None
    assert stage.reconcile(LATER).deleted == 2 * len(FREE)
    assert stage.subscribed() == {}


def test_a_list_that_cannot_be_read_stops_the_run(stage: Stage) -> None:
    ninja = stage.watch("ninja")
    stage.twitch.order("faults", status=500)
    with pytest.raises(TwitchUnavailableError):
        stage.reconcile(LATER)
    assert stage.subscribed() == {ninja: ENABLED}


def test_a_run_goes_through_every_page(stage: Stage) -> None:
    streamers = [stage.watch(f"streamer_{number}") for number in range(18)]
    assert len(streamers) * len(FREE) > 100  # Twitch's page
    assert stage.reconcile(LATER).deleted == len(streamers) * len(FREE)
    assert stage.subscribed() == {}
