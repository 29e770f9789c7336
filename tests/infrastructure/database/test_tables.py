"""The DynamoDB tables and the webhook's secret."""

from tests.infrastructure.template import Stage

KEYS = {
    "Channels": ["streamer_id"],
    "Connections": ["streamer_id", "connection_id"],
    "Grants": ["streamer_id", "grantor_id"],
    "Inboxes": ["inbox", "entry"],
    "Overlays": ["overlay_id"],
    "Tickets": ["ticket_hash"],
    "Twitch": ["name"],
    "Viewers": ["viewer_id", "entry"],
}


def test_tables_are_paid_by_request_and_keyed(prod: Stage) -> None:
    tables = prod.of_type("AWS::DynamoDB::Table")
    assert {table["BillingMode"] for table in tables.values()} == {"PAY_PER_REQUEST"}
    assert {
        path: [key["AttributeName"] for key in table["KeySchema"]] for path, table in tables.items()
    } == KEYS


def test_what_is_soon_out_of_date_expires(prod: Stage) -> None:
    expiring = {
        path: table["TimeToLiveSpecification"]
        for path, table in prod.of_type("AWS::DynamoDB::Table").items()
        if "TimeToLiveSpecification" in table
    }
    lifetime = {"AttributeName": "expires_at", "Enabled": True}
    assert expiring == {
        "Connections": lifetime,
        "Inboxes": lifetime,
        "Tickets": lifetime,
        "Twitch": lifetime,
        "Viewers": lifetime,
    }


def test_the_webhooks_secret_is_generated_as_twitch_wants_it(prod: Stage) -> None:
    secret = prod.resources["WebhookSecret"].properties
    assert secret["GenerateSecretString"] == {"PasswordLength": 64, "ExcludePunctuation": True}
