"""What holds for every function, and what each is told."""

from pathlib import Path

import pytest

from tests.infrastructure.template import Stage

JOBS = {
    "webhook": {"EVENTS_TOPIC_ARN", "WEBHOOK_SECRET_ARN"},
    "authorizer": {"TICKETS_TABLE"},
    "connection": {"CONNECTIONS_TABLE"},
    "broadcaster": {
        "CONNECTIONS_TABLE",
        "CONNECTIONS_ENDPOINT",
        "INBOXES_TABLE",
        "BROADCAST_QUEUE_URL",
        "FAN_OUT_QUEUE_URL",
    },
    "watch": {
        "BROADCAST_QUEUE_URL",
        "CHANNELS_TABLE",
        "GRANTS_TABLE",
        "OVERLAYS_TABLE",
        "STREAMER_PROVIDER",
        "TICKETS_TABLE",
        "TWITCH_SECRET_ARN",
        "WEBHOOK_SECRET_ARN",
        "WEBHOOK_URL",
        "WEBSOCKET_URL",
        "TWITCH_API_URL",
        "TWITCH_AUTH_URL",
    },
    "overlay": {"OVERLAYS_TABLE"},
    "reconciler": {
        "BROADCAST_QUEUE_URL",
        "CHANNELS_TABLE",
        "CONNECTIONS_TABLE",
        "GRANTS_TABLE",
        "TWITCH_SECRET_ARN",
        "WEBHOOK_SECRET_ARN",
        "WEBHOOK_URL",
        "TWITCH_API_URL",
        "TWITCH_AUTH_URL",
        "GRACE_PERIOD_SECONDS",
    },
    "notices": {"BROADCAST_QUEUE_URL", "CHANNELS_TABLE", "GRANTS_TABLE"},
    "recorder": set(),
    "query": set(),
    "archiver": {"PARTITION_SECONDS", "RETENTION_SECONDS", "EXPORTS_BUCKET"},
    "migrator": {"PARTITION_SECONDS"},
    "postmigrator": set(),
}
DATABASE_JOBS = {"recorder", "query", "archiver", "migrator", "postmigrator"}
DATABASE = {"DATABASE_HOST", "DATABASE_PORT", "DATABASE_NAME", "DATABASE_USER"}


@pytest.mark.parametrize("job", sorted(JOBS))
def test_a_function_runs_on_arm_with_python_3_14(prod: Stage, job: str) -> None:
    function = prod.function(job)
    assert function["FunctionName"] == f"fanfare-prod-{job}"
    assert function["Architectures"] == ["arm64"]
    assert function["Runtime"] == "python3.14"
    assert function["Handler"].endswith(f".{job}.handler")


@pytest.mark.parametrize("job", sorted(JOBS))
def test_a_function_is_told_what_it_uses(prod: Stage, local: Stage, job: str) -> None:
    common = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "LOG_LEVEL"}
    history = job in DATABASE_JOBS
    expected = JOBS[job] | common | (DATABASE if history else set())
    for stage, sign_in in ((prod, "DATABASE_CA_FILE"), (local, "DATABASE_SECRET_ARN")):
        variables = stage.function(job)["Environment"]["Variables"]
        assert variables.keys() == expected | ({sign_in} if history else set())
        assert variables["POWERTOOLS_SERVICE_NAME"] == job


@pytest.mark.parametrize("job", sorted(JOBS))
def test_a_function_logs_into_its_own_group_that_forgets(prod: Stage, job: str) -> None:
    path = prod.function(job)["LoggingConfig"]["LogGroup"].strip("{}")
    group = prod.resources[path].properties
    assert group["LogGroupName"] == f"/aws/lambda/fanfare-prod-{job}"
    assert group["RetentionInDays"] == 90


def test_only_the_functions_of_the_database_are_in_its_network(prod: Stage) -> None:
    inside = {job for job in JOBS if "VpcConfig" in prod.function(job)}
    assert inside == DATABASE_JOBS


def test_no_secret_is_in_a_template(prod: Stage, local: Stage) -> None:
    for stage in (prod, local):
        providers = stage.of_type("AWS::Cognito::UserPoolIdentityProvider").values()
        assert len(providers) == 2
        for provider in providers:
            for field in ("client_id", "client_secret"):
                assert provider["ProviderDetails"][field].startswith("{{resolve:secretsmanager:fanfare/")
        secrets = stage.of_type("AWS::SecretsManager::Secret").values()
        assert all("SecretString" not in secret for secret in secrets)
        assert all("SecretString:" not in part for text in stage.texts for part in _plain(text))


def _plain(text: str) -> list[str]:
    """The template without its dynamic references."""
    return [part.partition("}}")[2] for part in text.split("{{resolve:")][1:]


def test_the_functions_are_the_modules_of_the_handlers_folder(prod: Stage) -> None:
    handlers = Path(__file__).parents[3] / "lambdas" / "handlers"
    names = {function.get("FunctionName") for function in prod.of_type("AWS::Lambda::Function").values()}
    own = {name.removeprefix("fanfare-prod-") for name in names if isinstance(name, str)}
    assert own == {path.stem for path in handlers.glob("[!_]*.py")}
