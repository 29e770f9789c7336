"""Structured logs and metrics, the same for every function.

``logger`` writes one JSON object a line. Functions append an event's id as ``correlation_id``, so one search
finds a delivery's lines from the webhook to the viewers. ``metrics`` writes CloudWatch's embedded metric
format. The service's name comes from POWERTOOLS_SERVICE_NAME, and the namespace, which separates the stages
of an account, from POWERTOOLS_METRICS_NAMESPACE.
"""

import os

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

__all__ = ["MetricUnit", "logger", "metrics"]

logger = Logger()
metrics = Metrics(namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "Fanfare"))
