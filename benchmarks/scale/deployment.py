"""What the model needs to know of cdk/live.py; tests/infrastructure compares them."""

TIMEOUT_SECONDS = 15.0
TABLES = {
    "connections": ("streamer_id", "connection_id"),
    "tickets": ("ticket_hash",),
}
QUEUES = ("broadcast", "gather", "fan-out")
SOURCES = {
    "broadcast": {"batch_size": 10, "max_concurrency": 1000},
    "gather": {"batch_size": 200, "window": 1.0, "max_concurrency": 2},
    "fan-out": {"batch_size": 1, "max_concurrency": 10},
}
ENVIRONMENT = {
    "CONNECTIONS_TABLE": "connections",
    "TICKETS_TABLE": "tickets",
    "CONNECTIONS_ENDPOINT": "https://model.execute-api.us-east-1.amazonaws.com/live",
    "GATHER_QUEUE_URL": "gather",
    "FAN_OUT_QUEUE_URL": "fan-out",
}
