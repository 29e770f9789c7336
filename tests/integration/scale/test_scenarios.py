"""The short form of ``make scale``, and that it sees what would be wrong."""

import dataclasses
from typing import Any

import pytest

from benchmarks.scale import scenarios
from lambdas.live import unserved
from lambdas.live.inboxes import Inboxes
from lambdas.live.serving import Serving
from lambdas.subscriptions import plan
from lambdas.subscriptions.points import Points

SHORT: list[tuple[str, dict[str, float]]] = [
    ("ten_thousand", {"seconds": 10.0}),
    ("hundred_thousand", {"size": 0.1, "seconds": 10.0}),
    ("raised_quota", {"size": 0.1, "seconds": 6.0}),
    ("small_beside_large", {"size": 0.1, "seconds": 15.0}),
    ("many_channels", {"size": 0.02, "seconds": 15.0}),
    ("some_never_read", {"size": 0.05, "seconds": 32.0}),
    ("one_never_reads", {}),
    ("half_leave", {"size": 0.1, "seconds": 20.0}),
    ("join_at_once", {"size": 0.01, "seconds": 5.0}),
    ("invocations_die", {"size": 0.1, "seconds": 20.0}),
    ("answers_lost", {"size": 0.1, "seconds": 60.0}),
    ("dynamodb_silent", {"size": 0.05, "seconds": 60.0}),
    ("posts_forbidden", {"size": 0.05, "seconds": 60.0}),
    ("bursts", {"seconds": 30.0}),
    ("one_new_channel", {"size": 0.05}),
    ("many_new_channels", {"size": 0.05}),
    ("an_hour_with_faults", {"size": 0.01, "seconds": 1200.0}),
    ("hostile_account", {"size": 0.2}),
]


@pytest.mark.parametrize(("name", "form"), SHORT, ids=[name for name, _ in SHORT])
def test_a_smaller_scenario_shows_what_the_whole_one_must_show(name: str, form: dict[str, Any]) -> None:
    row = scenarios.BY_NAME[name](**form)
    assert row.ok, row


def test_every_scenario_has_a_short_form() -> None:
    assert [name for name, _ in SHORT] == list(scenarios.BY_NAME)


def test_a_run_depends_on_the_seed_alone() -> None:
    first, again, other = (scenarios.invocations_die(seed, size=0.05, seconds=10.0) for seed in (3, 3, 4))
    assert dataclasses.asdict(first) == dataclasses.asdict(again)
    assert first.figures != other.figures


def test_without_a_shared_count_twitchs_limit_is_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Points, "take", lambda *_: True)
    row = scenarios.BY_NAME["many_new_channels"](size=0.2)
    assert not row.ok
    assert row.figures["calls in a minute"] > 800


def test_without_a_longer_wait_each_time_one_failing_type_uses_up_the_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    form: dict[str, Any] = {"size": 0.01, "seconds": 1200.0}
    before = scenarios.BY_NAME["an_hour_with_faults"](**form).figures["calls to Twitch"]
    monkeypatch.setattr(plan, "TRANSIENT_RETRY_SECONDS", (5, 5))
    assert scenarios.BY_NAME["an_hour_with_faults"](**form).figures["calls to Twitch"] > 2 * before


def test_without_leases_the_budget_is_exceeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inboxes, "take_lease", lambda *_: True)
    row = scenarios.ten_thousand(size=0.05, seconds=3.0)
    assert not row.ok


def test_without_a_look_after_the_release_events_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(self: Serving, token: str, until: float) -> None:
        if not self._inboxes.take_lease(self._part, token, self._requested_with):
            return
        if self._serve_all(until):
            self._inboxes.release_lease(self._part, token)
        else:
            self._hand_over(token)

    monkeypatch.setattr(Serving, "serve", serve)
    row = scenarios.bursts(seconds=30.0)
    assert any(problem.startswith("latest") for problem in row.problems)


def test_a_viewer_who_never_reads_stays_if_nobody_drops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unserved, "FULL_SECONDS", float("inf"))
    row = scenarios.some_never_read(size=0.05, seconds=32.0)
    assert row.figures["still there after 30 s"] == 5
    assert not row.ok
