"""``POST`` and ``DELETE /api/overlays/{login}/key``: make and revoke the key of a viewer's overlay."""

import dataclasses
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.aws import Client
from lambdas.common.login import parse_login
from lambdas.common.observability import logger
from lambdas.common.settings import from_environment
from lambdas.subscriptions.overlay_keys import OverlayKeysTable
from lambdas.subscriptions.responses import INVALID_LOGIN, answer, error_answer


@dataclasses.dataclass(frozen=True)
class Settings:
    """The environment variables, with what the infrastructure calls them in capitals."""

    overlays_table: str


SETTINGS = from_environment(Settings)
OVERLAY_KEYS = OverlayKeysTable(Client("dynamodb"), SETTINGS.overlays_table)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP API request (payload 2.0) that the JWT authorizer has let through."""
    login = parse_login(event["pathParameters"]["login"])
    if login is None:
        return INVALID_LOGIN
    viewer_id = event["requestContext"]["authorizer"]["jwt"]["claims"]["sub"]
    try:
        if event["requestContext"]["http"]["method"] == "DELETE":
            OVERLAY_KEYS.revoke(viewer_id, login)
            logger.info("overlay key revoked", extra={"login": login})
            return answer(204)
        key = OVERLAY_KEYS.make_key(viewer_id, login)
        logger.info("overlay key made", extra={"login": login})
        return answer(200, {"key": key})
    except Exception:
        logger.exception("The overlay's key could not be changed")
        return error_answer(500, "internal_error", "Something went wrong on our side.")
