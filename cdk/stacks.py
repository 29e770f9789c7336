"""The stacks of a stage: what must outlive a release, everything else, and what has to be in us-east-1."""

import json

from aws_cdk import (
    App,
    CfnOutput,
    CliCredentialsStackSynthesizer,
    Duration,
    Environment,
    Fn,
    IStackSynthesizer,
    RemovalPolicy,
    Stack,
    Tags,
)
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from cdk.acknowledge import acknowledge
from cdk.alarms import Alarms
from cdk.database import database
from cdk.edge import EdgeStack
from cdk.function import RETENTION
from cdk.history import History
from cdk.identity import PROVIDER, STREAMER_PROVIDER, Identity, user_pool
from cdk.ingest import WEBHOOK_PATH, Ingest
from cdk.live import Live
from cdk.monitoring import Monitoring
from cdk.settings import Settings
from cdk.site import Site
from cdk.subscriptions import Subscriptions

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


def build(app: App, settings: Settings) -> None:
    """Add the stage's stacks to ``app``."""
    data = DataStack(app, settings)
    edge = EdgeStack(app, settings, _synthesizer(settings)) if settings.needs_edge else None
    AppStack(app, settings, data, edge)
    # CDK would tag the proxy's target group too, which CloudFormation refuses.
    untagged = ["AWS::RDS::DBProxyTargetGroup"]
    Tags.of(app).add("Project", "fanfare", exclude_resource_types=untagged)
    Tags.of(app).add("Stage", settings.stage, exclude_resource_types=untagged)


class DataStack(Stack):
    """What cannot be made again: events, viewers, the state of subscriptions and connections."""

    def __init__(self, scope: Construct, settings: Settings) -> None:
        super().__init__(
            scope,
            f"Fanfare-{settings.stage}-Data",
            env=_environment(settings),
            synthesizer=_synthesizer(settings),
            termination_protection=settings.retain_data,
        )
        self.exports = _exports_bucket(self, "Exports", settings)
        self.database = database(self, "Database", settings, exports=self.exports)
        self.users = user_pool(self, "Users", settings)
        self.channels = _table(self, "Channels", settings, key="streamer_id")
        self.channels.add_global_secondary_index(
            index_name="login",
            partition_key=dynamodb.Attribute(name="login", type=dynamodb.AttributeType.STRING),
            projection_type=dynamodb.ProjectionType.INCLUDE,
            non_key_attributes=["display_name", "avatar_url", "resolved_at"],
        )
        self.grants = _table(self, "Grants", settings, key="streamer_id", sort_key="grantor_id")
        self.connections = _table(
            self, "Connections", settings, key="streamer_id", sort_key="connection_id", expires=True
        )
        self.inboxes = _table(self, "Inboxes", settings, key="inbox", sort_key="entry", expires=True)
        self.tickets = _table(self, "Tickets", settings, key="ticket_hash", expires=True)
        self.overlays = _table(self, "Overlays", settings, key="overlay_id")
        self.webhook_secret = secretsmanager.Secret(
            self,
            "WebhookSecret",
            description="Signs Twitch's deliveries",
            # Twitch takes 10 to 100 ASCII characters.
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=64, exclude_punctuation=True
            ),
        )
        acknowledge(
            self.webhook_secret,
            "SMG4",
            because="Twitch keeps what a subscription was made with: rotated by the clock, it would refuse "
            "every delivery until all are made anew.",
        )

    @property
    def availability_zones(self) -> list[str]:
        """The first two that the account has, found by CloudFormation; CDK's own answer takes credentials."""
        return [Fn.select(index, Fn.get_azs()) for index in range(2)]


class AppStack(Stack):
    """What a release replaces: the functions, the APIs between them, and the site."""

    def __init__(self, scope: Construct, settings: Settings, data: DataStack, edge: EdgeStack | None) -> None:
        super().__init__(
            scope,
            f"Fanfare-{settings.stage}-App",
            env=_environment(settings),
            synthesizer=_synthesizer(settings),
            cross_region_references=True,
        )
        twitch_secret = secretsmanager.Secret.from_secret_name_v2(
            self, "TwitchSecret", settings.twitch_secret_name
        )
        api = _http_api(self, settings)
        api_url = settings.addresses.http_api.format(api_id=api.api_id, region=self.region)
        webhook_url = f"{api_url}{WEBHOOK_PATH}"

        ingest = Ingest(self, "Ingest", settings, api=api, webhook_secret=data.webhook_secret)
        live = Live(
            self,
            "Live",
            settings,
            topic=ingest.topic,
            connections=data.connections,
            inboxes=data.inboxes,
            tickets=data.tickets,
        )
        history = History(
            self,
            "History",
            settings,
            api=api,
            topic=ingest.topic,
            database=data.database,
            exports=data.exports,
        )
        identity = Identity(self, "Identity", settings, pool=data.users)
        site = Site(self, "Site", settings, api=api, edge=edge, connects_to=[live.url, identity.url])
        client = identity.add_client(site.url)
        subscriptions = Subscriptions(
            self,
            "Subscriptions",
            settings,
            api=api,
            viewers=identity.viewers(client),
            topic=ingest.topic,
            channels=data.channels,
            connections=data.connections,
            grants=data.grants,
            tickets=data.tickets,
            overlays=data.overlays,
            broadcast=live.feed.queue,
            twitch_secret=twitch_secret,
            webhook_secret=data.webhook_secret,
            webhook_url=webhook_url,
            websocket_url=live.url,
        )
        history.migrate_after(ingest, live, identity, site, subscriptions)
        site.publish(
            {
                "stage": settings.stage,
                "identity": {
                    "authority": identity.issuer,
                    "client_id": client.user_pool_client_id,
                    "domain": identity.url,
                    "provider": PROVIDER,
                    "streamer_provider": STREAMER_PROVIDER,
                },
                "twitch": {
                    "player_url": settings.twitch.player_url,
                    "chat_url": settings.twitch.chat_url,
                },
            }
        )
        Monitoring(
            self,
            "Monitoring",
            settings,
            http_api=api,
            websocket_api=live.api,
            cluster=data.database.cluster,
        )
        alarms = Alarms(self, "Alarms", settings)
        alarms.notified_by(self)
        _outputs(
            self,
            SiteUrl=site.url,
            HttpApiUrl=api_url,
            WebSocketUrl=live.url,
            WebhookUrl=webhook_url,
            UserPoolId=data.users.user_pool_id,
            UserPoolClientId=client.user_pool_client_id,
            IdentityDomain=identity.url,
            DistributionId=site.distribution.distribution_id,
            SiteBucketName=site.bucket.bucket_name,
            ExportsBucketName=data.exports.bucket_name,
            EventsTopicArn=ingest.topic.topic_arn,
            AlarmsTopicArn=alarms.topic.topic_arn,
            RecordQueueUrl=history.feed.queue.queue_url,
            RecordDeadLetterQueueUrl=history.feed.dead_letters.queue_url,
            BroadcastQueueUrl=live.feed.queue.queue_url,
            BroadcastDeadLetterQueueUrl=live.feed.dead_letters.queue_url,
        )


def _environment(settings: Settings) -> Environment:
    return Environment(account=settings.account, region=settings.region)


def _synthesizer(settings: Settings) -> IStackSynthesizer | None:
    return CliCredentialsStackSynthesizer() if settings.deploy_with == "cli-credentials" else None


def _table(
    scope: Construct,
    id_: str,
    settings: Settings,
    *,
    key: str,
    sort_key: str | None = None,
    expires: bool = False,
) -> dynamodb.Table:
    """A table that is paid by request; with ``expires`` items go away after their ``expires_at``."""
    string = dynamodb.AttributeType.STRING
    table = dynamodb.Table(
        scope,
        id_,
        table_name=f"fanfare-{settings.stage}-{id_.lower()}",
        partition_key=dynamodb.Attribute(name=key, type=string),
        sort_key=dynamodb.Attribute(name=sort_key, type=string) if sort_key else None,
        billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        time_to_live_attribute="expires_at" if expires else None,
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=settings.retain_data
        ),
        deletion_protection=settings.retain_data,
        removal_policy=RemovalPolicy.RETAIN if settings.retain_data else RemovalPolicy.DESTROY,
    )
    if not settings.retain_data:
        acknowledge(table, "DDB3", because="This stage's data may go with it (retain_data).")
    return table


def _exports_bucket(scope: Construct, id_: str, settings: Settings) -> s3.Bucket:
    """Where events go that have become too old for the database."""
    bucket = s3.Bucket(
        scope,
        id_,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.S3_MANAGED,
        enforce_ssl=True,
        # The only copy of old events: what is overwritten or deleted by mistake can be had back for a month.
        versioned=True,
        lifecycle_rules=[
            s3.LifecycleRule(
                # What an export that was cut off has left.
                abort_incomplete_multipart_upload_after=Duration.days(1),
                noncurrent_version_expiration=Duration.days(30),
                expired_object_delete_marker=True,
            ),
        ],
        # Without retain_data it goes with the stack once it is empty: `make destroy` asks, and empties it.
        removal_policy=RemovalPolicy.RETAIN if settings.retain_data else RemovalPolicy.DESTROY,
    )
    acknowledge(bucket, "S1", because="Only the archiver writes into it and reads it, and logs what it does.")
    return bucket


def _http_api(scope: Construct, settings: Settings) -> apigateway.HttpApi:
    api = apigateway.HttpApi(
        scope, "HttpApi", api_name=f"fanfare-{settings.stage}", create_default_stage=False
    )
    stage = apigateway.HttpStage(
        scope,
        "HttpStage",
        http_api=api,
        stage_name="$default",
        auto_deploy=True,
        throttle=apigateway.ThrottleSettings(
            rate_limit=settings.http_throttle.rate, burst_limit=settings.http_throttle.burst
        ),
    )
    _log_access(stage, settings)
    return api


def _log_access(stage: apigateway.HttpStage, settings: Settings) -> None:
    """Log each request's route, answer and time; neither addresses nor queries, which may be personal."""
    log_group = logs.LogGroup(
        stage,
        "AccessLogs",
        # The prefix keeps log groups out of a policy that has room for a few only.
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-and-resource-policy.html
        log_group_name=f"/aws/vendedlogs/fanfare-{settings.stage}-http",
        retention=RETENTION[settings.log_retention_days],
        removal_policy=RemovalPolicy.DESTROY,
    )
    resource = stage.node.default_child
    assert isinstance(resource, apigateway.CfnStage)  # noqa: S101 -- it is
    resource.access_log_settings = apigateway.CfnStage.AccessLogSettingsProperty(
        destination_arn=log_group.log_group_arn,
        format=json.dumps({name: f"$context.{name}" for name in ACCESS_LOG_FIELDS}),
    )


def _outputs(stack: Stack, **values: str) -> None:
    for name, value in values.items():
        CfnOutput(stack, name, value=value)
