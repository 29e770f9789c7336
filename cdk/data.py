"""Data: what cannot be made again, in a stack of its own that outlives a release."""

from aws_cdk import Duration, Fn, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from cdk.acknowledge import acknowledge
from cdk.database import database
from cdk.settings import Settings
from cdk.stage_stack import StageStack


class DataStack(StageStack):
    """The database of events, the bucket of exports, the tables, the webhook's secret."""

    def __init__(self, scope: Construct, settings: Settings) -> None:
        super().__init__(scope, settings, "Data", termination_protection=settings.retain_data)
        self.exports = _exports_bucket(self, "Exports", settings)
        self.database = database(self, "Database", settings, exports=self.exports)
        self.channels = _table(self, "Channels", settings, key="streamer_id")
        self.channels.add_global_secondary_index(
            index_name="login",
            partition_key=_text("login"),
            projection_type=dynamodb.ProjectionType.INCLUDE,
            non_key_attributes=["display_name", "avatar_url", "resolved_at"],
        )
        self.grants = _table(self, "Grants", settings, key="streamer_id", sort_key="grantor_id")
        self.connections = _table(
            self, "Connections", settings, key="streamer_id", sort_key="connection_id", expires=True
        )
        self.inboxes = _table(self, "Inboxes", settings, key="inbox", sort_key="entry", expires=True)
        self.tickets = _table(self, "Tickets", settings, key="ticket_hash", expires=True)
        self.viewers = _table(self, "Viewers", settings, key="viewer_id", sort_key="entry", expires=True)
        self.overlays = _table(self, "Overlays", settings, key="overlay_id")
        self.webhook_secret = _webhook_secret(self, "WebhookSecret")

    @property
    def availability_zones(self) -> list[str]:
        """The account's first two, found by CloudFormation: CDK would need credentials to look them up."""
        return [Fn.select(index, Fn.get_azs()) for index in range(2)]


def _table(
    scope: Construct,
    id_: str,
    settings: Settings,
    *,
    key: str,
    sort_key: str | None = None,
    expires: bool = False,
) -> dynamodb.Table:
    """A table that is paid by request; with ``expires`` DynamoDB deletes items after their ``expires_at``."""
    table = dynamodb.Table(
        scope,
        id_,
        table_name=f"fanfare-{settings.stage}-{id_.lower()}",
        partition_key=_text(key),
        sort_key=_text(sort_key) if sort_key else None,
        billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        time_to_live_attribute="expires_at" if expires else None,
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=settings.retain_data
        ),
        deletion_protection=settings.retain_data,
        removal_policy=_removal_policy(settings),
    )
    if not settings.retain_data:
        acknowledge(table, "DDB3", because="This stage's data may be lost (retain_data).")
    return table


def _text(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)


def _exports_bucket(scope: Construct, id_: str, settings: Settings) -> s3.Bucket:
    """Where the archiver exports events that have become too old for the database."""
    bucket = s3.Bucket(
        scope,
        id_,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.S3_MANAGED,
        enforce_ssl=True,
        # The only copy of old events: what is overwritten or deleted by mistake can be restored for a month.
        versioned=True,
        lifecycle_rules=[
            s3.LifecycleRule(
                # The parts of an export that was interrupted.
                abort_incomplete_multipart_upload_after=Duration.days(1),
                noncurrent_version_expiration=Duration.days(30),
                expired_object_delete_marker=True,
            ),
        ],
        # Without retain_data it is deleted with the stack, once `make destroy` has emptied it.
        removal_policy=_removal_policy(settings),
    )
    acknowledge(bucket, "S1", because="Only the archiver writes into it and reads it, and logs what it does.")
    return bucket


def _webhook_secret(scope: Construct, id_: str) -> secretsmanager.Secret:
    secret = secretsmanager.Secret(
        scope,
        id_,
        description="Signs Twitch's deliveries",
        # Twitch takes 10 to 100 ASCII characters.
        generate_secret_string=secretsmanager.SecretStringGenerator(
            password_length=64, exclude_punctuation=True
        ),
    )
    acknowledge(
        secret,
        "SMG4",
        because="Twitch signs with the secret that a subscription was made with: if it were rotated on a "
        "schedule, every delivery would be refused until all subscriptions are made again.",
    )
    return secret


def _removal_policy(settings: Settings) -> RemovalPolicy:
    return RemovalPolicy.RETAIN if settings.retain_data else RemovalPolicy.DESTROY
