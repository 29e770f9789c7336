"""The HTTP API: one stage, throttled and logged, and the routes that call functions.

What anyone may call is admitted by way of CloudFront only, which adds a secret header: the API's own URL goes
round the firewall and the cache.
"""

import json
from collections.abc import Mapping

from aws_cdk import CfnParameter, Duration, SecretValue, Stack
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_apigatewayv2_authorizers as authorizers
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from cdk.acknowledge import acknowledge
from cdk.function import Function
from cdk.log_group import log_group
from cdk.output import output
from cdk.route_throttle import throttle_route
from cdk.settings import ORIGIN_HEADER_VERSION, Settings, Throttle

ORIGIN_SECRET_HEADER = "x-origin-secret"  # noqa: S105 -- its name
# Neither addresses nor queries, which may be personal.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging-variables.html
ACCESS_LOG_FIELDS = (
    "requestId",
    "requestTime",
    "routeKey",
    "status",
    "responseLength",
    "responseLatency",
    "authorizer.error",
    "integrationErrorMessage",
)


class HttpApi(apigateway.HttpApi):
    """The API ``fanfare-<stage>``."""

    def __init__(self, scope: Construct, id_: str, settings: Settings) -> None:
        super().__init__(scope, id_, api_name=f"fanfare-{settings.stage}", create_default_stage=False)
        self.base_url = settings.addresses.http_api.format(api_id=self.api_id, region=Stack.of(self).region)
        output(self, "HttpApiUrl", self.base_url)
        self._stage = stage = apigateway.HttpStage(
            scope,
            "HttpStage",
            http_api=self,
            stage_name="$default",
            auto_deploy=True,
            throttle=apigateway.ThrottleSettings(
                rate_limit=settings.http_throttle.rate, burst_limit=settings.http_throttle.burst
            ),
        )
        # The prefix keeps the log group out of a resource policy that has room for a few only.
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-and-resource-policy.html
        self.access_logs = logs = log_group(
            stage, "AccessLogs", settings, f"/aws/vendedlogs/fanfare-{settings.stage}-http"
        )
        resource = stage.node.default_child
        assert isinstance(resource, apigateway.CfnStage)  # noqa: S101 -- it is
        resource.access_log_settings = apigateway.CfnStage.AccessLogSettingsProperty(
            destination_arn=logs.log_group_arn,
            format=json.dumps({name: f"$context.{name}" for name in ACCESS_LOG_FIELDS}),
        )
        self._origin_secret = self._make_origin_secret()
        self.through_cloudfront = self._authorizer(settings)

    def _make_origin_secret(self) -> secretsmanager.Secret:
        secret = secretsmanager.Secret(
            self,
            "OriginSecret",
            description="CloudFront adds it to each request to the HTTP API",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=64, exclude_punctuation=True
            ),
        )
        acknowledge(secret, "SMG4", because="A deployment passes a new one on to CloudFront: docs/runbook.md")
        output(self, "OriginSecretArn", secret.secret_arn)
        return secret

    def _authorizer(self, settings: Settings) -> authorizers.HttpLambdaAuthorizer:
        """Refuses requests without the secret. API Gateway keeps its answer for five minutes."""
        function = Function(
            self,
            "Cloudfront",
            settings,
            environment={"ORIGIN_SECRET_ARN": self._origin_secret.secret_arn},
            timeout=Duration.seconds(5),
            memory_mb=512,
        )
        function.allow_reading(self._origin_secret)
        return authorizers.HttpLambdaAuthorizer(
            "ThroughCloudFront",
            function.entry(),
            identity_source=[f"$request.header.{ORIGIN_SECRET_HEADER}"],
            response_types=[authorizers.HttpLambdaResponseType.SIMPLE],
        )

    def origin_headers(self) -> dict[str, str]:
        """What CloudFront adds to its requests: references, so that the value is not in the template."""
        # CloudFormation reads a secret again only when the reference to it changes.
        version = CfnParameter(
            Stack.of(self),
            ORIGIN_HEADER_VERSION,
            default="",
            description="Version of the secret that CloudFront adds to requests; the current one if empty",
        )
        value = SecretValue.secrets_manager(
            self._origin_secret.secret_arn, version_id=version.value_as_string
        )
        return {ORIGIN_SECRET_HEADER: value.unsafe_unwrap()}

    def route_to(
        self,
        function: Function,
        routes: Mapping[str, apigateway.IHttpRouteAuthorizer | None],
        *,
        open_because: str = "",
        throttle: Throttle | None = None,
    ) -> None:
        """Let each route, such as ``GET /api/leaderboard``, call the function, once its authorizer agrees.

        ``open_because`` is the reason for the routes without one; ``throttle`` is that of each of these
        routes, the stage's if not given.
        """
        integration = integrations.HttpLambdaIntegration(f"{function.node.id}Integration", function.entry())
        for key, authorizer in routes.items():
            method, path = key.split(" ")
            (route,) = self.add_routes(
                path=path,
                methods=[apigateway.HttpMethod(method)],
                integration=integration,
                authorizer=authorizer,
            )
            if not authorizer:
                acknowledge(route, "APIG4", because=open_because)
            if throttle:
                throttle_route(self._stage, route, key, throttle)
