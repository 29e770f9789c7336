"""Sends events to every viewer of their channel (docs/live.md)."""

import dataclasses
import time
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.aws import Client
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.live.broadcaster import Broadcaster, Report
from lambdas.live.posting import Outcome, Poster
from lambdas.live.transport import CurlTransport

# So much of the time is kept for the last calls, each of which may take two seconds when AWS is slow.
RESERVE_SECONDS = 8


@dataclasses.dataclass(frozen=True)
class Settings:
    """The tables of connections and inboxes, the base URL of @connections, and the function's queues.

    ``posts_per_second`` is how many posts all invocations together may make for one audience.
    """

    connections_table: str
    inboxes_table: str
    connections_endpoint: str
    broadcast_queue_url: str
    fan_out_queue_url: str
    posts_per_second: int


SETTINGS = from_environment(Settings)

POSTER = Poster(CurlTransport(SETTINGS.connections_endpoint), posts_per_second=SETTINGS.posts_per_second)
BROADCASTER = Broadcaster(
    Client("dynamodb"),
    Client("sqs"),
    POSTER,
    connections_table=SETTINGS.connections_table,
    inboxes_table=SETTINGS.inboxes_table,
    broadcast_queue_url=SETTINGS.broadcast_queue_url,
    fan_out_queue_url=SETTINGS.fan_out_queue_url,
)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Broadcast a batch of queue messages (SQS): events, topics, and requests to serve a part."""
    until = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    report = BROADCASTER.broadcast(event["Records"], until)
    _log(report, POSTER.outcome)
    _measure(report, POSTER.outcome)
    return {"batchItemFailures": [{"itemIdentifier": id_} for id_ in [*report.refused, *report.failed]]}


def _log(report: Report, outcome: Outcome) -> None:
    for message_id, problem in report.refused.items():
        logger.error("The message is refused: %s", problem, extra={"message_id": message_id})
    counts = {"posted": outcome.posted, "gone": outcome.gone, "given_up": outcome.given_up}
    logger.info("broadcast", extra={"correlation_ids": report.event_ids, **counts})
    if outcome.given_up:
        problem = outcome.problem or "no answer"
        logger.warning("%d connections were given up for now: %s", outcome.given_up, problem)


def _measure(report: Report, outcome: Outcome) -> None:
    metrics.add_metric("FramesDelivered", MetricUnit.Count, outcome.posted)
    metrics.add_metric("FramesRetried", MetricUnit.Count, outcome.retried)
    metrics.add_metric("FramesThrottled", MetricUnit.Count, outcome.throttled)
    metrics.add_metric("FramesFailed", MetricUnit.Count, outcome.given_up + len(report.refused))
    metrics.add_metric("ConnectionsGone", MetricUnit.Count, outcome.gone)
    for frame, arrived in outcome.arrived.items():
        if frame.oldest:
            # From Twitch's clock to the last viewer; p50 and p99 are CloudWatch's to make.
            age = (arrived - frame.oldest.timestamp()) * 1000
            metrics.add_metric("DeliveryAge", MetricUnit.Milliseconds, max(age, 0))
