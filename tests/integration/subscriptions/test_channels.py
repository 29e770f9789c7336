"""The channels table: changes that meet on the same channel do not undo each other."""

from typing import TYPE_CHECKING

import pytest

from lambdas.subscriptions.channels import ChannelsTable, Record
from lambdas.subscriptions.model import Channel
from lambdas.subscriptions.topics import TopicState

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NOW = 1_800_000_000
NINJA = Channel("1234", "ninja", "Ninja", "https://static-cdn.jtvnw.net/ninja.png")
ENABLED = TopicState("enabled", "a")
REVOKED = TopicState("revoked", "a", "user_removed")


def test_nothing_is_known_of_a_channel_that_nobody_watched(channels: ChannelsTable) -> None:
    assert channels.get("1234") is None


def test_a_first_watch_knows_no_topics(channels: ChannelsTable, dynamodb: "DynamoDBClient") -> None:
    assert channels.watch(NINJA, NOW) == Record(verified_at=0, topics={})
    assert dynamodb.get_item(TableName="channels", Key={"streamer_id": {"S": "1234"}})["Item"] == {
        "streamer_id": {"S": "1234"},
        "login": {"S": "ninja"},
        "display_name": {"S": "Ninja"},
        "avatar_url": {"S": "https://static-cdn.jtvnw.net/ninja.png"},
        "watched_at": {"N": str(NOW)},
        "subscriptions": {"M": {}},
    }


def test_a_later_watch_sees_what_was_recorded_and_follows_a_new_login(
    channels: ChannelsTable, dynamodb: "DynamoDBClient"
) -> None:
    channels.watch(NINJA, NOW)
    states = {"channel.raid:to": ENABLED, "user.update": TopicState("failed", None, "forbidden")}
    channels.record("1234", states, NOW)
    renamed = Channel("1234", "ninja_2", "Ninja_2", "")
    assert channels.watch(renamed, NOW + 60) == channels.get("1234") == Record(NOW, states)
    item = dynamodb.get_item(TableName="channels", Key={"streamer_id": {"S": "1234"}})["Item"]
    assert (item["login"], item["watched_at"]) == ({"S": "ninja_2"}, {"N": str(NOW + 60)})


def test_recording_some_topics_leaves_the_others_alone(channels: ChannelsTable) -> None:
    channels.watch(NINJA, NOW)
    channels.record("1234", {"stream.online": ENABLED, "stream.offline": REVOKED}, NOW)
    channels.record("1234", {"stream.offline": ENABLED}, NOW + 1)
    channels.record("1234", {}, NOW + 2)
    assert channels.get("1234") == Record(NOW + 2, {"stream.online": ENABLED, "stream.offline": ENABLED})


@pytest.mark.parametrize("before", [None, ENABLED, TopicState("failed", None, "rate_limited")])
def test_a_state_is_replaced_if_the_subscription_is_the_expected_one(
    channels: ChannelsTable, before: TopicState | None
) -> None:
    channels.watch(NINJA, NOW)
    channels.record("1234", {"stream.online": before} if before else {}, NOW)
    expected_id = before.subscription_id if before else None
    assert channels.replace("1234", "stream.online", expected_id, REVOKED)
    assert channels.get("1234") == Record(NOW, {"stream.online": REVOKED})


@pytest.mark.parametrize("expected_id", ["an-older-one", None])
def test_a_topic_that_was_subscribed_anew_is_left_alone(
    channels: ChannelsTable, expected_id: str | None
) -> None:
    channels.watch(NINJA, NOW)
    channels.record("1234", {"stream.online": ENABLED}, NOW)
    assert not channels.replace("1234", "stream.online", expected_id, REVOKED)
    assert channels.get("1234") == Record(NOW, {"stream.online": ENABLED})


@pytest.mark.parametrize("expected_id", ["a", None])
def test_a_channel_that_is_not_in_the_table_does_not_get_there_unwatched(
    channels: ChannelsTable, expected_id: str | None
) -> None:
    assert not channels.replace("1234", "stream.online", expected_id, REVOKED)
    assert not channels.vouch("1234", NOW, watched=True)
    assert channels.get("1234") is None


def test_vouching_for_the_states_says_when_they_were_true(channels: ChannelsTable) -> None:
    channels.watch(NINJA, NOW)
    assert channels.vouch("1234", NOW + 300, watched=False)
    assert channels.get("1234") == Record(NOW + 300, {})


def test_a_channel_is_given_up_when_nobody_watched_it_since(channels: ChannelsTable) -> None:
    channels.watch(NINJA, NOW)
    assert not channels.retire("1234", not_watched_since=NOW)
    assert channels.retire("1234", not_watched_since=NOW + 1)
    assert channels.get("1234") is None


def test_an_open_connection_counts_as_watching(channels: ChannelsTable) -> None:
    channels.watch(NINJA, NOW)
    channels.vouch("1234", NOW + 300, watched=False)
    assert channels.retire("1234", not_watched_since=NOW + 300)
    channels.watch(NINJA, NOW)
    channels.vouch("1234", NOW + 300, watched=True)
    assert not channels.retire("1234", not_watched_since=NOW + 300)


def test_a_channel_that_was_never_in_the_table_can_be_given_up(channels: ChannelsTable) -> None:
    assert channels.retire("1234", not_watched_since=NOW)
