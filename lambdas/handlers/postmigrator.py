"""Ends a release's migrations; a deployment invokes it when no earlier code serves any more."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.observability import logger
from lambdas.common.settings import from_environment
from lambdas.history.credentials import password_source
from lambdas.history.database import Database, DatabaseSettings
from lambdas.history.migrations import migrate

SETTINGS = from_environment(DatabaseSettings)
DATABASE = Database(
    SETTINGS,
    password_source(SETTINGS),
    application_name="fanfare-postmigrator",
    connect_timeout_seconds=60,
    statement_timeout_seconds=600,
)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Apply the migrations that come after the code. Raises MigrationError, which names the file."""
    applied = DATABASE.run(lambda connection: migrate(connection, "after"))
    logger.info("Migrated", extra={"applied": applied})
    return {"applied": applied}
