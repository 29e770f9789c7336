"""The webhook function with boto3 instead of libcurl, and Powertools' router, parameters, logs and metrics.

It uses the same modules for its decisions. It accepts the secret's current version only.
"""

import os
from datetime import UTC, datetime
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.ingest import eventsub_signature, message

logger, metrics, app = Logger(), Metrics(), APIGatewayHttpResolver()
SNS = boto3.client("sns")
TOPIC, SECRET = os.environ["EVENTS_TOPIC_ARN"], os.environ["WEBHOOK_SECRET_ARN"]


@app.post("/webhooks/twitch")
def receive() -> Response[str]:
    """Verify, publish, answer."""
    headers = {name.lower(): value for name, value in app.current_event.headers.items()}
    logger.set_correlation_id(headers[eventsub_signature.MESSAGE_ID])
    body = (app.current_event.decoded_body or "").encode()
    now = datetime.now(UTC)
    sent_at = eventsub_signature.verify(headers, body, [str(parameters.get_secret(SECRET)).encode()], now)
    read = message.read(headers, body, sent_at, now)
    if isinstance(read, message.Challenge):
        return Response(200, "text/plain", read.text)
    attributes = {"message_type": read.message_type, "event_type": read.event_type}
    SNS.publish(
        TopicArn=TOPIC,
        Message=read.body,
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    )
    logger.info("published", extra=attributes)
    metrics.add_metric("EventsReceived", MetricUnit.Count, 1)
    return Response(204)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one delivery."""
    return app.resolve(event, context)
