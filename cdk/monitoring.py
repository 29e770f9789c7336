"""Monitoring: the alarms that mean something is wrong for users, and the dashboard that shows why.

With CDK's own CloudWatch constructs: cdk-monitoring-constructs would also choose what to look at, hundreds of
graphs and alarms on causes such as CPU, where a few on symptoms are wanted.
"""

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_logs as logs
from aws_cdk import aws_rds as rds
from constructs import Construct

from cdk.data import DataStack
from cdk.function import Function, metrics_namespace
from cdk.http_api import HttpApi
from cdk.ingest import WEBHOOK_ROUTE
from cdk.settings import Settings

RUNBOOK = "docs/runbook.md"
# Below this many requests a minute a high rate of failures is not an outage.
LEAST_REQUESTS = 20
# From Twitch's clock to the viewer's frame.
SLOW_DELIVERY = Duration.seconds(5)
REASONS = (
    *("bad_signature", "stale", "unparsable", "missing_header"),
    *("too_large", "unknown_type", "no_channel"),
)
# On schedules, in deployments or called by SNS, which tries again: nobody waits for these, and an alarm has
# ten metrics at most.
NOT_WAITED_FOR = ("archiver", "migrator", "notices", "postmigrator", "reconciler", "subscriber")

_MINUTE = Duration.minutes(1)
_FIVE_MINUTES = Duration.minutes(5)


class Monitoring(Construct):
    """The dashboard ``fanfare-<stage>`` and every alarm that is not a queue's own.

    Each alarm is named after what is wrong, and has an entry of that name in the runbook.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        http_api: HttpApi,
        websocket_api: apigateway.WebSocketApi,
        data: DataStack,
    ) -> None:
        super().__init__(scope, id_)
        self._settings = settings
        self._http_api = http_api
        self._websocket_api = websocket_api
        self._cluster = data.database.cluster
        self._functions = sorted(
            function.job for function in scope.node.find_all() if isinstance(function, Function)
        )
        self._add_alarms()
        self._add_dashboard()

    # -- alarms ----------------------------------------------------------------------------------------------

    def _add_alarms(self) -> None:
        self._alarm(
            "api-failing",
            "One request in a hundred is answered 5xx: Twitch repeats deliveries, viewers see errors.",
            cloudwatch.MathExpression(
                expression=f"IF(requests > {LEAST_REQUESTS}, 100 * failures / requests, 0)",
                using_metrics={"requests": self._http("Count"), "failures": self._http("5xx")},
                period=_MINUTE,
                label="5xx, per cent",
            ),
            above=1,
            periods=3,
        )
        self._alarm(
            "websocket-failing",
            "The functions behind the WebSocket API fail: viewers cannot connect, or get no events.",
            self._websocket("IntegrationError"),
            above=10,
            periods=3,
        )
        self._alarm(
            "deliveries-failing",
            "Deliveries are answered 429 or 5xx: Twitch sends them again, so events are late, and revokes a "
            "subscription whose deliveries fail for long.",
            self._failed_deliveries(),
            above=10,
            periods=3,
        )
        self._alarm(
            "deliveries-refused",
            "Many deliveries have a wrong signature: Twitch signs with another secret than the webhook's, or "
            "the messages are forged.",
            self._own("EventsRefused", "webhook", "Sum", reason="bad_signature"),
            above=20,
            periods=5,
        )
        self._alarm(
            "delivery-slow",
            f"One event in a hundred reaches viewers later than {SLOW_DELIVERY.to_seconds():.0f} seconds.",
            self._own("DeliveryAge", "broadcaster", "p99"),
            above=SLOW_DELIVERY.to_milliseconds(),
            periods=3,
        )
        for queue, seconds, harm in (
            ("record", 300, "Events wait to be recorded: history and counts lag behind."),
            ("broadcast", 30, "Events wait to be broadcast: viewers see them late."),
        ):
            self._alarm(f"{queue}-lagging", harm, self._oldest_message(queue), above=seconds, periods=3)
        self._alarm(
            "functions-throttled",
            "Lambda refuses to run a function, as too many run at once: raise its limit, or the account's.",
            self._sum("Throttles", [job for job in self._functions if job not in NOT_WAITED_FOR]),
            above=0,
            periods=3,
        )
        self._alarm(
            "reconciler-failing",
            "Three runs in a row did not come to their end, or did not begin: what Twitch ended without a "
            "notice is not made again.",
            self._own("RunsCompleted", "reconciler", "Sum", _FIVE_MINUTES),
            below=1,
            periods=3,
            missing=cloudwatch.TreatMissingData.BREACHING,
        )
        self._alarm(
            "archiver-failing",
            "The upkeep of the event store fails: recording stops when the last partition has ended.",
            self._lambda("Errors", "archiver", Duration.hours(1)),
            above=1,
            periods=1,
        )
        interval = Duration.minutes(self._settings.upkeep_minutes)
        self._alarm(
            "partitions",
            "No partition of events is ahead: recording stops when the present one ends.",
            self._own("PartitionsAhead", "archiver", "Minimum", interval),
            below=1,
            periods=2,
            # If the archiver does not run, no partitions are made.
            missing=cloudwatch.TreatMissingData.BREACHING,
        )
        self._add_store_alarms(interval)
        self._alarm(
            "twitch-budget",
            "Nine tenths of the cost that Twitch allows are used: above 95 %, subscriptions are deleted.",
            cloudwatch.MathExpression(
                expression="100 * cost / allowed",
                using_metrics={
                    "cost": self._own("SubscriptionCost", "reconciler", "Maximum", _FIVE_MINUTES),
                    "allowed": self._own("SubscriptionCostLimit", "reconciler", "Maximum", _FIVE_MINUTES),
                },
                period=_FIVE_MINUTES,
                label="cost, per cent",
            ),
            above=90,
            periods=2,
        )
        if self._cluster:
            self._alarm(
                "database-busy",
                "The database is at the limit of its capacity units: raise `database.max_capacity`.",
                self._database(self._cluster, "ACUUtilization", _FIVE_MINUTES),
                above=90,
                periods=3,
            )

    def _add_store_alarms(self, interval: Duration) -> None:
        """What makes the event store slow or wrong; ``interval`` is that of its upkeep."""
        self._alarm(
            "events-unrecordable",
            "Messages can never be recorded; they are kept with the reason.",
            self._own("EventsUnrecordable", "recorder", "Sum"),
            above=0,
            periods=1,
        )
        self._alarm(
            "watermark-lagging",
            "Events recorded more than a minute ago are not in the archived counts: counts become slow.",
            self._own("WatermarkLag", "recorder", "Maximum"),
            above=60,
            periods=5,
        )
        self._alarm(
            "transaction-open",
            "A transaction has been open for an hour: old tables are not dropped, dead rows stay.",
            self._own("OldestTransaction", "recorder", "Maximum", _FIVE_MINUTES),
            above=3600,
            periods=3,
        )
        self._alarm(
            "exports-behind",
            "Partitions that are too old are not exported as fast as new ones come.",
            self._own("ExportsBehind", "archiver", "Minimum", interval),
            above=2,
            periods=2,
        )
        self._alarm(
            "totals-bloated",
            "The totals have three times as many dead rows as live ones: vacuum does not keep up.",
            self._own("DeadTotals", "archiver", "Minimum", interval),
            above=300,
            periods=2,
        )
        self._alarm(
            "totals-wrong",
            "Totals differ from the archived counts that they are the sums of: counts are shown wrong.",
            self._own("TotalsWrong", "archiver", "Maximum", interval),
            above=0,
            periods=1,
        )

    def _alarm(
        self,
        name: str,
        description: str,
        metric: cloudwatch.IMetric,
        *,
        above: float | None = None,
        below: float | None = None,
        periods: int,
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
    ) -> None:
        """Raised when the metric was above or below a limit in each of its last ``periods``."""
        limit = above if above is not None else below
        assert limit is not None  # noqa: S101 -- every call gives one
        cloudwatch.Alarm(
            self,
            "".join(word.capitalize() for word in name.split("-")),
            alarm_name=f"fanfare-{self._settings.stage}-{name}",
            alarm_description=f"{description} What to do: {RUNBOOK}#{name}",
            metric=metric,
            threshold=limit,
            comparison_operator=(
                cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
                if above is not None
                else cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
            ),
            evaluation_periods=periods,
            treat_missing_data=missing,
        )

    # -- dashboard -------------------------------------------------------------------------------------------

    def _add_dashboard(self) -> None:
        dashboard = cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=f"fanfare-{self._settings.stage}",
            default_interval=Duration.hours(3),
            period_override=cloudwatch.PeriodOverride.AUTO,
        )
        dashboard.add_widgets(
            _graph(
                "Received → recorded → delivered",
                self._own("EventsReceived", "webhook", "Sum"),
                self._own("EventsRecorded", "recorder", "Sum"),
                self._own("FramesDelivered", "broadcaster", "Sum"),
            ),
            _graph(
                "Delivery age: from Twitch to the last viewer",
                self._own("DeliveryAge", "broadcaster", "p50"),
                self._own("DeliveryAge", "broadcaster", "p99"),
            ),
            _graph(
                "Refused deliveries, by reason",
                *(self._own("EventsRefused", "webhook", "Sum", reason=reason) for reason in REASONS),
                stacked=True,
            ),
        )
        dashboard.add_widgets(
            _graph(
                "Twitch: cost of subscriptions, and what is allowed",
                self._own("SubscriptionCost", "reconciler", "Maximum"),
                self._own("SubscriptionCostLimit", "reconciler", "Maximum"),
            ),
            _graph(
                "Subscriptions made and deleted",
                self._own("SubscriptionsCreated", "subscriber", "Sum"),
                self._own("SubscriptionsDeleted", "reconciler", "Sum"),
            ),
            _graph(
                "Age of the oldest event in each queue",
                *(self._oldest_message(queue) for queue in ("record", "broadcast")),
            ),
        )
        dashboard.add_widgets(
            _graph(
                "Event store: partitions ahead, exports behind",
                self._own("PartitionsAhead", "archiver", "Minimum"),
                self._own("ExportsBehind", "archiver", "Maximum"),
            ),
            _graph(
                "Event store: seconds of the watermark's lag and of the oldest transaction",
                self._own("WatermarkLag", "recorder", "Maximum"),
                self._own("OldestTransaction", "recorder", "Maximum"),
            ),
            _graph(
                "Frames: retried, throttled, failed; connections gone",
                *(
                    self._own(name, "broadcaster", "Sum")
                    for name in ("FramesRetried", "FramesThrottled", "FramesFailed", "ConnectionsGone")
                ),
            ),
            self._database_graph(),
        )
        dashboard.add_widgets(
            _graph("Function errors", *(self._lambda("Errors", job) for job in self._functions)),
            _graph(
                "What costs money: requests",
                self._http("Count"),
                self._websocket("MessageCount"),
                self._websocket("ConnectCount"),
                self._sum("Invocations", self._functions),
            ),
            _graph("What costs money: function time", self._sum("Duration", self._functions), stacked=True),
        )

    def _database_graph(self) -> cloudwatch.IWidget:
        if not self._cluster:
            return cloudwatch.TextWidget(
                markdown="The database is not a part of this stage: look where it runs.", width=8, height=6
            )
        return _graph(
            "Database: capacity units and connections",
            self._database(self._cluster, "ServerlessDatabaseCapacity", _MINUTE),
            self._database(self._cluster, "DatabaseConnections", _MINUTE),
        )

    # -- metrics ---------------------------------------------------------------------------------------------

    def _failed_deliveries(self) -> cloudwatch.Metric:
        """Deliveries answered 429 or 5xx, of the access log: API Gateway's own metrics know no 429.

        Of very many 429 it may log a part only.
        https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html
        """

        def is_(field: str, value: str) -> logs.JsonPattern:
            return logs.FilterPattern.string_value(f"$.{field}", "=", value)

        failed = logs.FilterPattern.any(is_("status", "429"), is_("status", "5*"))
        counted = self._http_api.access_logs.add_metric_filter(
            "FailedDeliveries",
            filter_pattern=logs.FilterPattern.all(is_("routeKey", WEBHOOK_ROUTE), failed),
            metric_namespace=metrics_namespace(self._settings),
            metric_name="DeliveriesFailed",
        )
        return counted.metric(statistic="Sum", period=_MINUTE)

    def _own(
        self, name: str, job: str, statistic: str, period: Duration = _MINUTE, **dimensions: str
    ) -> cloudwatch.Metric:
        """What a function itself has measured."""
        return cloudwatch.Metric(
            namespace=metrics_namespace(self._settings),
            metric_name=name,
            dimensions_map={"service": job, **dimensions},
            statistic=statistic,
            period=period,
        )

    def _lambda(self, name: str, job: str, period: Duration = _FIVE_MINUTES) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/Lambda",
            metric_name=name,
            dimensions_map={"FunctionName": f"fanfare-{self._settings.stage}-{job}"},
            statistic="Sum",
            period=period,
        )

    def _sum(self, name: str, jobs: Sequence[str]) -> cloudwatch.MathExpression:
        """A metric of several functions together."""
        metrics = {f"m{number}": self._lambda(name, job, _MINUTE) for number, job in enumerate(jobs)}
        return cloudwatch.MathExpression(
            expression="SUM(METRICS())", using_metrics=metrics, period=_MINUTE, label=f"{name} of functions"
        )

    def _oldest_message(self, queue: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/SQS",
            metric_name="ApproximateAgeOfOldestMessage",
            dimensions_map={"QueueName": f"fanfare-{self._settings.stage}-{queue}"},
            statistic="Maximum",
            period=_MINUTE,
        )

    def _http(self, name: str) -> cloudwatch.Metric:
        return self._http_api.metric(name, statistic="Sum", period=_MINUTE)

    def _websocket(self, name: str) -> cloudwatch.Metric:
        return self._websocket_api.metric(name, statistic="Sum", period=_MINUTE)

    def _database(self, cluster: rds.IDatabaseCluster, name: str, period: Duration) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/RDS",
            metric_name=name,
            dimensions_map={"DBClusterIdentifier": cluster.cluster_identifier},
            statistic="Maximum",
            period=period,
        )


def _graph(title: str, *metrics: cloudwatch.IMetric, stacked: bool = False) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(
        title=title,
        left=[*metrics],
        width=8,
        height=6,
        stacked=stacked,
        left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
    )
