"""The tables of this capability in moto, as the app makes them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

KEYS = {
    "channels": ["streamer_id"],
    "grants": ["streamer_id", "grantor_id"],
    "tickets": ["ticket_hash"],
    "overlays": ["overlay_id"],
    "connections": ["streamer_id", "connection_id"],
}


def create_tables(client: "DynamoDBClient") -> None:
    """Create every table, empty."""
    for name, keys in KEYS.items():
        indexed = ["login"] if name == "channels" else []
        client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in [*keys, *indexed]],
            KeySchema=[
                {"AttributeName": key, "KeyType": "RANGE" if index else "HASH"}
                for index, key in enumerate(keys)
            ],
            **{  # type: ignore[arg-type]
                "GlobalSecondaryIndexes": [
                    {
                        "IndexName": key,
                        "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
                        "Projection": {
                            "ProjectionType": "INCLUDE",
                            "NonKeyAttributes": ["display_name", "avatar_url", "resolved_at"],
                        },
                    }
                    for key in indexed
                ]
            }
            if indexed
            else {},
        )


def empty_tables(client: "DynamoDBClient") -> None:
    """Delete every item."""
    for name, keys in KEYS.items():
        for item in client.scan(TableName=name)["Items"]:
            client.delete_item(TableName=name, Key={key: item[key] for key in keys})
