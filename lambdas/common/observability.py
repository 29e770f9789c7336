"""Structured logs and metrics, the same for every function.

``logger`` writes one JSON object a line; append an event's id as ``correlation_id`` so that one search
follows a delivery from the webhook to the viewers. ``metrics`` writes CloudWatch's embedded metric format.
Both take the function's name from POWERTOOLS_SERVICE_NAME, and the metrics their namespace, which keeps the
stages of an account apart, from POWERTOOLS_METRICS_NAMESPACE.
"""

import os

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

__all__ = ["MetricUnit", "logger", "metrics"]

logger = Logger()
metrics = Metrics(namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "Fanfare"))
