"""Requests to subscribe what a channel lacks: ask Twitch, and tell the channel's viewers."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.aws import Client
from lambdas.common.observability import MetricUnit, logger, metrics
from lambdas.common.settings import from_environment
from lambdas.subscriptions.requests import Request
from lambdas.subscriptions.subscriber_factory import SubscriberSettings, make_subscriber
from lambdas.subscriptions.subscription_status import Announcer

SETTINGS = from_environment(SubscriberSettings)
DYNAMODB = Client("dynamodb")
SQS = Client("sqs")
SUBSCRIBER = make_subscriber(SETTINGS, DYNAMODB, SQS)
ANNOUNCER = Announcer(SUBSCRIBER.statuses.table, SUBSCRIBER.grants, SQS, SETTINGS.broadcast_queue_url)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Handle a batch of queue messages (SQS); those that fail come again."""
    failed = []
    for record in event["Records"]:
        try:
            _handle(Request.from_json(record["body"]))
        except Exception:
            logger.exception("A request could not be handled", extra={"message_id": record["messageId"]})
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


def _handle(request: Request) -> None:
    created = SUBSCRIBER.handle(request)
    metrics.add_metric("SubscriptionsCreated", MetricUnit.Count, len(created))
    ANNOUNCER.tell(request.streamer_id, settled=True)
