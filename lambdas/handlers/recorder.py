"""Records the events of a batch of queue messages, and keeps the messages that cannot be recorded."""

import time
from typing import Any, Final

import psycopg
from aws_lambda_powertools.utilities.typing import LambdaContext
from psycopg.pq import TransactionStatus

from lambdas.common.event import Event, MalformedEventError
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.history.archived_counts import ARCHIVE_EVERY_SECONDS, archive_counts
from lambdas.history.database import Connection, Database, DatabaseSettings
from lambdas.history.database_password import password_source
from lambdas.history.health import measure_health
from lambdas.history.recording import keep_dead_letter, record

#: How long a recorder archives counts, and how long it leaves that to others after it failed.
ARCHIVE_SECONDS: Final = 1.0
ARCHIVE_AGAIN_SECONDS: Final = 30

# Limits of one use of the database, within the function's 15 seconds and the 25 after which a message
# returns.
SETTINGS = from_environment(DatabaseSettings)
DATABASE = Database(
    SETTINGS,
    password_source(SETTINGS),
    application_name="fanfare-recorder",
    connect_timeout_seconds=5,
    statement_timeout_seconds=8,
    deadline_seconds=9,
)
_next_archiving = time.monotonic()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take an SQS batch with raw SNS messages.

    A message that can never be recorded is kept among the dead letters, with the reason. Any other error is
    raised: the queue then delivers the whole batch again.
    """
    messages: list[dict[str, Any]] = []
    events: list[Event] = []
    refused: list[tuple[dict[str, Any], str]] = []
    for message in event["Records"]:
        try:
            events.append(Event.from_json(message["body"]))
            messages.append(message)
        except MalformedEventError as error:
            refused.append((message, str(error)))

    recorded = DATABASE.run(lambda connection: record(connection, events))
    refused += [(messages[position], reason) for position, reason in recorded.refused.items()]
    for message, reason in refused:
        _refuse(message, reason)

    metrics.add_metric(name="EventsRecorded", unit=MetricUnit.Count, value=recorded.new)
    metrics.add_metric(name="EventsDuplicate", unit=MetricUnit.Count, value=recorded.duplicate)
    metrics.add_metric(name="EventsUnrecordable", unit=MetricUnit.Count, value=len(refused))
    logger.info("Recorded", extra={"correlation_ids": [event.id for event in events], "new": recorded.new})
    _archive_if_it_is_time()
    return {"batchItemFailures": []}


def _refuse(message: dict[str, Any], reason: str) -> None:
    message_id = message["messageId"]
    logger.error("Message refused", extra={"message_id": message_id, "reason": reason})
    DATABASE.run(lambda connection: keep_dead_letter(connection, message_id, message["body"], reason))


def _archive_if_it_is_time() -> None:
    """Archive what was recorded, unless this function did so lately. The batch is recorded, come what may."""
    global _next_archiving  # noqa: PLW0603 -- as long as the function's environment lives
    if time.monotonic() < _next_archiving:
        return
    _next_archiving = time.monotonic() + ARCHIVE_EVERY_SECONDS
    try:
        DATABASE.run(_archive)
    except psycopg.Error:
        # It may take longer than a recorder has: the archiver has more time.
        _next_archiving += ARCHIVE_AGAIN_SECONDS
        logger.warning("Archiving counts failed", exc_info=True)


def _archive(connection: Connection) -> None:
    """Archive, and measure whether that keeps up: also if it failed, unless the connection did."""
    try:
        archive_counts(connection, ARCHIVE_SECONDS)
    finally:
        if connection.info.transaction_status == TransactionStatus.IDLE:
            health = measure_health(connection)
            metrics.add_metric(name="WatermarkLag", unit=MetricUnit.Seconds, value=health.watermark_lag)
            metrics.add_metric(
                name="OldestTransaction", unit=MetricUnit.Seconds, value=health.oldest_transaction
            )
