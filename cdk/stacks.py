"""The two stacks of a stage: what must outlive a release, and everything else."""

from aws_cdk import (
    App,
    CfnOutput,
    CliCredentialsStackSynthesizer,
    Duration,
    IStackSynthesizer,
    RemovalPolicy,
    Stack,
    Tags,
)
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from cdk.database import database
from cdk.history import History
from cdk.identity import PROVIDER, Identity, user_pool
from cdk.ingest import WEBHOOK_PATH, Ingest
from cdk.live import Live
from cdk.settings import Settings
from cdk.site import Site
from cdk.subscriptions import Subscriptions


def build(app: App, settings: Settings) -> None:
    """Add the stage's stacks to ``app``."""
    data = DataStack(app, settings)
    AppStack(app, settings, data)
    # CDK would tag the proxy's target group too, which CloudFormation refuses.
    untagged = ["AWS::RDS::DBProxyTargetGroup"]
    Tags.of(app).add("Project", "fanfare", exclude_resource_types=untagged)
    Tags.of(app).add("Stage", settings.stage, exclude_resource_types=untagged)


class DataStack(Stack):
    """What cannot be made again: events, viewers, the state of subscriptions and connections."""

    def __init__(self, scope: Construct, settings: Settings) -> None:
        super().__init__(scope, f"Fanfare-{settings.stage}-Data", synthesizer=_synthesizer(settings))
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
        self.tickets = _table(self, "Tickets", settings, key="ticket_hash", expires=True)
        self.webhook_secret = secretsmanager.Secret(
            self,
            "WebhookSecret",
            description="Signs Twitch's deliveries",
            # Twitch takes 10 to 100 ASCII characters.
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=64, exclude_punctuation=True
            ),
        )


class AppStack(Stack):
    """What a release replaces: the functions, the APIs between them, and the site."""

    def __init__(self, scope: Construct, settings: Settings, data: DataStack) -> None:
        super().__init__(scope, f"Fanfare-{settings.stage}-App", synthesizer=_synthesizer(settings))
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
        site = Site(self, "Site", settings, api=api, connects_to=[live.url, identity.url])
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
                },
                "twitch": {
                    "player_url": settings.twitch.player_url,
                    "chat_url": settings.twitch.chat_url,
                },
            }
        )
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
            RecordQueueUrl=history.feed.queue.queue_url,
            RecordDeadLetterQueueUrl=history.feed.dead_letters.queue_url,
            BroadcastQueueUrl=live.feed.queue.queue_url,
            BroadcastDeadLetterQueueUrl=live.feed.dead_letters.queue_url,
        )


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
    return dynamodb.Table(
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


def _exports_bucket(scope: Construct, id_: str, settings: Settings) -> s3.Bucket:
    """Where events go that have become too old for the database."""
    return s3.Bucket(
        scope,
        id_,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.S3_MANAGED,
        enforce_ssl=True,
        lifecycle_rules=[
            # What an export that was cut off has left.
            s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(1)),
        ],
        # Without retain_data it goes with the stack if it is empty; it is nothing to be deleted unasked.
        removal_policy=RemovalPolicy.RETAIN if settings.retain_data else RemovalPolicy.DESTROY,
    )


def _http_api(scope: Construct, settings: Settings) -> apigateway.HttpApi:
    api = apigateway.HttpApi(
        scope, "HttpApi", api_name=f"fanfare-{settings.stage}", create_default_stage=False
    )
    apigateway.HttpStage(
        scope,
        "HttpStage",
        http_api=api,
        stage_name="$default",
        auto_deploy=True,
        throttle=apigateway.ThrottleSettings(
            rate_limit=settings.http_throttle.rate, burst_limit=settings.http_throttle.burst
        ),
    )
    return api


def _outputs(stack: Stack, **values: str) -> None:
    for name, value in values.items():
        CfnOutput(stack, name, value=value)
