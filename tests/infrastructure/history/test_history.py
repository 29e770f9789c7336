"""History: the read routes, the schedule, and migrations before code."""

import pytest
from pydantic import ValidationError

from cdk.settings import Settings
from tests.infrastructure.template import Stage


def test_anyone_may_read(prod: Stage) -> None:
    reads = {
        route["RouteKey"]: route
        for route in prod.of_type("AWS::ApiGatewayV2::Route").values()
        if route["RouteKey"].startswith(("GET ", "HEAD "))
    }
    # Without a route for it, `curl -I` would be answered 404.
    assert reads.keys() == {
        f"{method} /api/{path}"
        for method in ("GET", "HEAD")
        for path in (
            "channels/{login}/events",
            "channels/{login}/counts",
            "channels/{login}/counts/daily",
            "channels/{login}/counts/minutely",
            "leaderboard",
            "openapi.json",
        )
    }
    for route in reads.values():
        assert route["AuthorizationType"] == "NONE"
        integration = prod.resources[route["Target"].removeprefix("integrations/").strip("{}")]
        assert integration.properties["IntegrationUri"] == "{History/Query/Live}"
        assert integration.properties["PayloadFormatVersion"] == "2.0"


def test_an_alarm_tells_when_no_partition_is_ahead_or_nobody_looks(prod: Stage) -> None:
    alarm = prod.resources["Monitoring/Partitions"].properties
    assert alarm["Namespace"] == "Fanfare/prod"
    assert alarm["MetricName"] == "PartitionsAhead"
    assert alarm["Dimensions"] == [{"Name": "service", "Value": "archiver"}]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    assert alarm["Period"] == 6 * 3600
    assert alarm["TreatMissingData"] == "breaching"


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(60, 1), (600, 2), (3600, 15), (86400, 360), (7 * 86400, 360)]
)
def test_partitions_are_looked_after_before_they_end(seconds: int, minutes: int) -> None:
    settings = Settings(stage="some", partition_seconds=seconds, retention_seconds=seconds)
    assert settings.upkeep_minutes == minutes


@pytest.mark.parametrize(
    ("partition", "retention", "named"),
    [
        (3600, 90 * 86400, "retention_seconds: 2160 partitions would be kept, of at most 1000"),
        (60, 6 * 3600, "partition_seconds: .* raise it to 180"),
    ],
)
def test_more_partitions_than_the_database_bears_stop_the_synthesis(
    partition: int, retention: int, named: str
) -> None:
    with pytest.raises(ValidationError, match=named):
        Settings(stage="some", partition_seconds=partition, retention_seconds=retention)


@pytest.mark.parametrize(
    ("partition", "retention"), [(86400, 900 * 86400), (3600, 40 * 86400), (60, 60), (180, 86400)]
)
def test_as_many_partitions_as_it_bears_may_be_kept(partition: int, retention: int) -> None:
    Settings(stage="some", partition_seconds=partition, retention_seconds=retention)


def test_partitions_are_looked_after_four_times_a_day(prod: Stage) -> None:
    rule = prod.resources["History/ArchiverSchedule"].properties
    assert rule["ScheduleExpression"] == "rate(6 hours)"
    assert [target["Arn"] for target in rule["Targets"]] == ["{History/Archiver.Arn}"]


def test_migrations_run_before_the_code_that_needs_them(prod: Stage) -> None:
    waiting = {
        path
        for path, found in prod.resources.items()
        if "History/Migrate/Default/Default" in found.depends_on
    }
    assert {"History/Recorder", "History/Query", "History/Archiver"} <= waiting
    assert any(path.startswith("History/Recorder/SqsEventSource") for path in waiting)


def test_migrations_that_take_something_away_run_when_everything_else_is_in_place(prod: Stage) -> None:
    last = "History/MigrateAfter/Default/Default"
    before = prod.resources[last].depends_on
    assert {"History/Recorder", "History/Query", "History/Archiver", "Live/Broadcaster"} <= before
    assert "Site/Pages/CustomResource/Default" in before
    assert not [path for path, found in prod.resources.items() if last in found.depends_on]


def test_migrations_run_again_when_their_package_changes(prod: Stage) -> None:
    trigger = prod.resources["History/Migrate/Default/Default"].properties
    assert trigger["ExecuteOnHandlerChange"] is True
    # A version stands for one state of the code and its configuration.
    assert trigger["HandlerArn"] == "{History/Migrator/CurrentVersion}"
    assert trigger["InvocationType"] == "RequestResponse"


def test_exports_outlive_the_stack_and_can_be_restored_for_a_month(prod: Stage) -> None:
    bucket = prod.resources["Exports"]
    assert bucket.deletion_policy == "Retain"
    assert bucket.properties["VersioningConfiguration"] == {"Status": "Enabled"}
    (rule,) = bucket.properties["LifecycleConfiguration"]["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert "ExpirationInDays" not in rule
