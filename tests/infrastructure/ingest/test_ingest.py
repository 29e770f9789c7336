"""Ingest: the public webhook and the topic behind it."""

import json

from cdk.history import READ_METHODS, READ_ROUTES
from cdk.packaging import API_ROUTES
from tests.infrastructure.template import Stage


def test_only_twitch_calls_the_apis_own_url_without_credentials(prod: Stage) -> None:
    open_routes = {
        route["RouteKey"]
        for route in prod.of_type("AWS::ApiGatewayV2::Route").values()
        if route["ApiId"] == "{HttpApi}" and route["AuthorizationType"] == "NONE"
    }
    assert open_routes == {"POST /webhooks/twitch"}


def test_what_anyone_may_call_comes_through_cloudfront_which_knows_a_secret(prod: Stage) -> None:
    routes = {
        route["RouteKey"]: route["AuthorizerId"]
        for route in prod.of_type("AWS::ApiGatewayV2::Route").values()
        if route["AuthorizationType"] == "CUSTOM" and route["ApiId"] == "{HttpApi}"
    }
    reads = {f"{method} {path}" for method in READ_METHODS for path in READ_ROUTES}
    assert routes.keys() == reads | {"POST /api/overlays/{login}/watch"}
    authorizer = prod.resources["HttpApi/ThroughCloudFront"].properties
    assert {*routes.values()} == {"{HttpApi/ThroughCloudFront}"}
    # A request without the header is refused by API Gateway itself.
    assert authorizer["IdentitySource"] == ["$request.header.x-origin-secret"]
    assert "{HttpApi/Cloudfront/Live}" in authorizer["AuthorizerUri"]
    assert authorizer["EnableSimpleResponses"] is True
    distribution = prod.resources["Site/Distribution"].properties["DistributionConfig"]
    (header,) = distribution["Origins"][1]["OriginCustomHeaders"]
    secret = "secretsmanager:{HttpApi/OriginSecret}:SecretString:::{OriginHeaderVersion}"
    assert header == {"HeaderName": "x-origin-secret", "HeaderValue": f"{{{{resolve:{secret}}}}}"}
    assert "OriginCustomHeaders" not in distribution["Origins"][0]


def test_what_viewers_call_needs_their_token_also_at_the_apis_own_url(prod: Stage) -> None:
    routes = {
        route["RouteKey"]: route["AuthorizerId"]
        for route in prod.of_type("AWS::ApiGatewayV2::Route").values()
        if route["AuthorizationType"] == "JWT"
    }
    keys = {f"{method} /api/overlays/{{login}}/key" for method in ("POST", "DELETE")}
    assert routes == dict.fromkeys(keys | {"POST /api/channels/{login}/watch"}, "{HttpApi/ViewerAuthorizer}")
    # None has a throttle of its own, so that the stage's is theirs.
    assert not routes.keys() & prod.resources["HttpStage"].properties["RouteSettings"].keys()


def test_every_route_of_the_site_is_described_in_the_apis_document(prod: Stage, twitch: Stage) -> None:
    keys = {
        route["RouteKey"]
        for stage in (prod, twitch)
        for route in stage.of_type("AWS::ApiGatewayV2::Route").values()
    }
    document = json.loads(API_ROUTES.read_text())
    described = {f"{method.upper()} {path}" for path, found in document["paths"].items() for method in found}
    # Reads are described where they are answered.
    reads = {f"{method} {path}" for method in READ_METHODS for path in READ_ROUTES}
    assert {key for key in keys if "/api/" in key} - reads == described
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            security = [name for alternative in operation.get("security", ()) for name in alternative]
            if path == "/api/session":
                assert security == (["session"] if method == "delete" else [])
            else:
                key = path == "/api/overlays/{login}/watch"
                assert security == (["overlay"] if key else ["viewer", "session"])


def test_the_http_api_is_throttled(prod: Stage) -> None:
    stage = prod.of_type("AWS::ApiGatewayV2::Stage")["HttpStage"]
    assert (stage["StageName"], stage["AutoDeploy"]) == ("$default", True)
    assert stage["DefaultRouteSettings"] == {"ThrottlingRateLimit": 500, "ThrottlingBurstLimit": 1000}


def test_deliveries_have_a_throttle_of_their_own(prod: Stage) -> None:
    settings = prod.resources["HttpStage"].properties["RouteSettings"]
    assert settings == {"POST /webhooks/twitch": {"ThrottlingRateLimit": 2000, "ThrottlingBurstLimit": 2000}}
    # API Gateway refuses settings of a route that is not there yet.
    (route,) = (
        path
        for path, found in prod.of_type("AWS::ApiGatewayV2::Route").items()
        if found["RouteKey"] == "POST /webhooks/twitch"
    )
    assert route in prod.resources["HttpStage"].depends_on


def test_the_topic_is_encrypted_and_takes_tls_only(prod: Stage) -> None:
    assert prod.resources["Ingest/Events"].properties["KmsMasterKeyId"].endswith(":alias/aws/sns")
    (statement,) = prod.resources["Ingest/Events/Policy"].properties["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_topic_has_three_subscriptions(prod: Stage) -> None:
    subscriptions = prod.of_type("AWS::SNS::Subscription").values()
    assert {found["Endpoint"]: found["FilterPolicy"]["message_type"] for found in subscriptions} == {
        "{History/Feed/Queue.Arn}": ["notification"],
        "{Live/Feed/Queue.Arn}": ["notification"],
        "{Subscriptions/Notices.Arn}": ["disconnection", "revocation", "webhook_callback_verification"],
    }
