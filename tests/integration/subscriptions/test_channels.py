"""The channels table: changes that meet on the same channel do not undo each other."""

from typing import TYPE_CHECKING

import pytest

from lambdas.subscriptions.channels import ChannelRecord, ChannelsTable, Resolution
from lambdas.subscriptions.model import Channel
from lambdas.subscriptions.subscription_types import SubscriptionState

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NOW = 1_800_000_000
# What a new channel begins with.
REVISION = NOW * 1000
NINJA = Channel("1234", "ninja", "Ninja", "https://static-cdn.jtvnw.net/ninja.png")
RESOLVED = Resolution(NINJA, NOW - 60)
ENABLED = SubscriptionState("enabled", "a")
REVOKED = SubscriptionState("revoked", None, "user_removed")


def test_nothing_is_known_of_a_channel_that_nobody_watched(channels: ChannelsTable) -> None:
    assert channels.get("1234") is None


def test_a_first_watch_knows_no_states(channels: ChannelsTable, dynamodb: "DynamoDBClient") -> None:
    assert channels.record_watch(RESOLVED, NOW) == ChannelRecord(
        watched_at=NOW, verified_at=0, states={}, revision=REVISION, told=REVISION
    )
    assert dynamodb.get_item(TableName="channels", Key={"streamer_id": {"S": "1234"}})["Item"] == {
        "streamer_id": {"S": "1234"},
        "login": {"S": "ninja"},
        "display_name": {"S": "Ninja"},
        "avatar_url": {"S": "https://static-cdn.jtvnw.net/ninja.png"},
        "resolved_at": {"N": str(NOW - 60)},
        "watched_at": {"N": str(NOW)},
        "subscriptions": {"M": {}},
        "revision": {"N": str(REVISION)},
        "told": {"N": str(REVISION)},
    }


def record(channels: ChannelsTable, states: dict[str, SubscriptionState]) -> None:
    for key, state in states.items():
        assert channels.set_state("1234", key, None, state)


def known(channels: ChannelsTable) -> dict[str, SubscriptionState]:
    found = channels.get("1234")
    assert found is not None
    return dict(found.states)


def test_a_later_watch_sees_what_was_recorded_and_follows_a_new_login(channels: ChannelsTable) -> None:
    channels.record_watch(RESOLVED, NOW)
    states = {
        "channel.raid:to": ENABLED,
        "user.update": SubscriptionState("failed", None, "invalid", 2, NOW + 240),
    }
    record(channels, states)
    renamed = Resolution(Channel("1234", "ninja_2", "Ninja_2", ""), NOW + 60)
    assert (
        channels.record_watch(renamed, NOW + 60)
        == channels.get("1234")
        == ChannelRecord(NOW + 60, 0, states, REVISION + len(states), REVISION)
    )
    assert channels.find_by_login("ninja_2") == renamed
    assert channels.find_by_login("ninja") is None


def test_a_login_leads_to_the_channel_that_had_it_last(channels: ChannelsTable) -> None:
    channels.record_watch(RESOLVED, NOW)
    heir = Resolution(Channel("99", "ninja", "Ninja", ""), NOW)
    channels.record_watch(heir, NOW)
    assert channels.find_by_login("ninja") == heir


def test_every_channel_is_scanned(channels: ChannelsTable) -> None:
    channels.record_watch(RESOLVED, NOW)
    channels.record_watch(Resolution(Channel("99", "shroud", "Shroud", ""), NOW), NOW)
    record(channels, {"stream.online": ENABLED})
    assert dict(channels.scan()) == {
        "1234": ChannelRecord(NOW, 0, {"stream.online": ENABLED}, REVISION + 1, REVISION),
        "99": ChannelRecord(NOW, 0, {}, REVISION, REVISION),
    }


def test_setting_a_state_leaves_the_others_alone(channels: ChannelsTable) -> None:
    channels.record_watch(RESOLVED, NOW)
    record(channels, {"stream.online": ENABLED, "stream.offline": REVOKED})
    record(channels, {"stream.offline": ENABLED})
    assert known(channels) == {"stream.online": ENABLED, "stream.offline": ENABLED}


@pytest.mark.parametrize("before", [None, ENABLED, SubscriptionState("failed", None, "rate_limited")])
def test_a_state_is_replaced_if_the_subscription_is_the_expected_one(
    channels: ChannelsTable, before: SubscriptionState | None
) -> None:
    channels.record_watch(RESOLVED, NOW)
    record(channels, {"stream.online": before} if before else {})
    expected_id = before.subscription_id if before else None
    assert channels.set_state("1234", "stream.online", expected_id, REVOKED)
    assert known(channels) == {"stream.online": REVOKED}


@pytest.mark.parametrize("expected_id", ["an-older-one", None])
def test_a_state_with_a_newer_subscription_is_not_replaced(
    channels: ChannelsTable, expected_id: str | None
) -> None:
    channels.record_watch(RESOLVED, NOW)
    record(channels, {"stream.online": ENABLED})
    assert not channels.set_state("1234", "stream.online", expected_id, REVOKED)
    assert known(channels) == {"stream.online": ENABLED}


def test_what_twitch_said_later_is_not_replaced(channels: ChannelsTable) -> None:
    channels.record_watch(RESOLVED, NOW)
    newer = SubscriptionState("revoked", None, "user_removed", as_of=2_000)
    record(channels, {"stream.online": newer})
    assert not channels.set_state(
        "1234", "stream.online", None, SubscriptionState("enabled", "a", as_of=1_999)
    )
    assert known(channels)["stream.online"].as_of == 2_000
    assert channels.set_state("1234", "stream.online", None, SubscriptionState("enabled", "a", as_of=2_000))


def test_a_claim_is_anothers_until_it_ends(channels: ChannelsTable) -> None:
    assert not channels.claim("1234", NOW, NOW + 60)
    channels.record_watch(RESOLVED, NOW)
    assert channels.claim("1234", NOW, NOW + 60)
    assert not channels.claim("1234", NOW + 59, NOW + 100)
    assert channels.claim("1234", NOW + 60, NOW + 100)
    settled = channels.settle("1234", asked_until=0, verified_at=NOW + 61)
    assert settled is not None
    assert (settled.asked_until, settled.verified_at) == (0, NOW + 61)
    assert channels.claim("1234", NOW + 61, NOW + 100)
    assert channels.settle("99", asked_until=0) is None


def test_viewers_are_told_of_a_revision_once(channels: ChannelsTable) -> None:
    channels.record_watch(RESOLVED, NOW)
    record(channels, {"stream.online": ENABLED})
    assert channels.record_told("1234", REVISION + 1)
    assert not channels.record_told("1234", REVISION + 1)
    assert not channels.record_told("1234", REVISION)


@pytest.mark.parametrize("expected_id", ["a", None])
def test_a_channel_that_is_not_in_the_table_does_not_get_there_unwatched(
    channels: ChannelsTable, expected_id: str | None
) -> None:
    assert not channels.set_state("1234", "stream.online", expected_id, REVOKED)
    channels.record_run("1234", NOW, verified=True, watched=True)
    assert channels.get("1234") is None


def test_the_time_of_the_verification_is_stored(channels: ChannelsTable) -> None:
    channels.record_watch(RESOLVED, NOW)
    channels.record_run("1234", NOW + 200, verified=False, watched=False)
    channels.record_run("1234", NOW + 300, verified=True, watched=False)
    channels.record_run("1234", NOW + 400, verified=False, watched=False)
    assert channels.get("1234") == ChannelRecord(NOW, NOW + 300, {}, REVISION, REVISION)


def test_a_channel_is_deleted_when_nobody_watched_it_since(channels: ChannelsTable) -> None:
    channels.record_watch(RESOLVED, NOW)
    assert not channels.delete_unwatched("1234", not_watched_since=NOW)
    assert channels.delete_unwatched("1234", not_watched_since=NOW + 1)
    assert channels.get("1234") is None


def test_an_open_connection_counts_as_watching(channels: ChannelsTable) -> None:
    channels.record_watch(RESOLVED, NOW)
    channels.record_run("1234", NOW + 300, verified=True, watched=False)
    assert channels.delete_unwatched("1234", not_watched_since=NOW + 300)
    channels.record_watch(RESOLVED, NOW)
    channels.record_run("1234", NOW + 300, verified=False, watched=True)
    assert not channels.delete_unwatched("1234", not_watched_since=NOW + 300)


def test_a_channel_that_was_never_in_the_table_can_be_deleted(channels: ChannelsTable) -> None:
    assert channels.delete_unwatched("1234", not_watched_since=NOW)
