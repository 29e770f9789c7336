"""What the model needs to know of cdk/live.py and cdk/stacks.py; tests/infrastructure/live compares them."""

from typing import Any

TIMEOUT_SECONDS = 15.0
MAX_RECEIVE_COUNT = 10
TABLES = {
    "connections": ("streamer_id", "connection_id"),
    "inboxes": ("inbox", "entry"),
    "tickets": ("ticket_hash",),
}
SOURCES: dict[str, dict[str, Any]] = {
    "broadcast": {"batch_size": 10, "max_concurrency": 1_000},
    "fan-out": {"batch_size": 1, "max_concurrency": 20},
}
ENVIRONMENT = {
    "CONNECTIONS_TABLE": "connections",
    "INBOXES_TABLE": "inboxes",
    "TICKETS_TABLE": "tickets",
    "CONNECTIONS_ENDPOINT": "https://model.execute-api.us-east-1.amazonaws.com/live",
    "BROADCAST_QUEUE_URL": "broadcast",
    "FAN_OUT_QUEUE_URL": "fan-out",
}
