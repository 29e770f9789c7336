"""The tables of this capability in moto, as the app makes them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore import xform_name
from botocore.exceptions import ClientError

from lambdas.common.aws import AwsError, Client

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

KEYS = {
    "channels": ["streamer_id"],
    "grants": ["streamer_id", "grantor_id"],
    "tickets": ["ticket_hash"],
    "overlays": ["overlay_id"],
    "connections": ["streamer_id", "connection_id"],
    "viewers": ["viewer_id", "entry"],
    "sessions": ["viewer_id", "token_hash"],
}


class InProcessClient(Client):
    """The functions' client for moto in this process; ``before_call`` is called before each call."""

    def __init__(self, client: "DynamoDBClient", before_call: Callable[[], None]) -> None:
        self._client = client
        self._before_call = before_call

    def call(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call moto. Raises AwsError."""
        self._before_call()
        try:
            answer: dict[str, Any] = getattr(self._client, xform_name(action))(**parameters)
        except ClientError as error:
            raise AwsError(action, error.response["Error"]["Code"], str(error)) from error
        return answer


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
