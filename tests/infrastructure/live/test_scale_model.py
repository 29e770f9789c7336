"""The scale model runs with the settings of the stage ``prod``."""

from benchmarks.scale import deployment
from tests.infrastructure.template import Stage

QUEUES = {"broadcast": "Live/Feed/Queue", "fan-out": "Live/FanOut/Queue"}


def test_the_tables_have_the_models_keys(prod: Stage) -> None:
    keys = {
        path.lower(): tuple(key["AttributeName"] for key in table["KeySchema"])
        for path, table in prod.of_type("AWS::DynamoDB::Table").items()
    }
    assert {name: keys[name] for name in deployment.TABLES} == deployment.TABLES


def test_the_queues_have_the_models_settings(prod: Stage) -> None:
    queues = {name: prod.resources[path].properties for name, path in QUEUES.items()}
    assert {
        name: {
            "visibility_timeout": queue["VisibilityTimeout"],
            "max_receive_count": queue["RedrivePolicy"]["maxReceiveCount"],
        }
        for name, queue in queues.items()
    } == deployment.QUEUES


def test_the_event_sources_have_the_models_settings(prod: Stage) -> None:
    sources = {
        source["EventSourceArn"]: {
            "batch_size": source["BatchSize"],
            "max_concurrency": source["ScalingConfig"]["MaximumConcurrency"],
        }
        for source in prod.of_type("AWS::Lambda::EventSourceMapping").values()
        if "MaximumBatchingWindowInSeconds" not in source
    }
    assert {name: sources[f"{{{path}.Arn}}"] for name, path in QUEUES.items()} == deployment.SOURCES


def test_the_broadcaster_has_the_models_settings(prod: Stage) -> None:
    function = prod.resources["Live/Broadcaster"].properties
    assert function["Timeout"] == deployment.TIMEOUT_SECONDS
    assert function["ReservedConcurrentExecutions"] == deployment.RESERVED_CONCURRENCY


def test_the_functions_have_the_models_settings(prod: Stage) -> None:
    functions = [prod.resources[f"Live/{name}"].properties for name in ("Broadcaster", "Connection")]
    variables = {name for function in functions for name in function["Environment"]["Variables"]}
    assert variables >= deployment.ENVIRONMENT.keys()


def test_the_routes_have_the_models_throttles(prod: Stage) -> None:
    stages = [prod.resources[path].properties for path in ("HttpStage", "Live/Stage")]
    throttles = stages[0]["DefaultRouteSettings"], stages[1]["RouteSettings"]["ping"]
    assert tuple(
        (throttle["ThrottlingRateLimit"], throttle["ThrottlingBurstLimit"]) for throttle in throttles
    ) == (deployment.WATCH_THROTTLE, deployment.PING_THROTTLE)
