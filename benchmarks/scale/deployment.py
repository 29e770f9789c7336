"""What the model needs to know of the stacks; tests/infrastructure/live/test_scale_model.py compares them."""

TIMEOUT_SECONDS = 15
RESERVED_CONCURRENCY = 200
# Partition key and sort key.
TABLES = {
    "connections": ("streamer_id", "connection_id"),
    "inboxes": ("inbox", "entry"),
    "tickets": ("ticket_hash",),
    "viewers": ("viewer_id", "entry"),
}
QUEUES = {
    "broadcast": {"visibility_timeout": 20, "max_receive_count": 18},
    "fan-out": {"visibility_timeout": 20, "max_receive_count": 18},
}
SOURCES = {
    "broadcast": {"batch_size": 10, "max_concurrency": 100},
    "fan-out": {"batch_size": 1, "max_concurrency": 100},
}
# Requests a second, and at once: of the HTTP API's route for watches, and of the WebSocket API's for pings.
WATCH_THROTTLE, PING_THROTTLE = (500, 1000), (1000, 1000)
ENVIRONMENT = {
    "CONNECTIONS_TABLE": "connections",
    "INBOXES_TABLE": "inboxes",
    "CONNECTIONS_ENDPOINT": "https://model.execute-api.us-east-1.amazonaws.com/live",
    "BROADCAST_QUEUE_URL": "broadcast",
    "FAN_OUT_QUEUE_URL": "fan-out",
    "POSTS_PER_SECOND": "9500",
    "VIEWERS_TABLE": "viewers",
    "CONNECTIONS_PER_VIEWER": "50",
    "CONNECTIONS_PER_CHANNEL": "5",
}
