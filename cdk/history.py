"""History: events recorded in PostgreSQL, the routes that read them, and the upkeep of their partitions."""

from aws_cdk import Duration, triggers
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda_event_sources as event_sources
from aws_cdk import aws_sns as sns
from constructs import Construct

from cdk.database import Database
from cdk.function import Function
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


class History(Construct):
    """The recorder and its queue, the query routes, the archiver, and the migrator that runs before them."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        api: apigateway.HttpApi,
        topic: sns.ITopic,
        database: Database,
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
        reads = integrations.HttpLambdaIntegration("QueryIntegration", query)
        for path in READ_ROUTES:
            api.add_routes(path=path, methods=[apigateway.HttpMethod.GET], integration=reads)

        archiver = self._function(
            "Archiver", concurrency=1, timeout=Duration.minutes(10), environment=partitions
        )
        events.Rule(
            self,
            "ArchiverSchedule",
            schedule=events.Schedule.rate(Duration.hours(1)),
            targets=[targets.LambdaFunction(archiver, retry_attempts=2)],
        )

        migrator = self._function(
            "Migrator",
            concurrency=1,
            timeout=Duration.minutes(10),
            environment=partitions,
            sql=("migrations", "queries"),
        )
        # Runs again whenever the migrator's package changes, which holds the SQL.
        triggers.Trigger(
            self,
            "Migrate",
            handler=migrator,
            timeout=Duration.minutes(10),
            execute_after=[database],
            execute_before=[recorder, query, archiver],
        )

    def _function(
        self,
        id_: str,
        *,
        timeout: Duration,
        memory_mb: int = 256,
        environment: dict[str, str] | None = None,
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
            handler=f"lambdas.history.{id_.lower()}.handler",
            environment={
                **(self._database.shared_environment if shared else self._database.environment),
                **(environment or {}),
            },
            files={**self._database.files, **sql_files(*sql)},
            network=self._database.network,
            timeout=timeout,
            memory_mb=memory_mb,
            concurrency=concurrency,
        )
        self._database.grant_connect(function, shared=shared)
        return function
