"""Following a channel: real requests to the simulated Twitch, the table in moto."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import urllib3

from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.following import Following, follow
from lambdas.subscriptions.helix import Credentials, Helix, RateLimitedError, TwitchUnavailableError
from lambdas.subscriptions.model import Channel
from lambdas.subscriptions.plan import TRUSTED_SECONDS
from lambdas.subscriptions.topics import TopicState
from tests.integration.subscriptions.servers import (
    CLIENT_ID,
    CLIENT_SECRET,
    FREE,
    Answer,
    Server,
    Twitch,
    eventually,
    simulated_twitch,
)

NOW = 1_800_000_000
ALL = {topic.key for topic in FREE}
SECRET = "the-webhook-secret"


class Followers:
    """Viewers that begin to watch Ninja."""

    def __init__(self, helix: Helix, channels: ChannelsTable, webhook: Server) -> None:
        self._helix = helix
        self._channels = channels
        self.callback = f"{webhook.url}/webhooks/twitch"
        self.channel: Channel = helix.get_user("ninja")
        self.secrets_loaded = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def follow(self, now: int = NOW) -> Following:
        return follow(
            self._helix,
            self._channels,
            self.channel,
            callback=self.callback,
            load_secret=self._load_secret,
            now=now,
        )

    def _load_secret(self) -> str:
        self.secrets_loaded += 1
        self.meanwhile()
        return SECRET

    def known(self) -> dict[str, TopicState]:
        record = self._channels.get(self.channel.id)
        assert record is not None
        return dict(record.topics)


@pytest.fixture
def followers(helix: Helix, channels: ChannelsTable, webhook: Server) -> Followers:
    return Followers(helix, channels, webhook)


def statuses(states: dict[str, TopicState]) -> dict[str, str]:
    return {key: state.status for key, state in states.items()}


def all_enabled(twitch: Twitch) -> bool:
    return twitch.statuses() == ["enabled"] * len(FREE)


def test_the_first_watch_subscribes_every_topic(followers: Followers, twitch: Twitch) -> None:
    following = followers.follow()
    assert following.created == len(FREE)
    assert statuses(dict(following.topics)) == dict.fromkeys(ALL, "pending")
    assert followers.known() == following.topics
    assert {entry["id"] for entry in twitch.subscriptions()} == {
        state.subscription_id for state in following.topics.values()
    }
    assert {entry["transport"]["callback"] for entry in twitch.subscriptions()} == {followers.callback}


def test_twitch_accepts_what_was_subscribed_and_delivers(followers: Followers, twitch: Twitch) -> None:
    followers.follow()
    eventually(lambda: all_enabled(twitch))


def test_topics_are_subscribed_side_by_side(followers: Followers, twitch: Twitch) -> None:
    twitch.order("faults", latency_ms=150)
    started = time.monotonic()
    followers.follow()
    assert time.monotonic() - started < 0.15 * len(FREE)


def test_the_next_watch_finds_out_what_is_enabled_by_now(followers: Followers, twitch: Twitch) -> None:
    followers.follow()
    eventually(lambda: all_enabled(twitch))
    following = followers.follow(NOW + 10)
    assert following.created == 0
    assert statuses(dict(following.topics)) == dict.fromkeys(ALL, "enabled")
    assert followers.known() == following.topics
    assert followers.secrets_loaded == 1


def test_once_everything_is_enabled_a_watch_asks_twitch_nothing(followers: Followers, twitch: Twitch) -> None:
    followers.follow()
    eventually(lambda: all_enabled(twitch))
    followers.follow(NOW + 10)
    twitch.order("faults", status=500)  # any request would fail
    assert statuses(dict(followers.follow(NOW + 20).topics)) == dict.fromkeys(ALL, "enabled")


def test_but_it_does_not_believe_the_table_for_ever(
    followers: Followers, twitch: Twitch, helix: Helix
) -> None:
    followers.follow()
    eventually(lambda: all_enabled(twitch))
    followers.follow(NOW + 10)
    for subscription in twitch.subscriptions():
        helix.delete_subscription(subscription["id"])
    assert followers.follow(NOW + 10 + TRUSTED_SECONDS).created == 0
    assert followers.follow(NOW + 11 + TRUSTED_SECONDS).created == len(FREE)
    eventually(lambda: all_enabled(twitch))


def test_a_revoked_topic_is_subscribed_again(
    followers: Followers, channels: ChannelsTable, twitch: Twitch
) -> None:
    followers.follow()
    eventually(lambda: all_enabled(twitch))
    before = followers.follow(NOW + 10).topics["user.update"].subscription_id
    twitch.order("revoke", event_type="user.update", login="ninja", reason="notification_failures_exceeded")
    revoked = TopicState("revoked", before, "notification_failures_exceeded")
    assert channels.replace(followers.channel.id, "user.update", before, revoked)
    following = followers.follow(NOW + 20)
    assert following.created == 1
    assert following.topics["user.update"].status == "pending"
    assert following.topics["user.update"].subscription_id != before


def test_a_revoked_topic_that_is_refused_now_has_failed(
    followers: Followers, channels: ChannelsTable, twitch: Twitch
) -> None:
    followers.follow()
    eventually(lambda: all_enabled(twitch))
    before = followers.follow(NOW + 10).topics["user.update"].subscription_id
    assert channels.replace(
        followers.channel.id, "user.update", before, TopicState("revoked", before, "user_removed")
    )
    twitch.order("faults", path="/helix/eventsub", status=403)
    following = followers.follow(NOW + 20)
    assert following.topics["user.update"] == TopicState("failed", None, "forbidden")
    assert followers.known() == following.topics


def test_a_callback_that_did_not_prove_itself_is_tried_again(
    followers: Followers, twitch: Twitch, webhook: Server
) -> None:
    works, webhook.script = webhook.script, lambda request: Answer(500)
    followers.follow()
    eventually(lambda: twitch.statuses() == ["webhook_callback_verification_failed"] * len(FREE))
    webhook.script = works
    assert followers.follow(NOW + 10).created == len(FREE)
    eventually(lambda: twitch.statuses().count("enabled") == len(FREE))


def test_subscriptions_that_exist_already_are_adopted(
    followers: Followers, twitch: Twitch, channels: ChannelsTable
) -> None:
    """As after a watch that Twitch answered but that could not write it down."""
    first = followers.follow().topics
    assert channels.retire(followers.channel.id, not_watched_since=NOW + 1)
    following = followers.follow(NOW + 10)
    assert following.created == 0
    assert {key: state.subscription_id for key, state in following.topics.items()} == {
        key: state.subscription_id for key, state in first.items()
    }
    assert followers.known() == following.topics
    assert len(twitch.subscriptions()) == len(FREE)


def test_two_first_watches_at_once_subscribe_every_topic_once(followers: Followers, twitch: Twitch) -> None:
    together = threading.Barrier(2, timeout=5)

    def watch(_viewer: int) -> Following:
        together.wait()
        return followers.follow()

    with ThreadPoolExecutor(2) as executor:
        one, other = executor.map(watch, range(2))
    ids = {entry["id"] for entry in twitch.subscriptions()}
    assert len(ids) == len(FREE) == one.created + other.created
    for topics in (one.topics, other.topics, followers.known()):
        assert {state.subscription_id for state in topics.values()} == ids
        assert all(state.live for state in topics.values())


def test_topics_beyond_the_budget_fail_and_the_others_work(
    channels: ChannelsTable, webhook: Server, pool: urllib3.PoolManager
) -> None:
    with simulated_twitch(max_total_cost=4) as twitch:
        helix = Helix(pool, lambda: Credentials(CLIENT_ID, CLIENT_SECRET), twitch.api_url, twitch.auth_url)
        followers = Followers(helix, channels, webhook)
        following = followers.follow()
    assert following.created == 4
    failed = [state for state in following.topics.values() if not state.live]
    assert failed == [TopicState("failed", None, "limit_exceeded")] * 2
    assert followers.known() == following.topics


def test_topics_that_fail_for_a_moment_are_tried_again_by_the_next_watch(
    followers: Followers, twitch: Twitch
) -> None:
    twitch.order("faults", path="/helix/eventsub", status=503, count=2)
    following = followers.follow()
    assert following.created == len(FREE) - 2
    assert [state for state in following.topics.values() if not state.live] == [
        TopicState("failed", None, "twitch_unavailable")
    ] * 2
    assert followers.known() == following.topics
    eventually(lambda: twitch.statuses() == ["enabled"] * (len(FREE) - 2))
    assert followers.follow(NOW + 10).created == 2


@pytest.mark.parametrize(("status", "error"), [(429, RateLimitedError), (503, TwitchUnavailableError)])
def test_a_watch_without_a_single_working_topic_says_that_twitch_is_to_blame(
    followers: Followers, twitch: Twitch, status: int, error: type[Exception]
) -> None:
    twitch.order("faults", path="/helix/eventsub", status=status)
    with pytest.raises(error):
        followers.follow()
    twitch.heal()
    assert followers.follow(NOW + 10).created == len(FREE)


def test_a_failure_does_not_hide_what_another_watch_achieved(
    followers: Followers, twitch: Twitch, channels: ChannelsTable
) -> None:
    """One watch is refused while another one, a little earlier, was not."""
    twitch.order("faults", path="/helix/eventsub", status=503)
    other = TopicState("enabled", "made-by-another-watch")
    channels.watch(followers.channel, NOW)
    followers.meanwhile = lambda: channels.record(followers.channel.id, dict.fromkeys(ALL, other), NOW)
    with pytest.raises(TwitchUnavailableError):
        followers.follow()
    assert followers.known() == dict.fromkeys(ALL, other)
