"""What is the same for all functions, and the environment of each."""

import pytest

from tests.handlers import HANDLERS
from tests.infrastructure.functions import ALL_FUNCTIONS, CONSTRUCTS, DATABASE_FUNCTIONS, FUNCTIONS
from tests.infrastructure.template import Stage

COMMON = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "LOG_LEVEL"}
DATABASE = {"DATABASE_HOST", "DATABASE_PORT", "DATABASE_NAME", "DATABASE_USER"}


def test_the_functions_are_the_modules_of_the_handlers_folder(prod: Stage) -> None:
    found = prod.of_type("AWS::Lambda::Function")
    ours = {path: function for path, function in found.items() if function["Handler"].startswith("lambdas.")}
    assert {(function["FunctionName"], function["Handler"]) for function in ours.values()} == {
        (f"fanfare-prod-{job}", f"lambdas.handlers.{job}.handler") for job in FUNCTIONS
    }
    assert ours.keys() == CONSTRUCTS


def test_every_function_has_its_row_in_the_table() -> None:
    assert sorted(ALL_FUNCTIONS) == [*HANDLERS]


@pytest.mark.parametrize("job", FUNCTIONS)
def test_a_function_runs_on_arm_with_python_3_14(prod: Stage, job: str) -> None:
    function = prod.function(job)
    assert (function["Architectures"], function["Runtime"]) == (["arm64"], "python3.14")


@pytest.mark.parametrize("job", FUNCTIONS)
def test_a_functions_environment_is_what_it_uses(prod: Stage, local: Stage, job: str) -> None:
    history = FUNCTIONS[job].in_database_network
    expected = FUNCTIONS[job].environment | COMMON | (DATABASE if history else set())
    for stage, sign_in in ((prod, "DATABASE_CA_FILE"), (local, "DATABASE_SECRET_ARN")):
        variables = stage.function(job)["Environment"]["Variables"]
        assert variables.keys() == expected | ({sign_in} if history else set())
        assert variables["POWERTOOLS_SERVICE_NAME"] == job


@pytest.mark.parametrize("job", FUNCTIONS)
def test_a_function_logs_into_its_own_group_which_expires(prod: Stage, job: str) -> None:
    path = prod.function(job)["LoggingConfig"]["LogGroup"].strip("{}")
    group = prod.resources[path].properties
    assert group["LogGroupName"] == f"/aws/lambda/fanfare-prod-{job}"
    assert group["RetentionInDays"] == 90


def test_only_the_functions_of_the_database_are_in_its_network(prod: Stage) -> None:
    assert [job for job in FUNCTIONS if "VpcConfig" in prod.function(job)] == DATABASE_FUNCTIONS


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
