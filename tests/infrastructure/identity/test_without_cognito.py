"""``sign_in: "twitch"``: the same stage without Cognito, with the function ``session`` and its table."""

import json

import pytest

from tests.infrastructure.differences import differences, only_in
from tests.infrastructure.functions import FUNCTIONS, SESSION
from tests.infrastructure.stages.test_functions import COMMON
from tests.infrastructure.stages.test_grants import GRANTS, logging_of
from tests.infrastructure.template import Stage

SECRET = "arn:{Partition}:secretsmanager:{Region}:{AccountId}:secret:fanfare/prod/twitch-??????"
SITE = "https://{Site/Distribution.DomainName}"
TABLE = "{Identity/Sessions.Arn}"
READ = [f"dynamodb:{action} on {TABLE}" for action in ("GetItem", "UpdateItem")]
PROTECTED = {
    "POST /api/channels/{login}/watch",
    "POST /api/overlays/{login}/key",
    "DELETE /api/overlays/{login}/key",
}
SESSION_ROUTES = {f"{method} /api/session" for method in ("GET", "POST", "DELETE")}


def test_there_is_nothing_of_cognito(twitch: Stage) -> None:
    assert "AWS::Cognito::" not in "".join(twitch.texts)
    assert "cognito" not in "".join(twitch.texts).lower()
    assert twitch.of_type("AWS::ApiGatewayV2::Authorizer").keys() == {
        "HttpApi/ThroughCloudFront",
        "Live/Api/TicketAuthorizer",
    }


def test_the_data_is_the_same_so_that_a_deployed_stage_can_change(prod: Stage, twitch: Stage) -> None:
    """Nothing that another stack uses comes or goes, which CloudFormation would refuse."""
    for stack in ("Data", "Edge"):
        assert twitch.paths[stack].read_text() == prod.paths[stack].read_text()


def test_what_only_one_of_both_has_is_the_sign_in(prod: Stage, twitch: Stage) -> None:
    assert only_in(prod, twitch) == {
        "Identity/Users": "AWS::Cognito::UserPool",
        "Identity/Domain": "AWS::Cognito::UserPoolDomain",
        "Identity/Twitch": "AWS::Cognito::UserPoolIdentityProvider",
        "Identity/TwitchStreamer": "AWS::Cognito::UserPoolIdentityProvider",
        "Identity/Site": "AWS::Cognito::UserPoolClient",
        "HttpApi/ViewerAuthorizer": "AWS::ApiGatewayV2::Authorizer",
    }
    paths = only_in(twitch, prod)
    own = {path for path in paths if not path.startswith(("Identity/Session/", "HttpApi/"))}
    assert own == {
        "Identity/Session",
        "Identity/SessionLogs",
        "Identity/SessionRole",
        "Identity/SessionRole/DefaultPolicy",
        "Identity/Sessions",
    }
    routes = {
        twitch.resources[path].properties["RouteKey"] for path in paths if paths[path].endswith("::Route")
    }
    assert routes == SESSION_ROUTES


def test_what_needs_a_cookie_comes_through_cloudfront(twitch: Stage) -> None:
    authorizers = {
        route["RouteKey"]: (route["AuthorizationType"], route["AuthorizerId"])
        for route in twitch.of_type("AWS::ApiGatewayV2::Route").values()
        if route["RouteKey"] in PROTECTED | SESSION_ROUTES
    }
    assert authorizers == dict.fromkeys(PROTECTED | SESSION_ROUTES, ("CUSTOM", "{HttpApi/ThroughCloudFront}"))


def test_everything_else_is_the_same(prod: Stage, twitch: Stage) -> None:
    found: dict[str, set[str]] = {}
    for resource, name, _, _ in differences(prod, twitch):
        found.setdefault(resource.rpartition(" ")[0], set()).add(name)
    # The functions of all routes are in the alarm's sum and on the dashboard.
    del found["Monitoring/Dashboard"], found["Monitoring/FunctionsThrottled"]
    routes = {f"HttpApi/{route.replace(' ', '').replace('/', '--')}" for route in PROTECTED}
    assert found == {
        **{route: {"AuthorizationType", "AuthorizerId"} for route in routes},
        **{
            f"Subscriptions/{function}": {
                f"Environment.Variables.{name}"
                for name in ("STREAMER_PROVIDER", "SESSIONS_TABLE", "SITE_URL")
            }
            for function in ("Watch", "Overlay")
        },
        **{
            # They have a statement of these actions already, of the table of channels.
            f"Subscriptions/{function}Role/DefaultPolicy": {
                "PolicyDocument.Statement[dynamodb:GetItem+dynamodb:UpdateItem].Resource"
            }
            for function in ("Watch", "Overlay")
        },
        **{
            f"Subscriptions/{function}": {"Environment.Variables.SESSIONS_TABLE"}
            for function in ("Reconciler", "Notices")
        },
        "Subscriptions/NoticesRole/DefaultPolicy": {
            f"PolicyDocument.Statement[dynamodb:DeleteItem+dynamodb:Query].{part}"
            for part in ("Action", "Effect", "Resource")
        },
        "Site/Distribution": found["Site/Distribution"],
        "Site/Headers": {
            "ResponseHeadersPolicyConfig.SecurityHeadersConfig.ContentSecurityPolicy.ContentSecurityPolicy"
        },
        "Site/Pages/CustomResource/Default": found["Site/Pages/CustomResource/Default"],
    }
    assert all("[/api/session]" in name for name in found["Site/Distribution"])


def test_a_functions_environment_is_what_it_uses(twitch: Stage) -> None:
    def variables(job: str) -> set[str]:
        return set(twitch.function(job)["Environment"]["Variables"])

    assert variables("session") == SESSION.environment | COMMON
    for job in ("reconciler", "notices"):
        assert variables(job) == FUNCTIONS[job].environment | {"SESSIONS_TABLE"} | COMMON
    for job in ("watch", "overlay"):
        expected = FUNCTIONS[job].environment - {"STREAMER_PROVIDER"} | {"SESSIONS_TABLE", "SITE_URL"}
        assert variables(job) == expected | COMMON
        assert twitch.function(job)["Environment"]["Variables"]["SITE_URL"] == SITE


@pytest.mark.parametrize(
    ("function", "grants"),
    [
        (
            "Identity/Session",
            [
                *(f"dynamodb:{action} on {TABLE}" for action in ("DeleteItem", "PutItem", "Query")),
                f"secretsmanager:GetSecretValue on {SECRET}",
            ],
        ),
        (
            "Subscriptions/Watch",
            [*(grant.replace("local", "prod") for grant in GRANTS["Subscriptions/Watch"]), *READ],
        ),
        (
            "Subscriptions/Overlay",
            [*(grant.replace("local", "prod") for grant in GRANTS["Subscriptions/Overlay"]), *READ],
        ),
        (
            "Subscriptions/Notices",
            [
                *GRANTS["Subscriptions/Notices"],
                *(f"dynamodb:{action} on {TABLE}" for action in ("DeleteItem", "Query")),
            ],
        ),
    ],
)
def test_a_function_may_do_exactly_this(twitch: Stage, function: str, grants: list[str]) -> None:
    assert twitch.grants(f"{function}Role") == sorted([*grants, *logging_of(function)])


def test_sessions_expire_and_are_found_by_viewer(twitch: Stage) -> None:
    table = twitch.resources["Identity/Sessions"]
    assert table.properties["TableName"] == "fanfare-prod-sessions"
    assert table.properties["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    keys = {key["KeyType"]: key["AttributeName"] for key in table.properties["KeySchema"]}
    assert keys == {"HASH": "viewer_id", "RANGE": "token_hash"}
    # Changing the setting deletes it.
    assert table.deletion_policy == "Delete"


def test_cookies_reach_only_what_needs_them(twitch: Stage) -> None:
    config = twitch.resources["Site/Distribution"].properties["DistributionConfig"]
    all_viewer_except_host = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
    disabled = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
    with_cookies = {
        behaviour["PathPattern"]
        for behaviour in config["CacheBehaviors"]
        if behaviour.get("OriginRequestPolicyId") == all_viewer_except_host
    }
    assert with_cookies == {"/api/channels/*/watch", "/api/overlays/*", "/api/session"}
    for behaviour in config["CacheBehaviors"]:
        if behaviour["PathPattern"] in with_cookies:
            assert behaviour["CachePolicyId"] == disabled
            assert behaviour["ViewerProtocolPolicy"] == "https-only"
            assert {"DELETE", "POST"} <= {*behaviour["AllowedMethods"]}
    policy = twitch.resources["Site/Reads"].properties["CachePolicyConfig"]
    cookies = policy["ParametersInCacheKeyAndForwardedToOrigin"]["CookiesConfig"]
    assert cookies == {"CookieBehavior": "none"}


def test_the_page_learns_how_to_sign_in(twitch: Stage) -> None:
    pages = twitch.resources["Site/Pages/CustomResource/Default"].properties
    digest = pages["SourceObjectKeys"][1].removesuffix(".zip")
    configuration = json.loads((twitch.asset(digest) / "config.json").read_text())
    assert configuration["identity"] == {"kind": "twitch"}
    headers = twitch.resources["Site/Headers"].properties["ResponseHeadersPolicyConfig"]
    text = headers["SecurityHeadersConfig"]["ContentSecurityPolicy"]["ContentSecurityPolicy"]
    assert "connect-src 'self' wss://{Live/Api}.execute-api.{Region}.amazonaws.com/live; " in text
