"""The table of subscription types, and what a viewer sees of their states."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.subscriptions.subscription_types import (
    SEVERITY,
    SUBSCRIPTION_TYPES,
    SubscriptionState,
    SubscriptionType,
    find_target,
    summarize,
)
from local.twitch.subscription_types import SUBSCRIPTION_TYPES as SIMULATED

rows = st.sampled_from(SUBSCRIPTION_TYPES)
streamer_ids = st.from_regex(r"[1-9][0-9]{0,11}", fullmatch=True)
states = st.builds(
    SubscriptionState, st.sampled_from(SEVERITY), st.none() | st.uuids().map(str), st.none() | st.text()
)


def test_these_types_need_no_consent() -> None:
    assert {
        (row.event_type, row.version, *row.roles) for row in SUBSCRIPTION_TYPES if row.consent == "none"
    } == {
        ("stream.online", "1", "broadcaster_user_id"),
        ("stream.offline", "1", "broadcaster_user_id"),
        ("channel.update", "2", "broadcaster_user_id"),
        ("channel.raid", "1", "to_broadcaster_user_id"),
        ("channel.raid", "1", "from_broadcaster_user_id"),
        ("user.update", "1", "user_id"),
    }


@given(rows)
def test_a_type_has_a_scope_exactly_if_it_needs_consent(row: SubscriptionType) -> None:
    assert (row.scope is None) == (row.consent == "none")
    assert ("grantor" in row.roles.values()) == (row.consent == "moderator")
    assert "streamer" in row.roles.values()


def test_the_simulated_twitch_knows_every_type_and_asks_for_the_same_scopes() -> None:
    simulated = {twin.name: twin for twin in SIMULATED}
    assert {row.event_type for row in SUBSCRIPTION_TYPES} == simulated.keys()
    for row in SUBSCRIPTION_TYPES:
        twin = simulated[row.event_type]
        assert (row.version, row.scope) == (twin.version, twin.scope)
        assert twin.condition(row.condition("1")) is not None


def test_no_two_types_share_a_key_or_ask_twitch_for_the_same() -> None:
    assert max(Counter(row.key for row in SUBSCRIPTION_TYPES).values()) == 1
    asked = Counter((row.event_type, row.version, frozenset(row.roles)) for row in SUBSCRIPTION_TYPES)
    assert max(asked.values()) == 1


@given(rows)
def test_a_key_is_the_event_type_or_begins_with_it(row: SubscriptionType) -> None:
    assert row.key.partition(":")[0] == row.event_type


@given(rows, streamer_ids, st.booleans())
def test_a_subscription_leads_back_to_its_type_and_streamer(
    row: SubscriptionType, streamer_id: str, twitch_adds_empty_fields: bool
) -> None:
    every_field = {field for row in SUBSCRIPTION_TYPES for field in row.roles}
    condition = dict.fromkeys(every_field, "") if twitch_adds_empty_fields else {}
    condition |= row.condition(streamer_id)
    assert find_target(row.event_type, row.version, condition) == (row, streamer_id, streamer_id)


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
def test_what_is_not_in_the_table_has_no_target(
    event_type: str, version: str, condition: dict[str, str]
) -> None:
    assert find_target(event_type, version, condition) is None


def test_follows_may_use_a_moderators_consent() -> None:
    (follow,) = (row for row in SUBSCRIPTION_TYPES if row.consent == "moderator")
    condition = {"broadcaster_user_id": "1", "moderator_user_id": "2"}
    assert follow.condition("1", "2") == condition
    assert find_target("channel.follow", "2", condition) == (follow, "1", "2")


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
    state = SubscriptionState.from_twitch("an-id", at_twitch)
    assert (state.status, state.reason) == (status, reason)
    assert state.live == (reason is None) == (state.subscription_id == "an-id")


@given(st.fixed_dictionaries({row.key: states for row in SUBSCRIPTION_TYPES}))
def test_a_viewer_sees_each_event_type_once_with_its_worst_state(
    known: dict[str, SubscriptionState],
) -> None:
    shown = summarize(known)
    assert [entry["event_type"] for entry in shown] == list(
        dict.fromkeys(row.event_type for row in SUBSCRIPTION_TYPES)
    )
    for entry in shown:
        related = [known[row.key] for row in SUBSCRIPTION_TYPES if row.event_type == entry["event_type"]]
        # What Twitch has not been asked for yet.
        pending = SubscriptionState("pending")
        related = [pending if (one.status, one.reason) == ("absent", None) else one for one in related]
        assert entry["status"] == max((state.status for state in related), key=SEVERITY.index)
        assert (entry["status"], entry["reason"]) in [(state.status, state.reason) for state in related]


def test_one_side_of_raids_that_fails_makes_raids_fail() -> None:
    known = {row.key: SubscriptionState("enabled", row.key) for row in SUBSCRIPTION_TYPES}
    known["channel.raid:from"] = SubscriptionState("failed", None, "limit_exceeded")
    shown = {entry["event_type"]: (entry["status"], entry["reason"]) for entry in summarize(known)}
    assert shown.pop("channel.raid") == ("failed", "limit_exceeded")
    assert set(shown.values()) == {("enabled", None)}


def test_a_type_without_a_state_is_pending_or_needs_consent() -> None:
    shown = {entry["event_type"]: (entry["status"], entry["reason"]) for entry in summarize({})}
    assert shown["stream.online"] == ("pending", None)
    assert shown["channel.cheer"] == ("absent", "consent_required")
    assert {status for status, _ in shown.values()} == {"absent", "pending"}
