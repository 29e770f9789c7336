"""Prepares the schema for a release: a deployment invokes it before new code serves, or fails."""

import dataclasses
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.observability import logger
from lambdas.common.settings import from_environment
from lambdas.history.credentials import password_source
from lambdas.history.database import Database, DatabaseSettings
from lambdas.history.migrations import migrate
from lambdas.history.upkeep import ensure_partitions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(DatabaseSettings):
    """The database's, and the length of a partition."""

    partition_seconds: int


SETTINGS = from_environment(Settings)
DATABASE = Database(
    SETTINGS,
    password_source(SETTINGS),
    application_name="fanfare-migrator",
    # A database that paused takes some 15 seconds to resume, or 30 after a day.
    connect_timeout_seconds=60,
    statement_timeout_seconds=600,
)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Apply the migrations and make the first partitions. Raises MigrationError, which names the file."""
    applied = DATABASE.run(migrate)
    ahead = DATABASE.run(lambda connection: ensure_partitions(connection, SETTINGS.partition_seconds))
    logger.info("Migrated", extra={"applied": applied, "partitions_ahead": ahead})
    return {"applied": applied, "partitions_ahead": ahead}
