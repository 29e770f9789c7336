"""The DynamoDB tables and the webhook's secret."""

import pytest

from tests.infrastructure.template import Stage

KEYS = {
    "Channels": ["streamer_id"],
    "Connections": ["streamer_id", "connection_id"],
    "Grants": ["streamer_id", "grantor_id"],
    "Inboxes": ["inbox", "entry"],
    "Tickets": ["ticket_hash"],
}


@pytest.mark.parametrize(("table", "keys"), KEYS.items())
def test_tables_are_paid_by_request_and_keyed(prod: Stage, table: str, keys: list[str]) -> None:
    properties = prod.resources[table].properties
    assert properties["BillingMode"] == "PAY_PER_REQUEST"
    assert [key["AttributeName"] for key in properties["KeySchema"]] == keys


def test_tickets_connections_and_inboxes_expire(prod: Stage) -> None:
    expiring = {
        path: table["TimeToLiveSpecification"]
        for path, table in prod.of_type("AWS::DynamoDB::Table").items()
        if "TimeToLiveSpecification" in table
    }
    lifetime = {"AttributeName": "expires_at", "Enabled": True}
    assert expiring == {"Connections": lifetime, "Inboxes": lifetime, "Tickets": lifetime}


@pytest.mark.parametrize("table", KEYS)
def test_production_tables_can_be_restored_and_outlive_the_stack(prod: Stage, table: str) -> None:
    found = prod.resources[table]
    assert found.properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert found.properties["DeletionProtectionEnabled"] is True
    assert found.deletion_policy == "Retain"


def test_the_webhooks_secret_is_generated_as_twitch_wants_it(prod: Stage) -> None:
    secret = prod.resources["WebhookSecret"].properties
    assert secret["GenerateSecretString"] == {"PasswordLength": 64, "ExcludePunctuation": True}
