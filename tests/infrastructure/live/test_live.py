"""Live: the WebSocket API that viewers connect to."""

from tests.infrastructure.template import Stage


def _routes(stage: Stage) -> dict[str, dict[str, object]]:
    routes = stage.of_type("AWS::ApiGatewayV2::Route").values()
    return {route["RouteKey"]: route for route in routes if route["ApiId"] == "{Live/Api}"}


def test_a_ticket_in_the_query_opens_the_connection(prod: Stage) -> None:
    connect = _routes(prod)["$connect"]
    assert connect["AuthorizationType"] == "CUSTOM"
    authorizer = prod.resources[str(connect["AuthorizerId"]).strip("{}")].properties
    assert authorizer["AuthorizerType"] == "REQUEST"
    assert authorizer["IdentitySource"] == ["route.request.querystring.ticket"]
    assert "{Live/Authorizer/Live}" in authorizer["AuthorizerUri"]


def test_messages_are_told_apart_by_their_action(prod: Stage) -> None:
    api = prod.resources["Live/Api"].properties
    assert api["RouteSelectionExpression"] == "$request.body.action"
    assert _routes(prod).keys() == {"$connect", "$disconnect", "ping", "$default"}


def test_pings_and_unknown_actions_are_answered(prod: Stage) -> None:
    answering = {
        key
        for key, route in _routes(prod).items()
        if route.get("RouteResponseSelectionExpression") == "$default"
    }
    assert answering == {"ping", "$default"}
    assert len(prod.of_type("AWS::ApiGatewayV2::RouteResponse")) == 2


def test_one_function_handles_every_route(prod: Stage) -> None:
    for route in _routes(prod).values():
        integration = prod.resources[str(route["Target"]).removeprefix("integrations/").strip("{}")]
        assert "{Live/Connection/Live}" in integration.properties["IntegrationUri"]


def test_the_stage_is_throttled(prod: Stage) -> None:
    stage = prod.resources["Live/Stage"].properties
    assert (stage["StageName"], stage["AutoDeploy"]) == ("live", True)
    assert stage["DefaultRouteSettings"] == {"ThrottlingRateLimit": 500, "ThrottlingBurstLimit": 500}


def test_the_pings_of_100_000_viewers_have_room(prod: Stage) -> None:
    """They are 417 a second, every four minutes one; after as many have connected at once, 500."""
    settings = prod.resources["Live/Stage"].properties["RouteSettings"]
    assert settings == {"ping": {"ThrottlingRateLimit": 1000, "ThrottlingBurstLimit": 1000}}
