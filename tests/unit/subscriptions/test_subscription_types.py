"""The topic table, and what a viewer is told of it."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.subscriptions.subscription_types import (
    SEVERITY,
    SUBSCRIPTION_TYPES,
    SubscriptionState,
    SubscriptionType,
    attribute,
    summarize,
)
from local.twitch.topics import TOPICS as SIMULATED

topics = st.sampled_from(SUBSCRIPTION_TYPES)
streamer_ids = st.from_regex(r"[1-9][0-9]{0,11}", fullmatch=True)
states = st.builds(
    SubscriptionState, st.sampled_from(SEVERITY), st.none() | st.uuids().map(str), st.none() | st.text()
)


def test_these_topics_need_nobodys_consent() -> None:
    assert {
        (topic.event_type, topic.version, *topic.roles)
        for topic in SUBSCRIPTION_TYPES
        if topic.consent == "none"
    } == {
        ("stream.online", "1", "broadcaster_user_id"),
        ("stream.offline", "1", "broadcaster_user_id"),
        ("channel.update", "2", "broadcaster_user_id"),
        ("channel.raid", "1", "to_broadcaster_user_id"),
        ("channel.raid", "1", "from_broadcaster_user_id"),
        ("user.update", "1", "user_id"),
    }


@given(topics)
def test_a_topic_has_a_scope_exactly_if_it_needs_consent(topic: SubscriptionType) -> None:
    assert (topic.scope is None) == (topic.consent == "none")
    assert ("grantor" in topic.roles.values()) == (topic.consent == "moderator")
    assert "streamer" in topic.roles.values()


def test_the_simulated_twitch_knows_every_topic_and_asks_for_the_same_scopes() -> None:
    simulated = {topic.type: topic for topic in SIMULATED}
    assert {topic.event_type for topic in SUBSCRIPTION_TYPES} == simulated.keys()
    for topic in SUBSCRIPTION_TYPES:
        twin = simulated[topic.event_type]
        assert (topic.version, topic.scope) == (twin.version, twin.scope)
        assert twin.condition(topic.condition("1")) is not None


def test_no_two_topics_share_a_key_or_ask_twitch_for_the_same() -> None:
    assert max(Counter(topic.key for topic in SUBSCRIPTION_TYPES).values()) == 1
    asked = Counter((topic.event_type, topic.version, frozenset(topic.roles)) for topic in SUBSCRIPTION_TYPES)
    assert max(asked.values()) == 1


@given(topics)
def test_a_key_is_the_event_type_or_begins_with_it(topic: SubscriptionType) -> None:
    assert topic.key.partition(":")[0] == topic.event_type


@given(topics, streamer_ids)
def test_a_subscription_leads_back_to_its_topic_and_streamer(
    topic: SubscriptionType, streamer_id: str
) -> None:
    condition = topic.condition(streamer_id)
    assert attribute(topic.event_type, topic.version, condition) == (topic, streamer_id, streamer_id)


@given(topics, streamer_ids)
def test_it_still_does_with_the_empty_fields_that_twitch_adds(
    topic: SubscriptionType, streamer_id: str
) -> None:
    every_field = {field for row in SUBSCRIPTION_TYPES for field in row.roles}
    condition = dict.fromkeys(every_field, "") | topic.condition(streamer_id)
    assert attribute(topic.event_type, topic.version, condition) == (topic, streamer_id, streamer_id)


@pytest.mark.parametrize(
    ("event_type", "version", "condition"),
    [
        ("channel.moderate", "2", {"broadcaster_user_id": "1", "moderator_user_id": "1"}),
        ("channel.shoutout.create", "1", {"broadcaster_user_id": "1", "moderator_user_id": "2"}),
        ("channel.update", "1", {"broadcaster_user_id": "1"}),
        ("channel.update", "2", {"user_id": "1"}),
        ("channel.update", "2", {"broadcaster_user_id": "1", "user_id": "1"}),
        ("channel.raid", "1", {"from_broadcaster_user_id": "", "to_broadcaster_user_id": ""}),
        ("channel.update", "2", {}),
    ],
    ids=["type", "another moderator's", "version", "other field", "more fields", "empty fields", "no fields"],
)
def test_what_is_not_in_the_table_is_attributed_to_nobody(
    event_type: str, version: str, condition: dict[str, str]
) -> None:
    assert attribute(event_type, version, condition) is None


def test_follows_may_rest_on_a_moderators_consent() -> None:
    (follow,) = (topic for topic in SUBSCRIPTION_TYPES if topic.consent == "moderator")
    condition = {"broadcaster_user_id": "1", "moderator_user_id": "2"}
    assert follow.condition("1", "2") == condition
    assert attribute("channel.follow", "2", condition) == (follow, "1", "2")


@pytest.mark.parametrize(
    ("at_twitch", "status", "reason"),
    [
        ("enabled", "enabled", None),
        ("webhook_callback_verification_pending", "pending", None),
        ("webhook_callback_verification_failed", "failed", "webhook_callback_verification_failed"),
        ("authorization_revoked", "revoked", "authorization_revoked"),
        ("user_removed", "revoked", "user_removed"),
        ("moderator_removed", "revoked", "moderator_removed"),
        ("notification_failures_exceeded", "revoked", "notification_failures_exceeded"),
        ("version_removed", "revoked", "version_removed"),
        ("something_new", "revoked", "something_new"),
    ],
)
def test_every_status_of_twitch_means_a_state(at_twitch: str, status: str, reason: str | None) -> None:
    state = SubscriptionState.of("an-id", at_twitch)
    assert (state.status, state.reason) == (status, reason)
    assert state.live == (reason is None) == (state.subscription_id == "an-id")


@given(st.fixed_dictionaries({topic.key: states for topic in SUBSCRIPTION_TYPES}))
def test_a_viewer_is_told_of_each_event_type_once_and_of_the_worst_state(
    known: dict[str, SubscriptionState],
) -> None:
    told = summarize(known)
    assert [entry["event_type"] for entry in told] == list(
        dict.fromkeys(topic.event_type for topic in SUBSCRIPTION_TYPES)
    )
    for entry in told:
        related = [
            known[topic.key] for topic in SUBSCRIPTION_TYPES if topic.event_type == entry["event_type"]
        ]
        assert entry["status"] == max((state.status for state in related), key=SEVERITY.index)
        assert (entry["status"], entry["reason"]) in [(state.status, state.reason) for state in related]


def test_one_side_of_raids_that_fails_makes_raids_fail() -> None:
    known = {topic.key: SubscriptionState("enabled", topic.key) for topic in SUBSCRIPTION_TYPES}
    known["channel.raid:from"] = SubscriptionState("failed", None, "limit_exceeded")
    told = {entry["event_type"]: (entry["status"], entry["reason"]) for entry in summarize(known)}
    assert told.pop("channel.raid") == ("failed", "limit_exceeded")
    assert set(told.values()) == {("enabled", None)}


def test_a_topic_that_nothing_is_known_of_is_absent_and_may_need_consent() -> None:
    told = {entry["event_type"]: (entry["status"], entry["reason"]) for entry in summarize({})}
    assert told["stream.online"] == ("absent", None)
    assert told["channel.cheer"] == ("absent", "consent_required")
    assert {status for status, _ in told.values()} == {"absent"}
