"""What Twitch's list means for a channel, what is missing, what is deleted, and what the budget limits."""

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.subscriptions.model import Grant, Subscription
from lambdas.subscriptions.plan import (
    CHALLENGE_SECONDS,
    LASTING_RETRY_SECONDS,
    PENDING_SECONDS,
    TRANSIENT_RETRY_SECONDS,
    TRUSTED_SECONDS,
    CostItem,
    apply_consent,
    back_off,
    classify,
    merge_states,
    needs_verification,
    share_budget,
    to_create,
    unlisted,
    usable_grants,
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
FREE = {row.key for row in SUBSCRIPTION_TYPES if row.consent == "none"}

STATUSES = (
    "enabled",
    "webhook_callback_verification_pending",
    "webhook_callback_verification_failed",
    "authorization_revoked",
)


def subscription(
    subscription_id: str = "a",
    status: str = "enabled",
    key: str = ONLINE.key,
    callback: str = CALLBACK,
    age: int = 60,
) -> Subscription:
    row = SUBSCRIPTION_TYPE_BY_KEY[key]
    created_at = datetime.fromtimestamp(NOW - age, UTC).isoformat()
    condition = row.condition(STREAMER)
    return Subscription(
        subscription_id, status, row.event_type, row.version, condition, callback, 1, created_at
    )


states = st.builds(SubscriptionState.from_twitch, st.sampled_from("abcdef"), st.sampled_from(STATUSES))
known_states = st.dictionaries(st.sampled_from([row.key for row in SUBSCRIPTION_TYPES]), states)
subscription_lists = st.lists(
    st.builds(
        subscription,
        st.sampled_from("abcdef"),
        st.sampled_from(STATUSES),
        st.sampled_from([row.key for row in SUBSCRIPTION_TYPES]),
        st.sampled_from((CALLBACK, ROTATED)),
        st.sampled_from((60, PENDING_SECONDS + 1)),
    ),
    unique_by=lambda entry: entry.id,
)


def test_a_live_subscription_sets_its_types_state() -> None:
    classification = classify([subscription("a")], CALLBACK, {}, NOW)
    assert classification.states == {ONLINE.key: SubscriptionState("enabled", "a")}
    assert (classification.surplus, classification.outdated) == ([], frozenset())


def test_a_dead_subscription_is_deleted_and_its_reason_kept() -> None:
    dead = subscription("a", "user_removed")
    classification = classify([dead], CALLBACK, {}, NOW)
    assert classification.states == {ONLINE.key: SubscriptionState("revoked", None, "user_removed")}
    assert classification.surplus == [dead]


def test_a_challenge_that_is_never_answered_has_failed() -> None:
    waiting = subscription("a", "webhook_callback_verification_pending", age=PENDING_SECONDS)
    assert classify([waiting], CALLBACK, {}, NOW).states[ONLINE.key].status == "pending"
    failed = classify([waiting], CALLBACK, {}, NOW + 1)
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
    classification = classify([entries[index] for index in order], CALLBACK, known, NOW)
    assert classification.states == {ONLINE.key: SubscriptionState("enabled", "new")}
    assert {entry.id for entry in classification.surplus} == {"known", "old"}


@pytest.mark.parametrize("known_id", ["a", "b"])
def test_of_two_live_ones_the_known_one_stays(known_id: str) -> None:
    known = {ONLINE.key: SubscriptionState("pending", known_id)}
    classification = classify([subscription("a"), subscription("b")], CALLBACK, known, NOW)
    assert classification.states == {ONLINE.key: SubscriptionState("enabled", known_id)}
    assert [entry.id for entry in classification.surplus] == ["b" if known_id == "a" else "a"]


class TestWhenTheCallbackChanges:
    """A new secret changes it, too: the callback tells the version."""

    old = subscription("old")

    def classify(self, *subscriptions: Subscription) -> tuple[SubscriptionState, list[str], bool]:
        known = {ONLINE.key: SubscriptionState("enabled", "old")}
        classification = classify(subscriptions, ROTATED, known, NOW)
        surplus = [entry.id for entry in classification.surplus]
        return classification.states[ONLINE.key], surplus, ONLINE.key in classification.outdated

    def test_the_former_subscription_stays_and_needs_a_replacement(self) -> None:
        assert self.classify(self.old) == (SubscriptionState("enabled", "old"), [], True)

    def test_it_stays_until_the_replacement_has_answered_its_challenge(self) -> None:
        new = subscription("new", "webhook_callback_verification_pending", callback=ROTATED)
        assert self.classify(self.old, new) == (SubscriptionState("enabled", "old"), [], False)

    def test_then_it_is_deleted(self) -> None:
        new = subscription("new", callback=ROTATED)
        assert self.classify(self.old, new) == (SubscriptionState("enabled", "new"), ["old"], False)

    def test_a_replacement_that_failed_does_not_count(self) -> None:
        new = subscription("new", "webhook_callback_verification_failed", callback=ROTATED)
        assert self.classify(self.old, new) == (SubscriptionState("enabled", "old"), ["new"], True)

    def test_one_that_waits_for_its_challenge_need_not_stay(self) -> None:
        old = subscription("old", "webhook_callback_verification_pending")
        new = subscription("new", "webhook_callback_verification_pending", callback=ROTATED)
        assert self.classify(old, new) == (SubscriptionState("pending", "new"), ["old"], False)


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
def test_a_subscription_delivers_to_our_webhook_whatever_the_query(callback: str, ours: bool) -> None:
    assert subscription(callback=callback).delivers_to(CALLBACK) is ours


@given(subscription_lists, known_states)
def test_every_subscription_is_used_or_a_replacement_or_deleted(
    listed: list[Subscription], known: dict[str, SubscriptionState]
) -> None:
    classification = classify(listed, CALLBACK, known, NOW)
    surplus = {entry.id for entry in classification.surplus}
    states = {state.subscription_id for state in classification.states.values() if state.live}
    kept = {entry.id for entry in listed} - surplus
    assert states <= kept
    for entry in listed:
        if entry.id in kept - states:
            # A replacement that waits for its challenge while a former one is delivered.
            match = entry.target
            assert match is not None
            assert classification.states[match.subscription_type.key].status == "enabled"
            assert (entry.callback, entry.status) == (CALLBACK, "webhook_callback_verification_pending")
    assert classification.outdated <= {key for key, state in classification.states.items() if state.live}


@given(subscription_lists, known_states)
def test_after_reading_the_list_only_what_it_contains_is_live(
    listed: list[Subscription], known: dict[str, SubscriptionState]
) -> None:
    states = merge_states(known, classify(listed, CALLBACK, known, NOW).states)
    live_at_twitch = {entry.id for entry in listed if entry.live}
    assert {state.subscription_id for state in states.values() if state.live} <= live_at_twitch


def test_a_subscription_that_twitch_lost_is_missing() -> None:
    known = {ONLINE.key: SubscriptionState("enabled", "a")}
    assert merge_states(known, {}) == {ONLINE.key: SubscriptionState("failed", None, "lost_at_twitch")}


def test_the_reason_of_a_revocation_outlives_the_subscription() -> None:
    known = {ONLINE.key: SubscriptionState("revoked", None, "user_removed")}
    assert merge_states(known, {}) == known


def test_a_list_may_lack_live_subscriptions() -> None:
    pending, revoked = SubscriptionState("pending", "new"), SubscriptionState("revoked", None, "user_removed")
    assert unlisted({ONLINE.key: pending}, [subscription("a")]) == {ONLINE.key: pending}
    assert unlisted({ONLINE.key: pending}, [subscription("new")]) == {}
    assert unlisted({ONLINE.key: revoked}, [subscription("a")]) == {}


def keys_to_create(known: dict[str, SubscriptionState], *grants: Grant) -> set[str]:
    return {row.key for row in to_create(known, STREAMER, grants, NOW)}


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

    def test_the_streamers_grant_allows_every_type(self) -> None:
        assert keys_to_create({}) == FREE
        assert keys_to_create({}, self.streamers) == {row.key for row in SUBSCRIPTION_TYPES}

    def test_a_moderators_grant_allows_follows(self) -> None:
        assert keys_to_create({}, self.moderators) == FREE | {"channel.follow"}

    def test_a_moderator_cannot_consent_for_the_streamer(self) -> None:
        assert keys_to_create({}, Grant(MODERATOR, 200, SCOPES)) == FREE | {"channel.follow"}

    def test_a_scope_that_twitch_refused_allows_nothing(self) -> None:
        assert "channel.cheer" not in keys_to_create({}, Grant(STREAMER, 100, SCOPES - {"bits:read"}))

    def test_the_streamers_own_is_tried_first(self) -> None:
        later = Grant("78", 300, self.moderators.scopes)
        tried = usable_grants(FOLLOW, STREAMER, [self.moderators, self.streamers, later])
        assert tried == [self.streamers, later, self.moderators]

    def test_without_it_the_state_says_so(self) -> None:
        states = apply_consent({}, STREAMER, [])
        assert states[CHEER.key] == SubscriptionState("absent", None, "consent_required")
        assert states[ONLINE.key] == SubscriptionState("absent")

    def test_a_revoked_subscription_keeps_its_reason(self) -> None:
        revoked = {CHEER.key: SubscriptionState("revoked", None, "authorization_revoked")}
        assert apply_consent(revoked, STREAMER, [])[CHEER.key] == revoked[CHEER.key]

    def test_once_given_it_is_no_longer_required(self) -> None:
        missing = {CHEER.key: SubscriptionState("absent", None, "consent_required")}
        assert apply_consent(missing, STREAMER, [self.streamers])[CHEER.key] == SubscriptionState("absent")


@pytest.mark.parametrize(
    ("transient", "first", "longest"), [(False, *LASTING_RETRY_SECONDS), (True, *TRANSIENT_RETRY_SECONDS)]
)
@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_what_fails_is_tried_again_ever_less_often(
    transient: bool, first: int, longest: int, chance: float
) -> None:
    state, now, waits = None, NOW, []
    for _ in range(30):
        state = back_off("a_reason", state, now, transient=transient, chance=chance)
        waits.append(state.retry_at - now)
        now = state.retry_at
    assert waits[:3] == [first * (1 + chance), 2 * first * (1 + chance), 4 * first * (1 + chance)]
    assert waits[-1] == longest * (1 + chance)
    assert waits == sorted(waits)


def test_what_fails_is_not_tried_before_twitch_allows_it() -> None:
    state = back_off("rate_limited", None, NOW, transient=True, chance=0.0, at_least=50)
    assert state.retry_at == NOW + 50


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
def test_states_that_may_have_changed_are_compared_with_twitchs_list(
    known: dict[str, SubscriptionState], age: int, expected: bool
) -> None:
    assert needs_verification(known, NOW - age, NOW) is expected


class TestBudget:
    """Twitch's ``max_total_cost`` is 100 here."""

    items = st.lists(
        st.builds(
            CostItem.of,
            st.sampled_from(SUBSCRIPTION_TYPES),
            st.sampled_from(["1", "2", "3", "4"]),
            st.integers(0, 3),
            st.integers(1, 2),
        ),
        max_size=120,
        unique_by=lambda item: (item.streamer_id, item.key),
    )

    def test_nothing_is_limited_while_there_is_room(self) -> None:
        assert share_budget([CostItem.of(ONLINE, "1", 5, 1)], [], 95, 100) == (set(), set())

    def test_the_unwatched_are_limited_first_then_low_priority_then_the_least_watched(self) -> None:
        profile = SUBSCRIPTION_TYPE_BY_KEY["user.update"]
        items = [
            CostItem.of(row, streamer, viewers, 1)
            for row in (ONLINE, profile)
            for streamer, viewers in (("crowded", 90), ("quiet", 1), ("empty", 0))
        ]
        two_too_much, _ = share_budget(items, [], total_cost=20, max_total_cost=20)
        assert two_too_much == {("empty", profile.key), ("empty", ONLINE.key)}
        four_too_much, _ = share_budget(items, [], total_cost=40, max_total_cost=40)
        assert four_too_much - two_too_much == {("quiet", profile.key), ("crowded", profile.key)}

    def test_the_unwatched_give_way_to_what_is_waited_for(self) -> None:
        used = [CostItem.of(row, "hoarded", 0, 1) for row in SUBSCRIPTION_TYPES[:5]]
        waiting = [CostItem.of(ONLINE, "newcomer", 1, 1)]
        assert share_budget(used, waiting, 85, 100) == (
            {("hoarded", max(used).key)},
            {("newcomer", ONLINE.key)},
        )
        assert share_budget(used, [CostItem.of(ONLINE, "newcomer", 0, 1)], 85, 100) == (set(), set())
        watched = [CostItem.of(row, "crowded", 1, 1) for row in SUBSCRIPTION_TYPES[:5]]
        assert share_budget(watched, waiting, 85, 100) == (set(), set())

    @given(items)
    def test_no_more_is_limited_than_necessary_and_the_most_important_last(
        self, items: list[CostItem]
    ) -> None:
        total = sum(item.cost for item in items)
        limited, _ = share_budget(items, [], total, 100)
        kept = [one for one in items if (one.streamer_id, one.key) not in limited]
        gone = [one for one in items if (one.streamer_id, one.key) in limited]
        assert not gone or total > 95
        if gone:
            assert sum(one.cost for one in kept) <= 90
            assert sum(one.cost for one in kept) + min(gone).cost > 90
            assert not kept or max(kept) < min(gone)

    @given(items, st.integers(0, 120))
    def test_what_is_restored_leaves_room(self, items: list[CostItem], total: int) -> None:
        _, restored = share_budget([], items, total, 100)
        back = [one for one in items if (one.streamer_id, one.key) in restored]
        assert not back or total + sum(one.cost for one in back) <= 85
        rest = [one for one in items if one not in back]
        assert not back or not rest or max(back) < min(rest)
