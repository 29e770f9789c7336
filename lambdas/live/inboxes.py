"""The inboxes: what waits to be told to a part of an audience, and the lease of whoever tells it.

Whoever brings something puts it into the inbox first and tries the lease then; whoever holds the lease
releases it first and looks into the inbox then. So nothing is left alone.
docs/adr/0024-one-frame-in-flight.md
"""

import dataclasses
import json
import random
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lambdas.common.aws import AwsError, Client
from lambdas.live.clock import Clock
from lambdas.live.parts import Part

# Longer than the function's timeout: whoever holds an unfinished lease may still be at work.
LEASE_SECONDS = 20
# What nobody took out is of no use any more.
LIFETIME_SECONDS = 600
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
_BATCH = 25
_ATTEMPTS = 3
_LEASE = "lease"
# Entries begin with a digit, the lease does not.
_FIRST_ENTRY, _LAST_ENTRY = "0", ":"


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """What somebody put into an inbox; ids sort by time."""

    id: str
    content: dict[str, Any]


class Inboxes:
    """The table of inboxes, one for each part of an audience that has something to be told."""

    def __init__(self, dynamodb: Client, table: str, clock: Clock = time) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._clock = clock

    def put(self, parts: Sequence[Part], content: Mapping[str, Any]) -> None:
        """Put the content into the inbox of each part. Raises AwsError."""
        now = self._clock.time()
        entry_id = f"{int(now * 1000):013}-{random.getrandbits(64):016x}"
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
        self._write(
            [
                {
                    "PutRequest": {
                        "Item": {
                            **_key(part, entry_id),
                            "content": {"S": text},
                            "expires_at": {"N": str(int(now) + LIFETIME_SECONDS)},
                        }
                    }
                }
                for part in parts
            ]
        )

    def look(self, part: Part, known: Collection[str] = ()) -> list[Entry]:
        """The newest megabyte of entries, without those known, oldest first. Raises AwsError."""
        answer = self._dynamodb.call(
            "Query",
            {
                "TableName": self._table,
                "KeyConditionExpression": "inbox = :inbox AND entry BETWEEN :first AND :last",
                "ExpressionAttributeValues": {
                    ":inbox": {"S": str(part)},
                    ":first": {"S": _FIRST_ENTRY},
                    ":last": {"S": _LAST_ENTRY},
                },
                # What was put in before the lease was tried must be seen after it was released.
                "ConsistentRead": True,
                # What is too much is not read before it is too old to be told.
                "ScanIndexForward": False,
            },
        )
        return [
            Entry(item["entry"]["S"], json.loads(item["content"]["S"]))
            for item in reversed(answer["Items"])
            if item["entry"]["S"] not in known
        ]

    def remove(self, part: Part, entry_ids: Sequence[str]) -> None:
        """Take entries out. Raises AwsError."""
        self._write([{"DeleteRequest": {"Key": _key(part, entry_id)}} for entry_id in entry_ids])

    def take(self, part: Part, token: str, old_token: str = "") -> bool:
        """Take the part's lease; returns whether it was free, had ended, or was held by ``old_token``.

        Raises AwsError.
        """
        now = self._clock.time()
        return self._if_allowed(
            "UpdateItem",
            {
                "TableName": self._table,
                "Key": _key(part, _LEASE),
                "UpdateExpression": (
                    "SET lease_token = :token, lease_until = :until, expires_at = :expires_at"
                ),
                "ConditionExpression": (
                    "attribute_not_exists(lease_until) OR lease_until < :now OR lease_token = :old"
                ),
                "ExpressionAttributeValues": {
                    ":token": {"S": token},
                    ":old": {"S": old_token or token},
                    ":now": {"N": str(now)},
                    ":until": {"N": str(now + LEASE_SECONDS)},
                    ":expires_at": {"N": str(int(now) + LIFETIME_SECONDS)},
                },
            },
        )

    def release(self, part: Part, token: str) -> None:
        """Give the lease back, unless somebody else has it. Raises AwsError."""
        self._if_allowed(
            "DeleteItem",
            {
                "TableName": self._table,
                "Key": _key(part, _LEASE),
                "ConditionExpression": "lease_token = :token",
                "ExpressionAttributeValues": {":token": {"S": token}},
            },
        )

    def _if_allowed(self, action: str, parameters: Mapping[str, Any]) -> bool:
        """Call, and return whether the condition was met."""
        try:
            self._dynamodb.call(action, parameters)
        except AwsError as error:
            if error.code == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def _write(self, requests: list[dict[str, Any]]) -> None:
        for start in range(0, len(requests), _BATCH):
            left = {self._table: requests[start : start + _BATCH]}
            for _ in range(_ATTEMPTS):
                answer = self._dynamodb.call("BatchWriteItem", {"RequestItems": left})
                left = answer.get("UnprocessedItems") or {}
                if not left:
                    break
            else:
                raise AwsError("dynamodb:BatchWriteItem", "Unprocessed", "DynamoDB is busy")


def _key(part: Part, entry_id: str) -> dict[str, dict[str, str]]:
    return {"inbox": {"S": str(part)}, "entry": {"S": entry_id}}
