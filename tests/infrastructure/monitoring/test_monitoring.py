"""Alarms mean that something is wrong for users; the runbook says what to do about each."""

import json
import re

import pytest

from cdk.packaging import ROOT
from tests.infrastructure.functions import FUNCTIONS
from tests.infrastructure.template import Stage

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()


def alarms(stage: Stage) -> dict[str, dict[str, object]]:
    """The alarms that a person is told of, by name without the stage's prefix."""
    found = stage.of_type("AWS::CloudWatch::Alarm").values()
    return {
        str(alarm["AlarmName"]).removeprefix("fanfare-prod-"): alarm
        for alarm in found
        if "AlarmName" in alarm
    }


def test_every_alarm_has_an_entry_in_the_runbook_and_every_entry_an_alarm(prod: Stage) -> None:
    assert {*re.findall(r"(?m)^## (.+)$", RUNBOOK)} == alarms(prod).keys()


def test_every_entry_says_what_it_means_how_to_look_and_what_to_do() -> None:
    for entry in re.split(r"(?m)^## ", RUNBOOK)[1:]:
        name, text = entry.split("\n", 1)
        assert "**Means.**" in text, name
        assert "**Look" in text, name
        assert re.search(r"\*\*(Do\.|Look and do\.)\*\*", text), name


def test_links_within_the_runbook_lead_somewhere() -> None:
    entries = {heading.lower().replace(" ", "-") for heading in re.findall(r"(?m)^##? (.+)$", RUNBOOK)}
    assert {*re.findall(r"\]\(#([^)]+)\)", RUNBOOK)} <= entries


@pytest.mark.parametrize("page", ["deploying", "runbook", "scaling"])
def test_commands_of_the_documentation_exist(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    targets = {*re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text())}
    assert {*re.findall(r"\bmake ([a-z-]+)(?= [A-Z]+=|`|\s+#)", text)} <= targets


def test_planned_work_names_what_there_is(prod: Stage) -> None:
    data = json.loads(prod.paths["Data"].read_text())["Resources"]
    secrets = [name for name in data if name.startswith("WebhookSecret")]
    assert [data[name]["Type"] for name in secrets] == ["AWS::SecretsManager::Secret"]
    assert {*re.findall(r"Fanfare-prod-([A-Z]\w+)", RUNBOOK)} <= prod.paths.keys()
    planned = RUNBOOK.partition("# Planned work")[2]
    for work in ("Twitch client secret", "webhook secret", "engine", "domain", "firewall", "backup"):
        assert work in planned


@pytest.mark.parametrize(
    ("name", "metric", "above"),
    [
        ("delivery-slow", "DeliveryAge", 5000),
        ("deliveries-failing", "DeliveriesFailed", 10),
        ("deliveries-refused", "EventsRefused", 20),
        ("record-lagging", "ApproximateAgeOfOldestMessage", 300),
        ("broadcast-lagging", "ApproximateAgeOfOldestMessage", 30),
        ("websocket-failing", "IntegrationError", 10),
        ("archiver-failing", "Errors", 1),
        ("events-unrecordable", "EventsUnrecordable", 0),
        ("watermark-lagging", "WatermarkLag", 60),
        ("transaction-open", "OldestTransaction", 3600),
        ("exports-behind", "ExportsBehind", 2),
        ("totals-bloated", "DeadTotals", 300),
        ("totals-wrong", "TotalsWrong", 0),
    ],
)
def test_an_alarm_watches_one_figure_against_one_limit(
    prod: Stage, name: str, metric: str, above: float
) -> None:
    alarm = alarms(prod)[name]
    assert (alarm["MetricName"], alarm["Threshold"]) == (metric, above)
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"


def test_deliveries_that_failed_are_those_answered_429_or_5xx(prod: Stage) -> None:
    (counted,) = prod.of_type("AWS::Logs::MetricFilter").values()
    assert counted["FilterPattern"] == (
        '{ ($.routeKey = "POST /webhooks/twitch") && (($.status = "429") || ($.status = "5*")) }'
    )
    assert counted["LogGroupName"] == "{HttpStage/AccessLogs}"
    (transformation,) = counted["MetricTransformations"]
    alarm = alarms(prod)["deliveries-failing"]
    assert (transformation["MetricNamespace"], transformation["MetricName"]) == (
        alarm["Namespace"],
        alarm["MetricName"],
    )


def test_a_reconciler_that_does_not_run_is_an_alarm(prod: Stage) -> None:
    assert alarms(prod)["reconciler-failing"]["TreatMissingData"] == "breaching"


def test_metrics_are_of_this_stage_only(prod: Stage) -> None:
    for job in FUNCTIONS:
        variables = prod.function(job)["Environment"]["Variables"]
        assert variables["POWERTOOLS_METRICS_NAMESPACE"] == "Fanfare/prod"
    own = {alarm["Namespace"] for alarm in alarms(prod).values() if "Fanfare" in str(alarm.get("Namespace"))}
    assert own == {"Fanfare/prod"}


def test_the_dashboard_follows_an_event_and_shows_what_costs_money(prod: Stage) -> None:
    (dashboard,) = prod.of_type("AWS::CloudWatch::Dashboard").values()
    body = json.dumps(dashboard["DashboardBody"])
    for metric in (
        "EventsReceived",
        "EventsRecorded",
        "FramesDelivered",
        "DeliveryAge",
        "EventsRefused",
        "SubscriptionCost",
        "ApproximateAgeOfOldestMessage",
        "ServerlessDatabaseCapacity",
        "PartitionsAhead",
        "ExportsBehind",
        "WatermarkLag",
        "Invocations",
    ):
        assert metric in body, metric
