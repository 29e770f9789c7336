"""Events to every viewer of their channel."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lambdas.common import connections
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.common.topics_change import TopicsChange
from lambdas.live import frames
from lambdas.live.batch import Message, sort_out
from lambdas.live.delivery import Outcome, deliver

POSTS_AT_ONCE = 32


@dataclasses.dataclass(frozen=True)
class Settings:
    """The registry of connections and the base URL of @connections."""

    connections_table: str
    connections_endpoint: str


SETTINGS = from_environment(Settings)

_DYNAMODB = boto3.client("dynamodb")
_CONNECTIONS = boto3.client(
    "apigatewaymanagementapi",
    endpoint_url=SETTINGS.connections_endpoint,
    config=Config(
        max_pool_connections=POSTS_AT_ONCE,
        connect_timeout=1,
        read_timeout=3,
        retries={"mode": "standard", "total_max_attempts": 3},
    ),
)
_POOL = ThreadPoolExecutor(POSTS_AT_ONCE)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Broadcast a batch of events (SQS, raw bodies); the messages that failed are reported and come again.

    A retried event reaches all viewers of its channel again. Browsers merge by event id, so that is harmless.
    """
    batch = sort_out(event["Records"])
    failed = list(batch.refused)
    metrics.add_metric("FramesFailed", MetricUnit.Count, len(batch.refused))
    for message_id, problem in batch.refused.items():
        logger.error("The message is refused: %s", problem, extra={"message_id": message_id})
    for streamer_id, messages in batch.channels.items():
        if not _broadcast(streamer_id, messages):
            failed += [message.id for message in messages]
    for message_id, change in batch.topics.items():
        if not _tell(change):
            failed.append(message_id)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _broadcast(streamer_id: str, messages: list[Message]) -> bool:
    """Send the channel's events to its viewers; False if any of them must get them again."""
    packed = list(frames.pack(message.event for message in messages))
    outcome = _send(streamer_id, packed)
    if outcome is None:
        return False
    _report(messages, outcome, len(packed))
    return not outcome.failed


def _tell(change: TopicsChange) -> bool:
    """Tell the channel's viewers how its topics stand; False if any of them must be told again."""
    outcome = _send(change.streamer_id, [change.frame()])
    return outcome is not None and not outcome.failed


def _send(streamer_id: str, packed: list[bytes]) -> Outcome | None:
    """Send frames to the channel's viewers; None if it cannot be told who they are."""
    table, now = SETTINGS.connections_table, datetime.now(UTC)
    try:
        viewers = connections.iterate(_DYNAMODB, table, streamer_id, now)
        outcome = deliver(_CONNECTIONS, _POOL, viewers, packed, now)
        for connection_id in outcome.gone:
            connections.remove(_DYNAMODB, table, streamer_id=streamer_id, connection_id=connection_id)
    except (BotoCoreError, ClientError):
        # One channel's trouble is not the others'.
        logger.exception("The registry of connections failed.", extra={"streamer_id": streamer_id})
        metrics.add_metric("FramesFailed", MetricUnit.Count, len(packed))
        return None
    return outcome


def _report(messages: list[Message], outcome: Outcome, frame_count: int) -> None:
    metrics.add_metric("FramesDelivered", MetricUnit.Count, frame_count * outcome.served)
    metrics.add_metric("FramesFailed", MetricUnit.Count, frame_count * len(outcome.failed))
    metrics.add_metric("ConnectionsGone", MetricUnit.Count, len(outcome.gone))
    now = datetime.now(UTC)
    counts = {"served": outcome.served, "gone": len(outcome.gone), "failed": len(outcome.failed)}
    for message in messages:
        if outcome.served:
            age = (now - message.event.occurred_at).total_seconds() * 1000
            metrics.add_metric("DeliveryAge", MetricUnit.Milliseconds, max(age, 0))
        logger.info("broadcast", correlation_id=message.event.id, extra=counts)
    if outcome.failed:
        connection_id, error = next(iter(outcome.failed.items()))
        logger.error(
            "%d connections could not be served; the first:",
            len(outcome.failed),
            exc_info=error,
            extra={"connection_id": connection_id, "streamer_id": messages[0].event.streamer_id},
        )
