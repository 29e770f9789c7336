"""The webhook function's start and first answer, compared with boto3 and all of Powertools; its warm time.

A start is a new interpreter that loads the handler and answers a signed notification: it reads the secret
and publishes, both over TLS with a server on loopback (``aws``). Ours starts from the package that is
deployed, with its bytecode and without; boto3 has bytecode, too.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from benchmarks import aws, server, webhook_run
from benchmarks.result import Result, limit
from cdk.packaging import ROOT, function_package
from lambdas.ingest.eventsub_signature import sign

OURS, BOTO3 = "lambdas.handlers.webhook", "benchmarks.webhook_boto3"
SOURCES = "sources"
STARTS = 15
WARM_RUNS, NOTIFICATIONS = 5, 2_000
SETTINGS = {
    "EVENTS_TOPIC_ARN": f"arn:aws:sns:{server.REGION}:123456789012:events",
    "WEBHOOK_SECRET_ARN": f"arn:aws:secretsmanager:{server.REGION}:123456789012:secret:webhook",
    "POWERTOOLS_SERVICE_NAME": "webhook",
    "POWERTOOLS_METRICS_NAMESPACE": "Fanfare",
}


def measure() -> list[Result]:
    """Start all in turn, so that a busy moment of the machine affects all; returns medians."""
    package = function_package(f"{OURS}.handler", "host").path
    with server.running() as settings, tempfile.TemporaryDirectory() as folder:
        bare, written = f"{folder}/bare", f"{folder}/bytecode"
        shutil.copytree(package, bare, ignore=shutil.ignore_patterns("__pycache__"))
        common = {**settings, **SETTINGS}
        common.pop("PYTHONDONTWRITEBYTECODE", None)
        common.pop("PYTHONPYCACHEPREFIX", None)
        environments = {
            OURS: {**common, "PYTHONPATH": str(package)},
            SOURCES: {**common, "PYTHONPATH": bare, "PYTHONDONTWRITEBYTECODE": "1"},
            BOTO3: {**common, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": written},
        }
        modules = {OURS: OURS, SOURCES: OURS, BOTO3: BOTO3}
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in modules}
        for _ in range(1 + STARTS):
            for name, figures in runs.items():
                figures.append(_run(environments[name], "start", modules[name]))
        # The minimum, because other load on the machine can only increase it.
        warm = min(_run(environments[OURS], "warm", OURS, NOTIFICATIONS)["cpu_ms"] for _ in range(WARM_RUNS))

    def median(name: str, figure: str) -> float:
        # Without the first one, in which boto3's bytecode is compiled.
        return statistics.median(run[figure] for run in runs[name][1:])

    ours, sources, theirs = (median(name, "answered_ms") for name in (OURS, SOURCES, BOTO3))
    return [
        Result(
            name="webhook: fresh interpreter to first answer",
            unit="ms",
            ours=ours,
            baseline_name="boto3, all of Powertools",
            baseline=theirs,
            ratio=ours / theirs,
            target=0.3,
            better="lower",
        ),
        Result(
            name="webhook: the same from a package with bytecode",
            unit="ms",
            ours=ours,
            baseline_name="from its sources",
            baseline=sources,
            ratio=ours / sources,
            target=0.85,
            better="lower",
        ),
        limit("webhook: imports", "ms", median(OURS, "imports_ms"), 150, "lower"),
        limit("webhook: CPU a notification, publishing aside", "ms", warm, 0.3, "lower"),
    ]


def notification() -> dict[str, Any]:
    """The HTTP API's event for one of Twitch's notifications (payload 2.0)."""
    now = datetime.now(UTC).isoformat()
    event = {
        "broadcaster_user_id": "1337",
        "broadcaster_user_login": "cool_user",
        "broadcaster_user_name": "Cool_User",
        "title": "Best stream ever",
        "language": "en",
        "category_id": "12453",
        "category_name": "Grand Theft Auto",
        "content_classification_labels": ["MatureGame"],
    }
    subscription = {
        "id": "f1c2a387-161a-49f9-a165-0f21d7a4e1c4",
        "type": "channel.update",
        "version": "2",
        "status": "enabled",
        "cost": 0,
        "condition": {"broadcaster_user_id": "1337"},
        "created_at": now,
        "transport": {"method": "webhook", "callback": "https://fanfare.example/webhooks/twitch"},
    }
    body, id_ = json.dumps({"subscription": subscription, "event": event}), str(uuid.uuid4())
    return {
        "version": "2.0",
        "routeKey": "POST /webhooks/twitch",
        "rawPath": "/webhooks/twitch",
        "rawQueryString": "",
        "headers": {
            "content-type": "application/json",
            "host": "fanfare.example",
            "twitch-eventsub-message-id": id_,
            "twitch-eventsub-message-retry": "0",
            "twitch-eventsub-message-type": "notification",
            "twitch-eventsub-message-signature": sign(id_, now, body.encode(), aws.WEBHOOK_KEY.encode()),
            "twitch-eventsub-message-timestamp": now,
            "twitch-eventsub-subscription-type": "channel.update",
            "twitch-eventsub-subscription-version": "2",
        },
        "requestContext": {
            "http": {"method": "POST", "path": "/webhooks/twitch", "protocol": "HTTP/1.1"},
            "stage": "$default",
            "requestId": "a-request",
        },
        "body": body,
        "isBase64Encoded": False,
    }


def _run(environment: dict[str, str], *arguments: object) -> dict[str, float]:
    """Run ``webhook_run``; returns its figures."""
    event = json.dumps(notification())
    # -P: modules come from PYTHONPATH, not from this folder.
    command = [sys.executable, "-P", webhook_run.__file__, str(time.monotonic()), *map(str, arguments)]
    done = subprocess.run(
        command, env=environment, check=True, input=event, stdout=subprocess.PIPE, text=True
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures
