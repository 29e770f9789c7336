"""The event store's upkeep, on a schedule: partitions are made ahead and archived, ids forgotten."""

import dataclasses
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.history.archiving import archive_recorded_events, roll_up_archives
from lambdas.history.credentials import password_source
from lambdas.history.database import Database, DatabaseSettings
from lambdas.history.retention import expire_partitions
from lambdas.history.upkeep import ensure_partitions, erase_streamer, forget_seen_events


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(DatabaseSettings):
    """The database's; the length of a partition, how long it is kept, and where its events go then."""

    partition_seconds: int
    retention_seconds: int
    exports_bucket: str


SETTINGS = from_environment(Settings)
DATABASE = Database(
    SETTINGS,
    password_source(SETTINGS),
    application_name="fanfare-archiver",
    # A database that paused takes some 15 seconds to resume, or 30 after a day.
    connect_timeout_seconds=60,
    statement_timeout_seconds=60,
)
S3 = boto3.client("s3")


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Do the upkeep or, if an operator's event names one in ``erase_streamer_id``, erase a streamer."""
    if streamer_id := event.get("erase_streamer_id"):
        erased = DATABASE.run(lambda connection: erase_streamer(connection, streamer_id))
        logger.info("Streamer erased", extra={"streamer_id": streamer_id, "events": erased})
        return
    ahead = DATABASE.run(lambda connection: ensure_partitions(connection, SETTINGS.partition_seconds))
    _measure(PartitionsAhead=ahead)
    archived = DATABASE.run(archive_recorded_events)
    _measure(PartitionsSealed=archived.partitions, EventsArchived=archived.events)
    rolled_up = DATABASE.run(roll_up_archives)
    _measure(ArchivesRolledUp=rolled_up)
    if DATABASE.run(forget_seen_events):
        logger.info("Old ids forgotten")
    expired = DATABASE.run(
        lambda connection: expire_partitions(
            connection, S3, SETTINGS.exports_bucket, SETTINGS.retention_seconds
        )
    )
    _measure(
        PartitionsExported=expired.exported, PartitionsDropped=expired.dropped, EventsExported=expired.events
    )


def _measure(**counts: int) -> None:
    """Publish the counts as metrics, and log them."""
    for name, count in counts.items():
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=count)
    logger.info("Upkeep", extra=counts)
