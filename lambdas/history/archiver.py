"""The event store's upkeep, on a schedule: partitions are made ahead and archived, ids forgotten."""

import dataclasses
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.history.archiving import roll_up_archives, seal_partitions
from lambdas.history.credentials import password_source
from lambdas.history.database import Database, DatabaseSettings
from lambdas.history.upkeep import ensure_partitions, erase_streamer, forget_seen_events


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(DatabaseSettings):
    """The database's, and the length of a partition."""

    partition_seconds: int


SETTINGS = from_environment(Settings)
DATABASE = Database(
    SETTINGS,
    password_source(SETTINGS),
    application_name="fanfare-archiver",
    # A database that paused takes some 15 seconds to resume, or 30 after a day.
    connect_timeout_seconds=60,
    statement_timeout_seconds=60,
)


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Do the upkeep or, if an operator's event names one in ``erase_streamer_id``, erase a streamer."""
    if streamer_id := event.get("erase_streamer_id"):
        erased = DATABASE.run(lambda connection: erase_streamer(connection, streamer_id))
        logger.info("Streamer erased", extra={"streamer_id": streamer_id, "events": erased})
        return
    ahead = DATABASE.run(lambda connection: ensure_partitions(connection, SETTINGS.partition_seconds))
    metrics.add_metric(name="PartitionsAhead", unit=MetricUnit.Count, value=ahead)
    sealed = DATABASE.run(seal_partitions)
    metrics.add_metric(name="PartitionsSealed", unit=MetricUnit.Count, value=sealed.partitions)
    metrics.add_metric(name="EventsArchived", unit=MetricUnit.Count, value=sealed.events)
    rolled_up = DATABASE.run(roll_up_archives)
    forgotten = DATABASE.run(forget_seen_events)
    logger.info(
        "Upkeep done",
        extra={
            "partitions_ahead": ahead,
            "partitions_sealed": sealed.partitions,
            "events_archived": sealed.events,
            "archives_rolled_up": rolled_up,
            "seen_events_forgotten": forgotten,
        },
    )
