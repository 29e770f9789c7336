"""Subscriptions: who may watch, and when subscriptions are reconciled."""

from tests.infrastructure.template import Stage


def test_watching_needs_a_token_of_the_pool(prod: Stage) -> None:
    (watch,) = (
        route
        for route in prod.of_type("AWS::ApiGatewayV2::Route").values()
        if route["RouteKey"] == "POST /api/channels/{login}/watch"
    )
    assert watch["AuthorizationType"] == "JWT"
    authorizer = prod.resources[watch["AuthorizerId"].strip("{}")].properties
    assert authorizer["IdentitySource"] == ["$request.header.Authorization"]
    assert authorizer["JwtConfiguration"] == {
        "Audience": ["{Identity/Site}"],
        "Issuer": "https://cognito-idp.{Region}.amazonaws.com/{Identity/Users}",
    }


def test_subscriptions_are_reconciled_every_five_minutes(prod: Stage) -> None:
    rule = prod.resources["Subscriptions/ReconcilerSchedule"].properties
    assert rule["ScheduleExpression"] == "rate(5 minutes)"
    assert [target["Arn"] for target in rule["Targets"]] == ["{Subscriptions/Reconciler.Arn}"]


def test_one_reconciliation_ends_before_the_next_begins(prod: Stage) -> None:
    assert prod.function("reconciler")["Timeout"] < 5 * 60
