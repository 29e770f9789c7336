"""History: events recorded in PostgreSQL, the routes that read them, and the upkeep of their partitions."""

from typing import Any

from aws_cdk import Duration, Stack, triggers
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda_event_sources as event_sources
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct

from cdk.acknowledge import acknowledge
from cdk.database import Database
from cdk.function import Function, metrics_namespace
from cdk.ingest import Feed
from cdk.packaging import sql_files
from cdk.settings import RECORD_CONCURRENCY, Settings

READ_ROUTES = (
    "/api/channels/{login}/events",
    "/api/channels/{login}/counts",
    "/api/channels/{login}/counts/daily",
    "/api/channels/{login}/counts/minutely",
    "/api/leaderboard",
    "/api/openapi.json",
)
RECORD_BATCH = 500
MIGRATION_TIMEOUT = Duration.minutes(10)


def upkeep_minutes(partition_seconds: int) -> int:
    """How often the archiver runs: four times a partition, and four times a day at least.

    Not more often, since each run wakes a database that has paused. Schedules know whole minutes.
    """
    return max(1, min(partition_seconds // 60 // 4, 6 * 60))


class History(Construct):
    """The recorder and its queue, the query routes, the archiver, and the migrations around them."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        api: apigateway.HttpApi,
        topic: sns.ITopic,
        database: Database,
        exports: s3.IBucket,
    ) -> None:
        super().__init__(scope, id_)
        self._settings = settings
        self._database = database
        partitions = {"PARTITION_SECONDS": str(settings.partition_seconds)}

        timeout = Duration.seconds(30)
        self.feed = Feed(
            self,
            "Feed",
            settings,
            topic=topic,
            name="record",
            timeout=timeout,
            # One every three minutes: a database may be away for a day before anything is given up.
            max_receive_count=480,
        )
        recorder = self._function("Recorder", shared=True, timeout=timeout, memory_mb=512)
        # Many events to a transaction; one second is what recording may lag behind.
        recorder.add_event_source(
            event_sources.SqsEventSource(
                self.feed.queue,
                batch_size=RECORD_BATCH,
                max_batching_window=Duration.seconds(1),
                max_concurrency=RECORD_CONCURRENCY,
                report_batch_item_failures=True,
            )
        )

        query = self._function(
            "Query",
            shared=True,
            concurrency=settings.read_concurrency,
            timeout=Duration.seconds(10),
            memory_mb=1024,
        )
        reads = integrations.HttpLambdaIntegration("QueryIntegration", query.entry())
        for path in READ_ROUTES:
            (route,) = api.add_routes(path=path, methods=[apigateway.HttpMethod.GET], integration=reads)
            acknowledge(route, "APIG4", because="Anyone may read; CloudFront's cache is what is asked.")

        archiver = self._archiver(exports, partitions)

        migrator = self._function(
            "Migrator",
            concurrency=1,
            timeout=MIGRATION_TIMEOUT,
            environment=partitions,
            sql=("migrations", "queries"),
        )
        # Runs again whenever the migrator's package changes, which holds the SQL.
        triggers.Trigger(
            self,
            "Migrate",
            handler=migrator,
            timeout=MIGRATION_TIMEOUT,
            execute_after=[database],
            execute_before=[recorder, query, archiver],
        )

    def migrate_after(self, *others: Construct) -> None:
        """End the release's migrations after everything of this construct and ``others``.

        Whatever fails before, and takes the old code back, then finds the schema that the old code needs.
        """
        before = [child for child in self.node.children if isinstance(child, Construct)]
        postmigrator = self._function(
            "Postmigrator", concurrency=1, timeout=MIGRATION_TIMEOUT, sql=("migrations",)
        )
        triggers.Trigger(
            self,
            "MigrateAfter",
            handler=postmigrator,
            timeout=MIGRATION_TIMEOUT,
            execute_after=[*before, *others],
        )

    def _archiver(self, exports: s3.IBucket, partitions: dict[str, str]) -> Function:
        """The archiver, its schedule, and the alarm that tells when it does not keep up."""
        settings = self._settings
        archiver = self._function(
            "Archiver",
            concurrency=1,
            timeout=Duration.minutes(15),
            environment={
                **partitions,
                "RETENTION_SECONDS": str(settings.retention_seconds),
                "EXPORTS_BUCKET": exports.bucket_name,
            },
            network=self._database.network_with_s3,
        )
        # As the other stack exports it: the acknowledgement has to name what the template will say.
        bucket_arn = Stack.of(exports).export_value(exports.bucket_arn)
        archiver.allow(
            "s3:AbortMultipartUpload",
            "s3:GetObject",
            "s3:PutObject",
            on=f"{bucket_arn}/events/*",
            any_because="One object for each partition, which is named after its days.",
        )
        interval = Duration.minutes(upkeep_minutes(settings.partition_seconds))
        events.Rule(
            self,
            "ArchiverSchedule",
            schedule=events.Schedule.rate(interval),
            targets=[targets.LambdaFunction(archiver, retry_attempts=2)],
        )
        cloudwatch.Alarm(
            self,
            "PartitionsAlarm",
            alarm_name=f"fanfare-{settings.stage}-partitions",
            alarm_description="No partition of events is ahead: recording stops when the present one ends.",
            metric=cloudwatch.Metric(
                namespace=metrics_namespace(settings),
                metric_name="PartitionsAhead",
                dimensions_map={"service": "archiver"},
                statistic="Minimum",
                period=interval,
            ),
            threshold=1,
            comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            evaluation_periods=2,
            # An archiver that does not run is what makes partitions run out.
            treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
        )
        return archiver

    def _function(
        self,
        id_: str,
        *,
        timeout: Duration,
        memory_mb: int = 256,
        environment: dict[str, str] | None = None,
        network: dict[str, Any] | None = None,
        sql: tuple[str, ...] = ("queries",),
        concurrency: int | None = None,
        shared: bool = False,
    ) -> Function:
        """A function that connects to the database and carries the SQL of these folders.

        At most ``concurrency`` of it run at once; without, its event source says how many.
        """
        function = Function(
            self,
            id_,
            self._settings,
            handler=f"lambdas.handlers.{id_.lower()}.handler",
            environment={
                **(self._database.shared_environment if shared else self._database.environment),
                **(environment or {}),
            },
            files={**self._database.files, **sql_files(*sql)},
            network=network or self._database.network,
            timeout=timeout,
            memory_mb=memory_mb,
            concurrency=concurrency,
        )
        self._database.grant_connect(function, shared=shared)
        return function
