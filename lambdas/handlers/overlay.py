"""``POST`` and ``DELETE /api/overlays/{login}/key``: make and revoke the key of a viewer's overlay."""

import dataclasses
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.aws import Client
from lambdas.common.login import parse_login
from lambdas.common.observability import logger
from lambdas.common.responses import INVALID_LOGIN, SIGNED_OUT, answer, error_answer
from lambdas.common.settings import from_environment
from lambdas.subscriptions.overlay_keys import OverlayKeysTable
from lambdas.subscriptions.sign_ins import SignIns, SignInSettings


@dataclasses.dataclass(frozen=True)
class Settings(SignInSettings):
    """The environment variables, with what the infrastructure calls them in capitals."""

    overlays_table: str


SETTINGS = from_environment(Settings)
DYNAMODB = Client("dynamodb")
SIGN_INS = SignIns(SETTINGS, DYNAMODB)
OVERLAY_KEYS = OverlayKeysTable(DYNAMODB, SETTINGS.overlays_table)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP API request (payload 2.0) of a viewer."""
    login = parse_login(event["pathParameters"]["login"])
    if login is None:
        return INVALID_LOGIN
    try:
        sign_in = SIGN_INS.find(event)
        if sign_in is None:
            return SIGNED_OUT
        if event["requestContext"]["http"]["method"] == "DELETE":
            OVERLAY_KEYS.revoke(sign_in.viewer_id, login)
            logger.info("overlay key revoked", extra={"login": login})
            return answer(204)
        key = OVERLAY_KEYS.make_key(sign_in.viewer_id, login)
        logger.info("overlay key made", extra={"login": login})
        return answer(200, {"key": key})
    except Exception:
        logger.exception("The overlay's key could not be changed")
        return error_answer(500, "internal_error", "Something went wrong on our side.")
