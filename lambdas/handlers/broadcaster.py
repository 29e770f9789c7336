"""Events to every viewer of their channel."""

import dataclasses
import time
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.aws import Client
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.live.batch import Batch, sort_out
from lambdas.live.broadcaster import Broadcaster
from lambdas.live.posting import Outcome, Poster

# What handing back and removing take at the end, when AWS is slow.
RESERVE_SECONDS = 4


@dataclasses.dataclass(frozen=True)
class Settings:
    """The registry of connections, the base URL of @connections, and the queues that lead back here."""

    connections_table: str
    connections_endpoint: str
    gather_queue_url: str
    fan_out_queue_url: str


SETTINGS = from_environment(Settings)

BROADCASTER = Broadcaster(
    Client("dynamodb"),
    Client("sqs"),
    Poster(SETTINGS.connections_endpoint),
    table=SETTINGS.connections_table,
    gather_queue_url=SETTINGS.gather_queue_url,
    fan_out_queue_url=SETTINGS.fan_out_queue_url,
)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Broadcast a batch of queue messages (SQS): events, topics, and what another invocation handed over.

    A message that comes again reaches its viewers again. Browsers merge by event id, so that is harmless.
    """
    until = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    batch = sort_out(event["Records"])
    for message_id, problem in batch.refused.items():
        logger.error("The message is refused: %s", problem, extra={"message_id": message_id})
    outcome, failed = BROADCASTER.broadcast(batch, until)
    _report(batch, outcome)
    return {"batchItemFailures": [{"itemIdentifier": id_} for id_ in [*batch.refused, *failed]]}


def _report(batch: Batch, outcome: Outcome) -> None:
    left = sum(len(delivery.frames) - delivery.posted for delivery in outcome.left)
    counts = {"posted": outcome.posted, "gone": len(outcome.gone), "left": left}
    logger.info("broadcast", extra={"correlation_ids": batch.event_ids(), **counts})
    if outcome.forbidden:
        logger.error("API Gateway refuses the broadcaster's posts: %s", outcome.forbidden)
    if outcome.left:
        delivery = outcome.left[-1]
        logger.error(
            "%d connections could not be served: %s",
            len(outcome.left),
            outcome.problem or "no time was left",
            extra={"connection_id": delivery.connection.id, "streamer_id": delivery.streamer_id},
        )
    metrics.add_metric("FramesDelivered", MetricUnit.Count, outcome.posted)
    metrics.add_metric("FramesRetried", MetricUnit.Count, outcome.retried)
    metrics.add_metric("FramesThrottled", MetricUnit.Count, outcome.throttled)
    metrics.add_metric("FramesFailed", MetricUnit.Count, left + len(batch.refused))
    metrics.add_metric("ConnectionsGone", MetricUnit.Count, len(outcome.gone))
    for frame, arrived in outcome.arrived.items():
        if frame.oldest:
            # From Twitch's clock to the last viewer; p50 and p99 are CloudWatch's to make.
            age = (arrived - frame.oldest.timestamp()) * 1000
            metrics.add_metric("DeliveryAge", MetricUnit.Milliseconds, max(age, 0))
