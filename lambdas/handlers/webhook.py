"""``POST /webhooks/twitch``: verify, publish, answer."""

import base64
import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.aws import AwsError, Client
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.rotated_secret import RotatedSecretSource
from lambdas.common.settings import from_environment
from lambdas.ingest import eventsub_signature, message, publisher
from lambdas.ingest.refusal import RefusedError

# What is published is smaller if the body has many escapes. Whether SNS takes it is seen then.
MAX_BODY_BYTES = 1024 * 1024
# After a wrong signature the secret is read again, since it may have been rotated; but not more often than
# this, or anybody could make the function call Secrets Manager.
FRESH_SECONDS = 5

Response = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Settings:
    """The topic to publish on, and the secret that Twitch signs with."""

    events_topic_arn: str
    webhook_secret_arn: str


SETTINGS = from_environment(Settings)

# A call ends after 2.1 s. Twitch waits a few seconds for the answer, and sends again after a 5xx.
_SNS = Client("sns")
_SECRET = RotatedSecretSource(Client("secretsmanager"), SETTINGS.webhook_secret_arn)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> Response:
    """Answer one delivery (HTTP API payload 2.0)."""
    headers = {name.lower(): value for name, value in event["headers"].items()}
    logger.set_correlation_id(headers.get(eventsub_signature.MESSAGE_ID))
    try:
        return _accept(headers, _body(event))
    except RefusedError as refusal:
        logger.warning("The delivery was refused: %s", refusal, extra={"reason": refusal.reason})
        return _refuse(refusal)
    except AwsError:
        logger.exception("The delivery could not be verified or published.")
        # With a 5xx Twitch sends it again.
        return _refuse(RefusedError(503, "unavailable", "The delivery could not be published."))


def _accept(headers: dict[str, str], body: bytes) -> Response:
    if len(body) > MAX_BODY_BYTES:
        raise RefusedError(413, "too_large", "The body is larger than 1 MiB.")
    now = datetime.now(UTC)
    sent_at = _verify(headers, body, now)
    read = message.read(headers, body, sent_at, now)
    if isinstance(read, message.Challenge):
        if read.notice is not None:
            _publish_verification(read.notice)
        metrics.add_metric("EventsReceived", MetricUnit.Count, 0)
        return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": read.text}
    publisher.publish(_SNS, SETTINGS.events_topic_arn, read)
    logger.info("published", extra={"message_type": read.message_type, "event_type": read.event_type})
    metrics.add_metric("EventsReceived", MetricUnit.Count, int(read.message_type == "notification"))
    return {"statusCode": 204}


def _publish_verification(notice: message.Message) -> None:
    """Publish that Twitch verifies a callback; Twitch gets the challenge even if this fails."""
    try:
        publisher.publish(_SNS, SETTINGS.events_topic_arn, notice)
    except (AwsError, RefusedError):
        # The reconciler will find the subscription enabled in Twitch's list.
        logger.exception("The verification could not be published.")


def _refuse(refusal: RefusedError) -> Response:
    metrics.add_dimension("reason", refusal.reason)
    metrics.add_metric("EventsRefused", MetricUnit.Count, 1)
    return {
        "statusCode": refusal.status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps({"error": {"code": refusal.reason, "message": str(refusal)}}),
    }


def _body(event: dict[str, Any]) -> bytes:
    body: str = event.get("body", "")
    return base64.b64decode(body) if event["isBase64Encoded"] else body.encode()


def _verify(headers: dict[str, str], body: bytes, now: datetime) -> datetime:
    """Verify with the secret as it was read last, and after a wrong signature as it is now."""
    # A failure to read the secret is an AwsError, not a wrong signature.
    kept = _SECRET.get()
    try:
        return eventsub_signature.verify(headers, body, kept.accepted, now)
    except RefusedError as refusal:
        if refusal.reason != "bad_signature" or (fresh := _SECRET.get(FRESH_SECONDS)) == kept:
            raise
        return eventsub_signature.verify(headers, body, fresh.accepted, now)
