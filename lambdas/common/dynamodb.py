"""What several tables need of DynamoDB: conditional writes and reading page by page."""

from collections.abc import Iterator, Mapping
from typing import Any

from lambdas.common.aws import AwsError, Client

# Attributes and their values by name, as DynamoDB writes them: ``{"id": {"S": "…"}}``.
Item = Mapping[str, Any]


def write_if(client: Client, action: str, request: Item) -> bool:
    """Make a write with a ``ConditionExpression``, and return whether the condition held. Raises AwsError."""
    try:
        client.call(action, request)
    except AwsError as error:
        if error.code != "ConditionalCheckFailedException":
            raise
        return False
    return True


def read_all(client: Client, action: str, request: Item) -> Iterator[Item]:
    """The items that a ``Query`` or ``Scan`` finds, page after page. Raises AwsError.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html
    """
    page: dict[str, Any] = {"LastEvaluatedKey": None}
    while "LastEvaluatedKey" in page:
        start = page["LastEvaluatedKey"]
        page = client.call(action, {**request, **({"ExclusiveStartKey": start} if start else {})})
        yield from page["Items"]
