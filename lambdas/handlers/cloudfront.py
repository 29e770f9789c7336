"""The HTTP API's authorizer of what anyone may call: the request has to come through CloudFront."""

import dataclasses
import hmac
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.aws import Client
from lambdas.common.observability import logger
from lambdas.common.rotated_secret import RotatedSecret, RotatedSecretSource
from lambdas.common.settings import from_environment

# After a wrong value the secret is read again, since it may have been rotated; but not more often than this.
FRESH_SECONDS = 5


@dataclasses.dataclass(frozen=True)
class Settings:
    """The secret that CloudFront adds to each request."""

    origin_secret_arn: str


SETTINGS = from_environment(Settings)
_SECRET = RotatedSecretSource(Client("secretsmanager"), SETTINGS.origin_secret_arn)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, bool]:
    """Admit a request whose header has the secret (REQUEST authorizer, payload 2.0, simple response)."""
    (value,) = event["identitySource"]
    return {"isAuthorized": _is(value, _SECRET.get()) or _is(value, _SECRET.get(FRESH_SECONDS))}


def _is(value: str, secret: RotatedSecret) -> bool:
    return any(hmac.compare_digest(value.encode(), accepted) for accepted in secret.accepted)
