"""What Twitch's list means for a channel, what is missing, what is too much, and who gives way."""

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.subscriptions.model import Grant, Subscription
from lambdas.subscriptions.plan import (
    CHALLENGE_SECONDS,
    LONGEST_RETRY_SECONDS,
    PENDING_SECONDS,
    TRUSTED_SECONDS,
    Expense,
    attribution,
    consents,
    leads_here,
    needs_verification,
    observe,
    refused,
    settle,
    to_create,
    to_evict,
    to_restore,
    unseen,
    verified,
)
from lambdas.subscriptions.subscription_types import (
    SCOPES,
    SUBSCRIPTION_TYPE_BY_KEY,
    SUBSCRIPTION_TYPES,
    SubscriptionState,
)

CALLBACK = "https://fanfare.example/webhooks/twitch"
ROTATED = f"{CALLBACK}?secret=v2"
STREAMER, MODERATOR = "1234", "77"
NOW = 1_800_000_000
ONLINE, FOLLOW = SUBSCRIPTION_TYPE_BY_KEY["stream.online"], SUBSCRIPTION_TYPE_BY_KEY["channel.follow"]
CHEER = SUBSCRIPTION_TYPE_BY_KEY["channel.cheer"]
FREE = {topic.key for topic in SUBSCRIPTION_TYPES if topic.consent == "none"}

STATUSES = (
    "enabled",
    "webhook_callback_verification_pending",
    "webhook_callback_verification_failed",
    "authorization_revoked",
)


def subscription(
    subscription_id: str = "a",
    status: str = "enabled",
    topic: str = ONLINE.key,
    callback: str = CALLBACK,
    age: int = 60,
) -> Subscription:
    row = SUBSCRIPTION_TYPE_BY_KEY[topic]
    created_at = datetime.fromtimestamp(NOW - age, UTC).isoformat()
    condition = row.condition(STREAMER)
    return Subscription(
        subscription_id, status, row.event_type, row.version, condition, callback, 1, created_at
    )


states = st.builds(SubscriptionState.of, st.sampled_from("abcdef"), st.sampled_from(STATUSES))
known_states = st.dictionaries(st.sampled_from([topic.key for topic in SUBSCRIPTION_TYPES]), states)
subscription_lists = st.lists(
    st.builds(
        subscription,
        st.sampled_from("abcdef"),
        st.sampled_from(STATUSES),
        st.sampled_from([topic.key for topic in SUBSCRIPTION_TYPES]),
        st.sampled_from((CALLBACK, ROTATED)),
        st.sampled_from((60, PENDING_SECONDS + 1)),
    ),
    unique_by=lambda entry: entry.id,
)


def test_a_live_subscription_is_its_topics_state() -> None:
    observation = observe([subscription("a")], CALLBACK, {}, NOW)
    assert observation.states == {ONLINE.key: SubscriptionState("enabled", "a")}
    assert (observation.surplus, observation.outdated) == ([], frozenset())


def test_a_dead_subscription_is_too_much_and_tells_why() -> None:
    dead = subscription("a", "user_removed")
    observation = observe([dead], CALLBACK, {}, NOW)
    assert observation.states == {ONLINE.key: SubscriptionState("revoked", None, "user_removed")}
    assert observation.surplus == [dead]


def test_a_challenge_that_is_never_answered_has_failed() -> None:
    waiting = subscription("a", "webhook_callback_verification_pending", age=PENDING_SECONDS)
    assert observe([waiting], CALLBACK, {}, NOW).states[ONLINE.key].status == "pending"
    failed = observe([waiting], CALLBACK, {}, NOW + 1)
    assert failed.states == {
        ONLINE.key: SubscriptionState("failed", None, "webhook_callback_verification_failed")
    }
    assert failed.surplus == [waiting]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_live_subscription_wins_over_a_dead_one(order: tuple[int, ...]) -> None:
    entries = [
        subscription("known", "user_removed"),
        subscription("new"),
        subscription("old", "version_removed"),
    ]
    known = {ONLINE.key: SubscriptionState("enabled", "known")}
    observation = observe([entries[index] for index in order], CALLBACK, known, NOW)
    assert observation.states == {ONLINE.key: SubscriptionState("enabled", "new")}
    assert {entry.id for entry in observation.surplus} == {"known", "old"}


@pytest.mark.parametrize("known_id", ["a", "b"])
def test_of_two_live_ones_the_known_one_stays(known_id: str) -> None:
    known = {ONLINE.key: SubscriptionState("pending", known_id)}
    observation = observe([subscription("a"), subscription("b")], CALLBACK, known, NOW)
    assert observation.states == {ONLINE.key: SubscriptionState("enabled", known_id)}
    assert [entry.id for entry in observation.surplus] == ["b" if known_id == "a" else "a"]


class TestWhenTheCallbackChanges:
    """A new secret changes it, too: the callback tells the version."""

    old = subscription("old")

    def observe(self, *subscriptions: Subscription) -> tuple[SubscriptionState, list[str], bool]:
        known = {ONLINE.key: SubscriptionState("enabled", "old")}
        observation = observe(subscriptions, ROTATED, known, NOW)
        surplus = [entry.id for entry in observation.surplus]
        return observation.states[ONLINE.key], surplus, ONLINE.key in observation.outdated

    def test_the_former_subscription_stays_and_wants_a_successor(self) -> None:
        assert self.observe(self.old) == (SubscriptionState("enabled", "old"), [], True)

    def test_it_stays_until_the_successor_has_answered_its_challenge(self) -> None:
        new = subscription("new", "webhook_callback_verification_pending", callback=ROTATED)
        assert self.observe(self.old, new) == (SubscriptionState("enabled", "old"), [], False)

    def test_then_it_is_too_much(self) -> None:
        new = subscription("new", callback=ROTATED)
        assert self.observe(self.old, new) == (SubscriptionState("enabled", "new"), ["old"], False)

    def test_a_successor_that_failed_does_not_count(self) -> None:
        new = subscription("new", "webhook_callback_verification_failed", callback=ROTATED)
        assert self.observe(self.old, new) == (SubscriptionState("enabled", "old"), ["new"], True)

    def test_one_that_waits_for_its_challenge_need_not_stay(self) -> None:
        old = subscription("old", "webhook_callback_verification_pending")
        new = subscription("new", "webhook_callback_verification_pending", callback=ROTATED)
        assert self.observe(old, new) == (SubscriptionState("pending", "new"), ["old"], False)


@pytest.mark.parametrize(
    ("callback", "ours"),
    [
        (CALLBACK, True),
        (ROTATED, True),
        ("https://another-stage.example/webhooks/twitch", False),
        (f"{CALLBACK}/2", False),
        ("", False),
    ],
)
def test_what_leads_to_our_webhook_is_ours(callback: str, ours: bool) -> None:
    assert leads_here(subscription(callback=callback), CALLBACK) is ours


@given(subscription_lists, known_states)
def test_every_subscription_is_kept_for_a_reason_or_too_much(
    listed: list[Subscription], known: dict[str, SubscriptionState]
) -> None:
    observation = observe(listed, CALLBACK, known, NOW)
    surplus = {entry.id for entry in observation.surplus}
    states = {state.subscription_id for state in observation.states.values() if state.live}
    kept = {entry.id for entry in listed} - surplus
    assert states <= kept
    for entry in listed:
        if entry.id in kept - states:
            # A successor that waits for its challenge while a former one is delivered.
            match = attribution(entry)
            assert match is not None
            assert observation.states[match.topic.key].status == "enabled"
            assert (entry.callback, entry.status) == (CALLBACK, "webhook_callback_verification_pending")
    assert observation.outdated <= {key for key, state in observation.states.items() if state.live}


@given(subscription_lists, known_states)
def test_after_a_look_at_the_list_nothing_is_believed_to_be_live_that_is_not(
    listed: list[Subscription], known: dict[str, SubscriptionState]
) -> None:
    states = verified(known, observe(listed, CALLBACK, known, NOW).states)
    live_at_twitch = {entry.id for entry in listed if SubscriptionState.of(entry.id, entry.status).live}
    assert {state.subscription_id for state in states.values() if state.live} <= live_at_twitch


def test_a_subscription_that_twitch_lost_is_missing() -> None:
    known = {ONLINE.key: SubscriptionState("enabled", "a")}
    assert verified(known, {}) == {ONLINE.key: SubscriptionState("failed", None, "lost_at_twitch")}


def test_the_reason_of_a_revocation_outlives_the_subscription() -> None:
    known = {ONLINE.key: SubscriptionState("revoked", None, "user_removed")}
    assert verified(known, {}) == known


def test_a_list_is_older_than_the_table_if_it_lacks_a_live_subscription() -> None:
    assert unseen({ONLINE.key: SubscriptionState("pending", "new")}, [subscription("a")])
    assert not unseen({ONLINE.key: SubscriptionState("pending", "a")}, [subscription("a")])
    assert not unseen({ONLINE.key: SubscriptionState("revoked", None, "user_removed")}, [subscription("a")])


def keys_to_create(known: dict[str, SubscriptionState], *grants: Grant) -> set[str]:
    return {topic.key for topic in to_create(known, STREAMER, grants, NOW)}


def test_what_is_live_limited_or_lately_refused_is_not_subscribed() -> None:
    known = {
        "stream.online": SubscriptionState("enabled", "a"),
        "stream.offline": SubscriptionState("pending", "b"),
        "channel.update": SubscriptionState("absent", None, "limited"),
        "channel.raid:to": SubscriptionState("failed", None, "invalid", 1, NOW + 1),
        "channel.raid:from": SubscriptionState("failed", None, "invalid", 1, NOW),
        "user.update": SubscriptionState("revoked", None, "version_removed"),
    }
    assert keys_to_create(known) == {"channel.raid:from", "user.update"}


class TestConsent:
    streamers = Grant(STREAMER, 100, SCOPES)
    moderators = Grant(MODERATOR, 200, frozenset({"moderator:read:followers"}))

    def test_the_streamers_unlocks_everything(self) -> None:
        assert keys_to_create({}) == FREE
        assert keys_to_create({}, self.streamers) == {topic.key for topic in SUBSCRIPTION_TYPES}

    def test_a_moderators_unlocks_follows(self) -> None:
        assert keys_to_create({}, self.moderators) == FREE | {"channel.follow"}

    def test_a_moderator_cannot_consent_for_the_streamer(self) -> None:
        assert keys_to_create({}, Grant(MODERATOR, 200, SCOPES)) == FREE | {"channel.follow"}

    def test_a_scope_that_twitch_refused_unlocks_nothing(self) -> None:
        assert "channel.cheer" not in keys_to_create({}, Grant(STREAMER, 100, SCOPES - {"bits:read"}))

    def test_the_streamers_own_is_tried_first(self) -> None:
        later = Grant("78", 300, self.moderators.scopes)
        tried = consents(FOLLOW, STREAMER, [self.moderators, self.streamers, later])
        assert tried == [self.streamers, later, self.moderators]

    def test_without_it_a_topic_says_so(self) -> None:
        settled = settle({}, STREAMER, [])
        assert settled[CHEER.key] == SubscriptionState("absent", None, "consent_required")
        assert settled[ONLINE.key] == SubscriptionState("absent")

    def test_a_revoked_topic_goes_on_saying_why(self) -> None:
        revoked = {CHEER.key: SubscriptionState("revoked", None, "authorization_revoked")}
        assert settle(revoked, STREAMER, [])[CHEER.key] == revoked[CHEER.key]

    def test_once_given_the_topic_no_longer_says_that_it_is_missing(self) -> None:
        missing = {CHEER.key: SubscriptionState("absent", None, "consent_required")}
        assert settle(missing, STREAMER, [self.streamers])[CHEER.key] == SubscriptionState("absent")


def test_what_twitch_refuses_is_tried_again_ever_less_often() -> None:
    state, now, waits = None, NOW, []
    for _ in range(12):
        state = refused("invalid", state, now)
        waits.append(state.retry_at - now)
        now = state.retry_at
    assert waits[:3] == [240, 480, 960]
    assert waits[-1] == LONGEST_RETRY_SECONDS
    assert waits == sorted(waits)


@pytest.mark.parametrize(
    ("known", "age", "expected"),
    [
        ({}, NOW, False),
        ({ONLINE.key: SubscriptionState("enabled", "a")}, TRUSTED_SECONDS, False),
        ({ONLINE.key: SubscriptionState("enabled", "a")}, TRUSTED_SECONDS + 1, True),
        ({ONLINE.key: SubscriptionState("pending", "a")}, CHALLENGE_SECONDS, False),
        ({ONLINE.key: SubscriptionState("pending", "a")}, CHALLENGE_SECONDS + 1, True),
        ({ONLINE.key: SubscriptionState("failed", None, "forbidden")}, NOW, False),
    ],
    ids=["a new channel", "lately", "long ago", "just challenged", "challenged before", "nothing is live"],
)
def test_twitch_is_asked_about_topics_that_may_have_changed(
    known: dict[str, SubscriptionState], age: int, expected: bool
) -> None:
    assert needs_verification(known, NOW - age, NOW) is expected


class TestBudget:
    """Twitch's ``max_total_cost`` is 100 here."""

    expenses = st.lists(
        st.builds(
            Expense.of,
            st.sampled_from(SUBSCRIPTION_TYPES),
            st.sampled_from(["1", "2", "3", "4"]),
            st.integers(0, 3),
            st.integers(1, 2),
        ),
        max_size=120,
        unique_by=lambda expense: (expense.streamer_id, expense.key),
    )

    def test_nothing_gives_way_while_there_is_room(self) -> None:
        assert to_evict([Expense.of(ONLINE, "1", 5, 1)], 95, 100) == set()

    def test_low_priority_gives_way_first_and_then_the_least_watched(self) -> None:
        profile = SUBSCRIPTION_TYPE_BY_KEY["user.update"]
        expenses = [
            Expense.of(topic, streamer, viewers, 1)
            for topic in (ONLINE, profile)
            for streamer, viewers in (("crowded", 90), ("quiet", 1), ("empty", 0))
        ]
        two_too_much = to_evict(expenses, total_cost=20, max_total_cost=20)
        assert two_too_much == {("empty", profile.key), ("quiet", profile.key)}
        four_too_much = to_evict(expenses, total_cost=40, max_total_cost=40)
        assert four_too_much - two_too_much == {("crowded", profile.key), ("empty", ONLINE.key)}

    @given(expenses)
    def test_no_more_gives_way_than_must_and_the_most_important_last(self, expenses: list[Expense]) -> None:
        total = sum(expense.cost for expense in expenses)
        evicted = to_evict(expenses, total, 100)
        kept = [one for one in expenses if (one.streamer_id, one.key) not in evicted]
        gone = [one for one in expenses if (one.streamer_id, one.key) in evicted]
        assert not gone or total > 95
        if gone:
            assert sum(one.cost for one in kept) <= 90
            assert sum(one.cost for one in kept) + min(gone).cost > 90
            assert not kept or max(kept) < min(gone)

    @given(expenses, st.integers(0, 120))
    def test_what_comes_back_leaves_room(self, expenses: list[Expense], total: int) -> None:
        restored = to_restore(expenses, total, 100)
        back = [one for one in expenses if (one.streamer_id, one.key) in restored]
        assert not back or total + sum(one.cost for one in back) <= 85
        rest = [one for one in expenses if one not in back]
        assert not back or not rest or max(back) < min(rest)
