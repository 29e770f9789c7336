"""History: events recorded in PostgreSQL, the routes that read them, and the upkeep of their partitions."""

from typing import Any

from aws_cdk import Duration, Stack, triggers
from aws_cdk import aws_lambda_event_sources as event_sources
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct

from cdk.data import DataStack
from cdk.feed import Feed
from cdk.function import Function
from cdk.http_api import HttpApi
from cdk.output import output
from cdk.packaging import Files, api_routes_file, sql_files
from cdk.settings import RECORD_CONCURRENCY, Settings

READ_ROUTES = (
    "/api/channels/{login}/events",
    "/api/channels/{login}/counts",
    "/api/channels/{login}/counts/daily",
    "/api/channels/{login}/counts/minutely",
    "/api/leaderboard",
    "/api/openapi.json",
)
# `curl -I` asks with HEAD, which an HTTP API answers 404 unless a route says so.
READ_METHODS = ("GET", "HEAD")
RECORD_BATCH = 500
MIGRATION_TIMEOUT = Duration.minutes(10)


class History(Construct):
    """The recorder and its queue, the query routes, the archiver, and the migrations around them."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        api: HttpApi,
        topic: sns.ITopic,
        data: DataStack,
    ) -> None:
        super().__init__(scope, id_)
        self._settings = settings
        self._database = data.database
        output(self, "ExportsBucketName", data.exports.bucket_name)
        partitions = {"PARTITION_SECONDS": str(settings.partition_seconds)}

        self.feed = Feed(
            self,
            "Feed",
            settings,
            topic=topic,
            name="record",
            # A batch that failed comes again this long after it came. The function could not shorten it: it
            # reaches nothing but the database. While batches fail, Lambda itself takes fewer at once.
            visibility_timeout=Duration.seconds(25),
            # SQS's maximum. 1,000 times 25 s are almost seven hours.
            max_receive_count=1000,
        )
        recorder = self._function("Recorder", shared=True, timeout=Duration.seconds(15), memory_mb=512)
        # Many events in a transaction, for which an event waits a second at most.
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
            files=api_routes_file(),
        )
        api.route_to(
            query,
            dict.fromkeys(
                (f"{method} {path}" for path in READ_ROUTES for method in READ_METHODS),
                api.through_cloudfront,
            ),
        )

        archiver = self._archiver(data.exports, partitions)

        migrator = self._function(
            "Migrator",
            concurrency=1,
            timeout=MIGRATION_TIMEOUT,
            environment=partitions,
            sql=("migrations", "functions", "queries"),
        )
        # Runs again whenever the migrator's package changes, which holds the SQL.
        triggers.Trigger(
            self,
            "Migrate",
            handler=migrator,
            timeout=MIGRATION_TIMEOUT,
            execute_after=[data.database],
            execute_before=[recorder, query, archiver],
        )

    def migrate_after(self, *others: Construct) -> None:
        """Run the release's last migrations after everything of this construct and ``others`` is in place.

        If the release fails before and the old code comes back, the schema is still the one it needs.
        """
        before = [child for child in self.node.children if isinstance(child, Construct)]
        postmigrator = self._function(
            "Postmigrator", concurrency=1, timeout=MIGRATION_TIMEOUT, sql=("migrations", "functions")
        )
        triggers.Trigger(
            self,
            "MigrateAfter",
            handler=postmigrator,
            timeout=MIGRATION_TIMEOUT,
            execute_after=[*before, *others],
        )

    def _archiver(self, exports: s3.IBucket, partitions: dict[str, str]) -> Function:
        """The archiver and its schedule."""
        archiver = self._function(
            "Archiver",
            concurrency=1,
            timeout=Duration.minutes(15),
            # Two virtual CPUs: two parts of an export at once.
            memory_mb=3538,
            environment={
                **partitions,
                "RETENTION_SECONDS": str(self._settings.retention_seconds),
                "EXPORTS_BUCKET": exports.bucket_name,
            },
            network=self._database.network_with_s3,
        )
        # The data stack's export of it: the acknowledgement has to name it as the template does.
        bucket_arn = Stack.of(exports).export_value(exports.bucket_arn)
        archiver.allow(
            "s3:AbortMultipartUpload",
            "s3:GetObject",
            "s3:PutObject",
            on=f"{bucket_arn}/events/*",
            any_because="Some objects for each partition, named after it.",
        )
        archiver.run_every(Duration.minutes(self._settings.upkeep_minutes), retry_attempts=2)
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
        files: Files | None = None,
    ) -> Function:
        """A function that connects to the database; its package has the SQL of these folders, and ``files``.

        With ``shared`` it connects through the proxy, if there is one. Without ``concurrency`` its event
        source limits how many run at once.
        """
        function = Function(
            self,
            id_,
            self._settings,
            environment={
                **(self._database.shared_environment if shared else self._database.environment),
                **(environment or {}),
            },
            files={**self._database.files, **sql_files(*sql), **(files or {})},
            network=network or self._database.network,
            timeout=timeout,
            memory_mb=memory_mb,
            concurrency=concurrency,
        )
        self._database.grant_connect(function, shared=shared)
        return function
