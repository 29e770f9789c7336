"""The local cloud deploys the real app: here is everything that differs from a stage in AWS."""

import re

import pytest

from tests.infrastructure.differences import differences, only_in
from tests.infrastructure.functions import BEHIND_APIS, CONSTRUCTS, IN_DATABASE_NETWORK
from tests.infrastructure.template import LOCAL_SETTINGS, Stage, synthesise

EMULATOR = "http://127.0.0.1:14566"
TWITCH = "http://127.0.0.1:14567"
LOCAL_API = "/_aws/execute-api/{HttpApi}"
LOCAL_SITE = "http://{Site/Distribution.DomainName}.split('.')[0].cloudfront.localhost:14566"
AWS_API = "{HttpApi}.execute-api.{Region}.amazonaws.com"
AWS_SITE = "https://{Site/Distribution.DomainName}"
AWS_SOCKET = "{Live/Api}.execute-api.{Region}.amazonaws.com/live"
AWS_IDENTITY = "https://fanfare-<stage>-{AccountId}.auth.{Region}.amazoncognito.com"
LOCAL_SOCKET = "ws://127.0.0.1:14566/_aws/execute-api/{Live/Api}/live"


def _policy(*, images: str, connections: str, frames: str) -> str:
    """The Content-Security-Policy that differs in what it lets the page load from elsewhere."""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; manifest-src 'self'; "
        f"img-src 'self' data: {images}; connect-src 'self' {connections}; frame-src {frames}; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


IDENTITY_PROVIDER: dict[str, object] = {
    "ProviderDetails.oidc_issuer": ("https://id.twitch.tv/oauth2", f"{TWITCH}/oauth2"),
    "ProviderDetails.authorize_url": (
        "https://id.twitch.tv/oauth2/authorize",
        f"{TWITCH}/oauth2/authorize",
    ),
    "ProviderDetails.token_url": ("https://id.twitch.tv/oauth2/token", f"{TWITCH}/oauth2/token"),
    "ProviderDetails.attributes_url": (
        "https://id.twitch.tv/oauth2/userinfo",
        f"{TWITCH}/oauth2/userinfo",
    ),
    "ProviderDetails.jwks_uri": ("https://id.twitch.tv/oauth2/keys", f"{TWITCH}/oauth2/keys"),
}
CONNECTIONS_ENDPOINT = f"https://{AWS_SOCKET}", f"{EMULATOR}/_aws/execute-api/{{Live/Api}}/live"
# Resource -> property -> (in AWS, locally); None: not there.
ADDRESSES: dict[str, dict[str, object]] = {
    # Twitch is simulated.
    "Identity/Twitch": IDENTITY_PROVIDER,
    "Identity/TwitchStreamer": IDENTITY_PROVIDER,
    **{
        f"Subscriptions/{function}": {
            "Environment.Variables.TWITCH_API_URL": ("https://api.twitch.tv/helix", f"{TWITCH}/helix"),
            "Environment.Variables.TWITCH_AUTH_URL": ("https://id.twitch.tv/oauth2", f"{TWITCH}/oauth2"),
        }
        for function in ("Watch", "Overlay", "Subscriber", "Reconciler")
    },
    # AWS's services are the emulator's, at one address, without TLS.
    **{
        f"Live/{function}": {"Environment.Variables.CONNECTIONS_ENDPOINT": CONNECTIONS_ENDPOINT}
        for function in ("Broadcaster", "Connection")
    },
    "Identity/Site": {
        "CallbackURLs": ([f"{AWS_SITE}/callback"], [f"{LOCAL_SITE}/callback"]),
        "LogoutURLs": ([f"{AWS_SITE}/"], [f"{LOCAL_SITE}/"]),
    },
    "Site/Distribution": {
        "DistributionConfig.DefaultCacheBehavior.ViewerProtocolPolicy": ("redirect-to-https", "allow-all"),
        "DistributionConfig.CacheBehaviors[/api/channels/*/watch].ViewerProtocolPolicy": (
            "https-only",
            "allow-all",
        ),
        "DistributionConfig.CacheBehaviors[/api/overlays/*].ViewerProtocolPolicy": (
            "https-only",
            "allow-all",
        ),
        "DistributionConfig.CacheBehaviors[/api/*].ViewerProtocolPolicy": ("https-only", "allow-all"),
        "DistributionConfig.Origins[1].DomainName": (AWS_API, "localhost"),
        "DistributionConfig.Origins[1].OriginPath": (None, LOCAL_API),
        "DistributionConfig.Origins[1].CustomOriginConfig.HTTPPort": (None, 14566),
        "DistributionConfig.Origins[1].CustomOriginConfig.HTTPSPort": (443, None),
        "DistributionConfig.Origins[1].CustomOriginConfig.OriginProtocolPolicy": ("https-only", "http-only"),
    },
    # The page may speak to these, and embed Twitch from there.
    "Site/Headers": {
        "ResponseHeadersPolicyConfig.SecurityHeadersConfig.ContentSecurityPolicy.ContentSecurityPolicy": (
            _policy(
                images="https://static-cdn.jtvnw.net",
                connections=f"wss://{AWS_SOCKET} {AWS_IDENTITY}",
                frames="https://player.twitch.tv https://www.twitch.tv",
            ),
            _policy(images=TWITCH, connections=f"{LOCAL_SOCKET} {EMULATOR}", frames=TWITCH),
        ),
        "ResponseHeadersPolicyConfig.CustomHeadersConfig.Items[Permissions-Policy].Value": tuple(
            "camera=(), geolocation=(), microphone=(), payment=(), usb=(), "
            + ", ".join(
                f'{feature}=(self "{player}")'
                for feature in ("autoplay", "encrypted-media", "fullscreen", "picture-in-picture")
            )
            for player in ("https://player.twitch.tv", TWITCH)
        ),
    },
    # config.json
    "Site/Pages/CustomResource/Default": {
        "SourceObjectKeys": (["<asset>", "<asset>"], ["<asset>", "<asset>"]),
        "SourceMarkers[1].<<marker:0xbaba:1>>": (f'"{AWS_IDENTITY}"', '"{Identity/Site}"'),
        "SourceMarkers[1].<<marker:0xbaba:2>>": ('"{Identity/Site}"', None),
    },
}
ADDRESSES["Subscriptions/Overlay"]["Environment.Variables.CONNECTIONS_ENDPOINT"] = CONNECTIONS_ENDPOINT
for _function in ("Subscriber", "Reconciler"):
    ADDRESSES[f"Subscriptions/{_function}"]["Environment.Variables.WEBHOOK_URL"] = (
        f"https://{AWS_API}/webhooks/twitch",
        f"{EMULATOR}{LOCAL_API}/webhooks/twitch",
    )
ADDRESSES["Subscriptions/Watch"]["Environment.Variables.WEBSOCKET_URL"] = (
    f"wss://{AWS_SOCKET}",
    LOCAL_SOCKET,
)


@pytest.fixture(scope="module")
def in_aws(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The local stage as it would be in AWS: its own settings, and AWS's defaults for the rest."""
    own = {
        "log_level": "DEBUG",
        "broadcast_concurrency": 2,
        "fan_out_concurrency": 2,
        "database": LOCAL_SETTINGS["database"],
    }
    return synthesise(
        "local",
        tmp_path_factory.mktemp("in-aws"),
        **{"settings-file": None, "stages": {"local": own}},
    )


def test_moving_the_local_stage_to_aws_changes_addresses_and_packages_only(
    in_aws: Stage, local: Stage
) -> None:
    assert only_in(in_aws, local) == only_in(local, in_aws) == {}
    found: dict[str, dict[str, object]] = {}
    for resource, name, aws, here in differences(in_aws, local):
        found.setdefault(resource.rpartition(" ")[0], {})[name] = (_asset(aws), _asset(here))
    packages = {function: {"Code.S3Key": ("<asset>", "<asset>")} for function in CONSTRUCTS}
    expected = {
        path: {**ADDRESSES.get(path, {}), **packages.get(path, {})} for path in {*ADDRESSES, *packages}
    }
    assert found == expected


def test_local_and_prod_differ_further_in_these_settings_only(
    prod: Stage, local: Stage, in_aws: Stage
) -> None:
    by_addresses = {(path, name) for path, name, _, _ in differences(in_aws, local)}
    found: dict[str, set[str]] = {}
    for resource, name, _, _ in differences(prod, local):
        path, _, type_ = resource.rpartition(" ")
        if (resource, name) not in by_addresses and not re.search(r"Tags\b.*Stage", name):
            found.setdefault(f"{type_} {name}", set()).add(path)
    tables = {"Channels", "Connections", "Grants", "Inboxes", "Overlays", "Tickets", "Twitch", "Viewers"}
    network = (
        "ec2:AssignPrivateIpAddresses+ec2:CreateNetworkInterface+ec2:DeleteNetworkInterface"
        "+ec2:DescribeNetworkInterfaces+ec2:DescribeSubnets+ec2:UnassignPrivateIpAddresses"
    )
    policies = {f"{function}Role/DefaultPolicy" for function in IN_DATABASE_NETWORK}
    # gradual_rollout: the APIs may call aliases
    permissions = found.pop("AWS::Lambda::Permission FunctionName")
    assert {path.split("/")[0] for path in permissions} == {"HttpApi", "Live"}
    # bootstrap_qualifier: the bucket that assets are uploaded to
    for name in (
        "AWS::IAM::Policy PolicyDocument.Statement[s3:GetBucket*+s3:GetObject*+s3:List*].Resource",
        "AWS::Lambda::Function Code.S3Bucket",
        "AWS::Lambda::LayerVersion Content.S3Bucket",
        "Custom::CDKBucketDeployment SourceBucketNames",
    ):
        assert found.pop(name)
    assert found == {
        # a name that CDK makes of the stack's and cuts off
        "AWS::CloudFront::OriginAccessControl OriginAccessControlConfig.Name": {
            "Site/Distribution/Origin1/S3OriginAccessControl"
        },
        # broadcast_concurrency, fan_out_concurrency
        "AWS::Lambda::EventSourceMapping ScalingConfig.MaximumConcurrency": {
            "Live/Broadcaster/SqsEventSource:…AppLiveFeedQueue",
            "Live/Broadcaster/SqsEventSource:…AppLiveFanOutQueue",
        },
        "AWS::Lambda::Function ReservedConcurrentExecutions": {"Live/Broadcaster"},
        # retain_data
        "AWS::DynamoDB::Table DeletionPolicy": tables,
        "AWS::DynamoDB::Table DeletionProtectionEnabled": tables,
        "AWS::DynamoDB::Table PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled": tables,
        "AWS::S3::Bucket DeletionPolicy": {"Exports"},
        # log_level, log_retention_days
        "AWS::Lambda::Function Environment.Variables.LOG_LEVEL": CONSTRUCTS,
        "AWS::Logs::LogGroup RetentionInDays": {
            "HttpStage/AccessLogs",
            *(f"{function}Logs" for function in CONSTRUCTS),
        },
        # gradual_rollout: APIs call aliases
        "AWS::ApiGatewayV2::Authorizer AuthorizerUri": {
            "HttpApi/ThroughCloudFront",
            "Live/Api/TicketAuthorizer",
        },
        "AWS::ApiGatewayV2::Integration IntegrationUri": {
            "HttpApi/GET--api--channels--{login}--events/QueryIntegration",
            "HttpApi/POST--api--channels--{login}--watch/WatchIntegration",
            "HttpApi/POST--api--overlays--{login}--key/OverlayIntegration",
            "HttpApi/POST--webhooks--twitch/WebhookIntegration",
            "Live/Api/$connect-Route/Connect",
            "Live/Api/$default-Route/UnknownAction",
            "Live/Api/$disconnect-Route/Disconnect",
            "Live/Api/ping-Route/Ping",
        },
        # stage, which is also in the namespace of its metrics
        "AWS::CloudWatch::Alarm Metrics[1].MetricStat.Metric.Namespace": {"Monitoring/TwitchBudget"},
        "AWS::CloudWatch::Alarm Metrics[2].MetricStat.Metric.Namespace": {"Monitoring/TwitchBudget"},
        "AWS::CloudWatch::Alarm Namespace": {
            "Monitoring/DeliveriesFailing",
            "Monitoring/DeliveriesRefused",
            "Monitoring/DeliverySlow",
            "Monitoring/EventsUnrecordable",
            "Monitoring/ExportsBehind",
            "Monitoring/Partitions",
            "Monitoring/ReconcilerFailing",
            "Monitoring/TotalsBloated",
            "Monitoring/TotalsWrong",
            "Monitoring/TransactionOpen",
            "Monitoring/WatermarkLagging",
        },
        "AWS::CloudWatch::Dashboard DashboardBody": {"Monitoring/Dashboard"},
        "AWS::Logs::MetricFilter MetricTransformations[0].MetricNamespace": {
            "HttpStage/AccessLogs/FailedDeliveries"
        },
        "AWS::Lambda::Function Environment.Variables.POWERTOOLS_METRICS_NAMESPACE": CONSTRUCTS,
        "AWS::CloudFront::Distribution DistributionConfig.Comment": {"Site/Distribution"},
        "AWS::KMS::Key Description": {"Alarms/Key"},
        # waf
        "AWS::CloudFront::Distribution DistributionConfig.WebACLId": {"Site/Distribution"},
        # database: Aurora with IAM authentication in a VPC, or one with a password.
        "AWS::Lambda::Function VpcConfig.SecurityGroupIds": IN_DATABASE_NETWORK,
        "AWS::Lambda::Function VpcConfig.SubnetIds": IN_DATABASE_NETWORK,
        "AWS::Lambda::Function Environment.Variables.DATABASE_CA_FILE": IN_DATABASE_NETWORK,
        "AWS::Lambda::Function Environment.Variables.DATABASE_HOST": IN_DATABASE_NETWORK,
        "AWS::Lambda::Function Environment.Variables.DATABASE_PORT": IN_DATABASE_NETWORK,
        "AWS::Lambda::Function Environment.Variables.DATABASE_SECRET_ARN": IN_DATABASE_NETWORK,
        **{
            f"AWS::IAM::Policy PolicyDocument.Statement[{action}].{part}": policies
            for action in (network, "rds-db:connect", "secretsmanager:GetSecretValue")
            for part in ("Action", "Effect", "Resource")
        },
    }


def test_the_resources_that_only_prod_has_are_its_database_firewall_and_rollouts(
    prod: Stage, local: Stage
) -> None:
    assert only_in(local, prod) == {}
    others = {path for path in only_in(prod, local) if not path.startswith("Database/")}
    rollouts = {
        f"{function}/{part}"
        for function in BEHIND_APIS
        for part in (
            "CurrentVersion",
            "Live",
            "NewVersionFailing",
            "Rollout",
            "Rollout/Application",
            "Rollout/ServiceRole",
        )
    }
    assert others == {
        "WebAcl",
        "Monitoring/DatabaseBusy",
        *rollouts,
    }


def _asset(value: object) -> object:
    if isinstance(value, list):
        return [_asset(item) for item in value]
    return re.sub(r"^[0-9a-f]{64}\.zip$", "<asset>", value) if isinstance(value, str) else value
