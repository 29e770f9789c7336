"""What the tests know of each function, by its module in ``lambdas/handlers/``."""

import dataclasses
from collections.abc import Set as AbstractSet

POWERTOOLS = frozenset({"aws_lambda_powertools", "jmespath", "typing_extensions"})
CURL = POWERTOOLS | {"pycurl"}
TWITCH = CURL | {"urllib3"}
PSYCOPG = POWERTOOLS | {"psycopg", "psycopg_binary"}
PYDANTIC = PSYCOPG | {"pydantic", "pydantic_core", "annotated_types", "typing_inspection"}

CHANNEL_STATE = frozenset({"BROADCAST_QUEUE_URL", "CHANNELS_TABLE", "GRANTS_TABLE"})
ASKS_TWITCH = frozenset({"TWITCH_API_URL", "TWITCH_AUTH_URL", "TWITCH_SECRET_ARN", "TWITCH_TABLE"})
SUBSCRIBES = CHANNEL_STATE | ASKS_TWITCH | {"SUBSCRIBE_QUEUE_URL", "WEBHOOK_SECRET_ARN", "WEBHOOK_URL"}


@dataclasses.dataclass(frozen=True)
class Function:
    """A function's construct, what its package holds, and its environment beyond what all have."""

    construct: str
    distributions: AbstractSet[str]
    environment: AbstractSet[str] = frozenset()
    sql: AbstractSet[str] = frozenset()
    behind_api: bool = False
    """Whether an API calls it, by way of an alias with ``gradual_rollout``."""
    shares_connections: bool = False
    """Whether it connects to the database through the proxy, if there is one."""

    @property
    def capability(self) -> str:
        """The folder of ``lambdas/`` that it calls."""
        return self.construct.partition("/")[0].lower()

    @property
    def in_database_network(self) -> bool:
        """Whether it connects to the database."""
        return self.capability == "history"


FUNCTIONS = {
    "cloudfront": Function("HttpApi/Cloudfront", CURL, {"ORIGIN_SECRET_ARN"}, behind_api=True),
    "webhook": Function("Ingest/Webhook", CURL, {"EVENTS_TOPIC_ARN", "WEBHOOK_SECRET_ARN"}, behind_api=True),
    "authorizer": Function("Live/Authorizer", CURL, {"TICKETS_TABLE"}, behind_api=True),
    "connection": Function(
        "Live/Connection",
        CURL,
        {
            "CONNECTIONS_ENDPOINT",
            "CONNECTIONS_PER_CHANNEL",
            "CONNECTIONS_PER_VIEWER",
            "CONNECTIONS_TABLE",
            "OVERLAYS_TABLE",
            "VIEWERS_TABLE",
        },
        behind_api=True,
    ),
    "broadcaster": Function(
        "Live/Broadcaster",
        CURL,
        {
            "BROADCAST_QUEUE_URL",
            "CONNECTIONS_ENDPOINT",
            "CONNECTIONS_TABLE",
            "FAN_OUT_QUEUE_URL",
            "INBOXES_TABLE",
            "POSTS_PER_SECOND",
        },
    ),
    "watch": Function(
        "Subscriptions/Watch",
        TWITCH,
        ASKS_TWITCH
        | {
            "CHANNELS_PER_VIEWER",
            "CHANNELS_TABLE",
            "GRACE_PERIOD_SECONDS",
            "GRANTS_TABLE",
            "OVERLAYS_TABLE",
            "STREAMER_PROVIDER",
            "SUBSCRIBE_QUEUE_URL",
            "TICKETS_TABLE",
            "VIEWERS_TABLE",
            "WEBSOCKET_URL",
        },
        behind_api=True,
    ),
    "overlay": Function(
        "Subscriptions/Overlay",
        TWITCH,
        ASKS_TWITCH
        | {
            "CHANNELS_PER_VIEWER",
            "CHANNELS_TABLE",
            "CONNECTIONS_ENDPOINT",
            "CONNECTIONS_TABLE",
            "GRACE_PERIOD_SECONDS",
            "OVERLAYS_TABLE",
            "STREAMER_PROVIDER",
            "VIEWERS_TABLE",
        },
        behind_api=True,
    ),
    "subscriber": Function("Subscriptions/Subscriber", TWITCH, SUBSCRIBES),
    "reconciler": Function(
        "Subscriptions/Reconciler", TWITCH, SUBSCRIBES | {"CONNECTIONS_TABLE", "GRACE_PERIOD_SECONDS"}
    ),
    "notices": Function("Subscriptions/Notices", CURL, CHANNEL_STATE),
    "recorder": Function("History/Recorder", PSYCOPG, sql={"queries"}, shares_connections=True),
    "query": Function("History/Query", PYDANTIC, sql={"queries"}, behind_api=True, shares_connections=True),
    "archiver": Function(
        "History/Archiver",
        PSYCOPG,
        {"EXPORTS_BUCKET", "PARTITION_SECONDS", "RETENTION_SECONDS"},
        sql={"queries"},
    ),
    "migrator": Function(
        "History/Migrator", PSYCOPG, {"PARTITION_SECONDS"}, sql={"functions", "migrations", "queries"}
    ),
    "postmigrator": Function("History/Postmigrator", PSYCOPG, sql={"functions", "migrations"}),
}
# What a stage has as well that does without Cognito (sign_in).
SESSION = Function(
    "Identity/Session",
    CURL,
    {
        "SESSIONS_TABLE",
        "SITE_URL",
        "STREAMER_SCOPES",
        "TWITCH_AUTH_URL",
        "TWITCH_ISSUER",
        "TWITCH_SECRET_ARN",
    },
    behind_api=True,
)
ALL_FUNCTIONS = FUNCTIONS | {"session": SESSION}
DATABASE_FUNCTIONS = [name for name, function in FUNCTIONS.items() if function.in_database_network]
# The same as construct paths.
CONSTRUCTS = {function.construct for function in FUNCTIONS.values()}
BEHIND_APIS = {function.construct for function in FUNCTIONS.values() if function.behind_api}
IN_DATABASE_NETWORK = {FUNCTIONS[name].construct for name in DATABASE_FUNCTIONS}
