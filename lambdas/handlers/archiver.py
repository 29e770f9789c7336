"""The event store's upkeep, on a schedule: partitions are made ahead and archived, ids forgotten."""

import dataclasses
from typing import Any, Final

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.history.archived_counts import archive_counts, move_windows, roll_up_archived_counts
from lambdas.history.database import Database, DatabaseSettings
from lambdas.history.database_password import password_source
from lambdas.history.health import check_totals, measure_health
from lambdas.history.recording import record_dead_letters
from lambdas.history.retention import expire_partitions
from lambdas.history.upkeep import ensure_partitions, erase_streamer, finish_erasures, forget_seen_events


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(DatabaseSettings):
    """The database's; the length of a partition, how long it is kept, and where its events go then."""

    partition_seconds: int
    retention_seconds: int
    exports_bucket: str


SETTINGS = from_environment(Settings)


def _database() -> Database:
    return Database(
        SETTINGS,
        password_source(SETTINGS),
        application_name="fanfare-archiver",
        # A database that paused takes some 15 seconds to resume, or 30 after a day.
        connect_timeout_seconds=60,
        statement_timeout_seconds=60,
    )


DATABASE = _database()
#: Another connection for exports: the function has two virtual CPUs.
SECOND_DATABASE = _database()
S3 = boto3.client("s3")

#: What a step counted, by the name of its metric.
Counts = dict[str, float]

#: What is left of the function's time when no further part of an export is begun: a part takes some seconds.
RESERVE_SECONDS: Final = 120
#: For how long counts are archived, and windows moved.
STEP_SECONDS: Final = 180


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Do the upkeep, or what an operator's event asks for.

    ``{"erase_streamer_id": …}`` erases a streamer, ``{"record_dead_letters": true}`` records what can be
    recorded after all. Each step of the upkeep is done whatever the others do; raises ExceptionGroup at the
    end if some failed.
    """
    if streamer_id := event.get("erase_streamer_id"):
        erased = DATABASE.run(lambda connection: erase_streamer(connection, streamer_id))
        logger.info("Streamer erased", extra={"streamer_id": streamer_id, "events": erased})
        return
    if event.get("record_dead_letters"):
        logger.info("Dead letters recorded", extra={"events": DATABASE.run(record_dead_letters)})
        return
    failures: list[Exception] = []
    for step in (_ensure, _archive, _move, _roll_up, _forget, _erase, _expire, _check, _measure):
        try:
            counts = step(context)
        except Exception as error:
            logger.exception("A step of the upkeep failed", extra={"step": step.__name__})
            failures.append(error)
        else:
            logger.info("Upkeep", extra=counts)
            for name, value in counts.items():
                metrics.add_metric(name=name, unit=MetricUnit.NoUnit, value=value)
    if failures:
        raise ExceptionGroup("steps of the upkeep failed", failures)


def _ensure(context: LambdaContext) -> Counts:
    seconds = SETTINGS.partition_seconds
    return {"PartitionsAhead": DATABASE.run(lambda connection: ensure_partitions(connection, seconds))}


def _archive(context: LambdaContext) -> Counts:
    archived = DATABASE.run(lambda connection: archive_counts(connection, STEP_SECONDS))
    if archived.state != "done":
        logger.warning("Not all counts are archived: %s", archived.state)
    return {"PartitionsSealed": archived.partitions, "EventsArchived": archived.events}


def _move(context: LambdaContext) -> Counts:
    return {"WindowDaysMoved": DATABASE.run(lambda connection: move_windows(connection, STEP_SECONDS))}


def _roll_up(context: LambdaContext) -> Counts:
    return {"ArchivesRolledUp": DATABASE.run(roll_up_archived_counts)}


def _forget(context: LambdaContext) -> Counts:
    return {"IdsForgotten": DATABASE.run(forget_seen_events)}


def _erase(context: LambdaContext) -> Counts:
    return {"ErasuresFinished": DATABASE.run(finish_erasures)}


def _expire(context: LambdaContext) -> Counts:
    seconds = context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    expired = DATABASE.run(
        lambda first: SECOND_DATABASE.run(
            lambda second: expire_partitions(
                (first, second), S3, SETTINGS.exports_bucket, SETTINGS.retention_seconds, seconds
            )
        )
    )
    return {
        "PartsExported": expired.parts,
        "EventsExported": expired.events,
        "PartitionsDropped": expired.dropped,
        "ExportsBehind": expired.behind,
    }


def _check(context: LambdaContext) -> Counts:
    checked = DATABASE.run(check_totals)
    if checked.differences:
        logger.error("Totals differ from archived counts", extra={"examples": checked.examples})
    return {"TotalsWrong": checked.differences}


def _measure(context: LambdaContext) -> Counts:
    health = DATABASE.run(measure_health)
    return {
        "WatermarkLag": health.watermark_lag,
        "OldestTransaction": health.oldest_transaction,
        "DeadTotals": health.dead_totals,
    }
