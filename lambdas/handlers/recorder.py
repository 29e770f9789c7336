"""Records the events of a batch of queue messages, and reports the messages that cannot be recorded."""

import time
from typing import Any, Final

import psycopg
from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.event import Event, MalformedEventError
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.history.archiving import ARCHIVE_EVERY_SECONDS, archive_recorded_events
from lambdas.history.credentials import password_source
from lambdas.history.database import Database, DatabaseSettings
from lambdas.history.recording import record

#: How long archiving is left to others after it failed.
ARCHIVE_AGAIN_SECONDS: Final = 600

SETTINGS = from_environment(DatabaseSettings)
DATABASE = Database(
    SETTINGS,
    password_source(SETTINGS),
    application_name="fanfare-recorder",
    connect_timeout_seconds=10,
    statement_timeout_seconds=10,
)
_next_archiving = time.monotonic()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take an SQS batch with raw SNS messages; answer with the messages to deliver again.

    An error that is no message's fault is raised: the queue then delivers the whole batch again.
    """
    failed: list[str] = []
    message_ids: list[str] = []
    events: list[Event] = []
    for message in event["Records"]:
        try:
            events.append(Event.from_json(message["body"]))
            message_ids.append(message["messageId"])
        except MalformedEventError:
            logger.exception("Malformed message", extra={"message_id": message["messageId"]})
            failed.append(message["messageId"])

    recorded = DATABASE.run(lambda connection: record(connection, events))
    for position, reason in recorded.refused.items():
        logger.error("Refused event", correlation_id=events[position].id, extra={"reason": reason})
        failed.append(message_ids[position])

    metrics.add_metric(name="EventsRecorded", unit=MetricUnit.Count, value=recorded.new)
    metrics.add_metric(name="EventsDuplicate", unit=MetricUnit.Count, value=recorded.duplicate)
    logger.info("Recorded", extra={"correlation_ids": [event.id for event in events], "new": recorded.new})
    _archive_if_it_is_time()
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _archive_if_it_is_time() -> None:
    """Archive what was recorded, unless this function did so lately. The batch is recorded, come what may."""
    global _next_archiving  # noqa: PLW0603 -- as long as the function's environment lives
    if time.monotonic() < _next_archiving:
        return
    _next_archiving = time.monotonic() + ARCHIVE_EVERY_SECONDS
    try:
        DATABASE.run(archive_recorded_events)
    except psycopg.Error:
        # It may take longer than a recorder has: the archiver has more time.
        _next_archiving += ARCHIVE_AGAIN_SECONDS
        logger.warning("Not archived: another time", exc_info=True)
