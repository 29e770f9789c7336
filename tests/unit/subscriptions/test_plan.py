"""What Twitch's list means for a channel, what is missing and what is too much."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.subscriptions.model import Subscription
from lambdas.subscriptions.plan import (
    TRUSTED_SECONDS,
    needs_verification,
    observe,
    to_create,
    unseen,
    verified,
)
from lambdas.subscriptions.topics import TOPICS, TopicState

CALLBACK = "https://fanfare.example/webhooks/twitch"
STREAMER = "1234"
ONLINE = TOPICS[0]
NOW = 1_800_000_000

STATUSES = (
    "enabled",
    "webhook_callback_verification_pending",
    "webhook_callback_verification_failed",
    "authorization_revoked",
)


def subscription(
    subscription_id: str = "a", status: str = "enabled", topic: str = ONLINE.key
) -> Subscription:
    row = next(row for row in TOPICS if row.key == topic)
    return Subscription(
        subscription_id, status, row.event_type, row.version, row.condition(STREAMER), CALLBACK
    )


known_states = st.dictionaries(
    st.sampled_from([topic.key for topic in TOPICS]),
    st.builds(TopicState.of, st.sampled_from("abcdef"), st.sampled_from(STATUSES)),
)
subscription_lists = st.lists(
    st.builds(
        subscription,
        st.sampled_from("abcdef"),
        st.sampled_from(STATUSES),
        st.sampled_from([topic.key for topic in TOPICS]),
    ),
    unique_by=lambda entry: entry.id,
)


def test_a_live_subscription_is_its_topics_state() -> None:
    observation = observe([subscription("a")], STREAMER, CALLBACK, {})
    assert observation.states == {ONLINE.key: TopicState("enabled", "a")}
    assert observation.surplus == []


def test_a_dead_subscription_is_too_much_and_tells_why() -> None:
    dead = subscription("a", "user_removed")
    observation = observe([dead], STREAMER, CALLBACK, {})
    assert observation.states == {ONLINE.key: TopicState("revoked", "a", "user_removed")}
    assert observation.surplus == [dead]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_live_subscription_wins_over_a_dead_one_that_is_known(order: tuple[int, ...]) -> None:
    entries = [
        subscription("known", "user_removed"),
        subscription("new"),
        subscription("old", "version_removed"),
    ]
    known = {ONLINE.key: TopicState("enabled", "known")}
    observation = observe([entries[index] for index in order], STREAMER, CALLBACK, known)
    assert observation.states == {ONLINE.key: TopicState("enabled", "new")}
    assert {entry.id for entry in observation.surplus} == {"known", "old"}


@pytest.mark.parametrize("known_id", ["a", "b"])
def test_of_two_live_ones_the_known_one_stays(known_id: str) -> None:
    known = {ONLINE.key: TopicState("pending", known_id)}
    observation = observe([subscription("a"), subscription("b")], STREAMER, CALLBACK, known)
    assert observation.states == {ONLINE.key: TopicState("enabled", known_id)}
    assert [entry.id for entry in observation.surplus] == ["b" if known_id == "a" else "a"]


@pytest.mark.parametrize(
    "foreign",
    [
        dataclasses.replace(subscription(), callback="https://another-stage.example/webhooks/twitch"),
        dataclasses.replace(subscription(), callback=""),
        dataclasses.replace(subscription(), condition={"broadcaster_user_id": "999"}),
        dataclasses.replace(subscription(), type="channel.moderate"),
    ],
    ids=["another callback", "a WebSocket's", "another channel's", "another topic's"],
)
def test_what_is_not_ours_is_neither_a_state_nor_too_much(foreign: Subscription) -> None:
    observation = observe([foreign], STREAMER, CALLBACK, {})
    assert (observation.states, observation.surplus) == ({}, [])


@given(subscription_lists, known_states)
def test_exactly_the_live_states_subscriptions_are_kept(
    listed: list[Subscription], known: dict[str, TopicState]
) -> None:
    observation = observe(listed, STREAMER, CALLBACK, known)
    kept = {state.subscription_id for state in observation.states.values() if state.live}
    assert {entry.id for entry in listed} == kept | {entry.id for entry in observation.surplus}
    assert kept.isdisjoint(entry.id for entry in observation.surplus)


@given(subscription_lists, known_states)
def test_after_a_look_at_the_list_nothing_is_believed_to_be_live_that_is_not(
    listed: list[Subscription], known: dict[str, TopicState]
) -> None:
    states = verified(known, observe(listed, STREAMER, CALLBACK, known).states)
    live_at_twitch = {entry.id for entry in listed if TopicState.of(entry.id, entry.status).live}
    assert {state.subscription_id for state in states.values() if state.live} <= live_at_twitch
    assert {topic.key for topic in to_create(states)} == {
        topic.key
        for topic in TOPICS
        if topic.consent == "none"
        and not any(
            entry.id in live_at_twitch
            and entry.type == topic.event_type
            and entry.condition == topic.condition(STREAMER)
            for entry in listed
        )
    }


def test_a_subscription_that_twitch_lost_is_missing() -> None:
    known = {ONLINE.key: TopicState("enabled", "a")}
    assert verified(known, {}) == {ONLINE.key: TopicState("failed", None, "lost_at_twitch")}


def test_the_reason_of_a_revocation_outlives_the_subscription() -> None:
    known = {ONLINE.key: TopicState("revoked", "a", "user_removed")}
    assert verified(known, {}) == known


def test_a_list_is_older_than_the_table_if_it_lacks_a_live_subscription() -> None:
    assert unseen({ONLINE.key: TopicState("pending", "new")}, [subscription("a")])
    assert not unseen({ONLINE.key: TopicState("pending", "a")}, [subscription("a")])
    assert not unseen({ONLINE.key: TopicState("revoked", "gone", "user_removed")}, [subscription("a")])


def test_topics_that_are_enabled_or_pending_are_not_created_again() -> None:
    states = {
        "stream.online": TopicState("enabled", "a"),
        "stream.offline": TopicState("pending", "b"),
        "channel.update": TopicState("revoked", "c", "version_removed"),
        "channel.raid:to": TopicState("failed", None, "rate_limited"),
    }
    assert {topic.key for topic in to_create(states)} == {
        "channel.update",
        "channel.raid:to",
        "channel.raid:from",
        "user.update",
    }


@pytest.mark.parametrize(
    ("states", "verified_at", "expected"),
    [
        ({}, 0, False),
        ({ONLINE.key: TopicState("enabled", "a")}, NOW - TRUSTED_SECONDS, False),
        ({ONLINE.key: TopicState("enabled", "a")}, NOW - TRUSTED_SECONDS - 1, True),
        ({ONLINE.key: TopicState("pending", "a")}, NOW, True),
        ({ONLINE.key: TopicState("failed", None, "forbidden")}, 0, False),
    ],
    ids=["a new channel", "verified lately", "verified long ago", "pending", "nothing is live"],
)
def test_twitch_is_asked_about_topics_that_may_have_changed(
    states: dict[str, TopicState], verified_at: int, expected: bool
) -> None:
    assert needs_verification(states, verified_at, NOW) is expected
