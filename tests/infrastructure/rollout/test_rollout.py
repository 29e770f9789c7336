"""In prod, CodeDeploy rolls new versions of the functions behind the two APIs out, and bad ones back."""

from tests.infrastructure.functions import BEHIND_APIS
from tests.infrastructure.template import Stage


def test_prod_moves_an_alias_of_each_function_behind_an_api(prod: Stage) -> None:
    groups = prod.of_type("AWS::CodeDeploy::DeploymentGroup")
    assert {path.removesuffix("/Rollout") for path in groups} == BEHIND_APIS
    for path, group in groups.items():
        assert group["DeploymentConfigName"] == "CodeDeployDefault.LambdaCanary10Percent5Minutes", path
        assert group["AlarmConfiguration"]["Enabled"], path
        assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"], path


def test_apis_call_the_aliases_and_queues_the_functions(prod: Stage) -> None:
    for path, integration in prod.of_type("AWS::ApiGatewayV2::Integration").items():
        assert "/Live}" in integration["IntegrationUri"], path
    for path, source in prod.of_type("AWS::Lambda::EventSourceMapping").items():
        assert source["FunctionName"] in {
            "{History/Recorder}",
            "{Live/Broadcaster}",
            "{Subscriptions/Subscriber}",
        }, path


def test_other_stages_change_at_once(local: Stage) -> None:
    assert local.of_type("AWS::CodeDeploy::DeploymentGroup") == {}
    assert local.of_type("AWS::Lambda::Alias") == {}


def test_only_errors_of_the_new_version_roll_it_back(prod: Stage) -> None:
    for function in BEHIND_APIS:
        alarm = prod.resources[f"{function}/NewVersionFailing"].properties
        share, *counted = alarm["Metrics"]
        assert share["Expression"] == "100 * errors / requests"
        for metric in counted:
            dimensions = {
                found["Name"]: found["Value"] for found in metric["MetricStat"]["Metric"]["Dimensions"]
            }
            version = prod.resources[f"{function}/Live"].properties["FunctionVersion"]
            assert dimensions["ExecutedVersion"] == version
            assert dimensions["Resource"].endswith(":live")
        # A share, and not of one minute: an error by chance is none of the release's.
        assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (5, "GreaterThanThreshold")
        assert (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (2, 5)
