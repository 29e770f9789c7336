"""The inboxes: what is to be sent to a part of an audience, and the lease of the invocation that sends it.

Only the invocation that holds a part's lease serves that part. So a viewer gets one frame at a time, and
with ``ROUND_SECONDS`` in ``serving.py`` this limits the frames that a viewer gets in a second.

No entry is forgotten, because of the order of these calls: an invocation that adds an entry puts it into the
inbox first and then tries to take the lease; the holder of the lease first releases it and then reads the
inbox once more. docs/adr/0024-one-frame-in-flight.md
"""

import dataclasses
import json
import random
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lambdas.common.aws import AwsError, Client
from lambdas.common.dynamodb import write_if
from lambdas.common.event import format_json
from lambdas.live.clock import Clock
from lambdas.live.parts import Part

# Longer than the function's timeout: when a lease has ended, the invocation that took it has ended, too.
LEASE_SECONDS = 20
# An entry that was not removed by then is too old to be sent. DynamoDB deletes it.
LIFETIME_SECONDS = 600
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
_BATCH = 25
_ATTEMPTS = 3
_LEASE = "lease"
# Entries begin with a digit, the lease does not.
_FIRST_ENTRY, _LAST_ENTRY = "0", ":"


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """Something that waits in an inbox; ids sort by time."""

    id: str
    content: dict[str, Any]


class Inboxes:
    """The table of inboxes, one for each part of an audience."""

    def __init__(self, dynamodb: Client, table: str, clock: Clock = time) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._clock = clock

    def put(self, parts: Sequence[Part], content: Mapping[str, Any]) -> None:
        """Put the content into the inbox of each part. Raises AwsError.

        As JSON it may take 400 KB, with all attributes. All events of a batch that fit into frames are less.
        """
        now = self._clock.time()
        entry_id = f"{int(now * 1000):013}-{random.getrandbits(64):016x}"
        text = format_json(dict(content))
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

    def read(self, part: Part, known: Collection[str] = ()) -> list[Entry]:
        """The newest megabyte of entries, oldest first, without those whose ids are ``known``.

        Raises AwsError.
        """
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
                # An entry that was put in before the lease was tried must be found after its release.
                "ConsistentRead": True,
                # The newest first: if there is more than a megabyte, the oldest entries are not read.
                "ScanIndexForward": False,
            },
        )
        return [
            Entry(item["entry"]["S"], json.loads(item["content"]["S"]))
            for item in reversed(answer["Items"])
            if item["entry"]["S"] not in known
        ]

    def remove(self, part: Part, entry_ids: Sequence[str]) -> None:
        """Remove entries. Raises AwsError."""
        self._write([{"DeleteRequest": {"Key": _key(part, entry_id)}} for entry_id in entry_ids])

    def take_lease(self, part: Part, token: str, old_token: str = "") -> bool:
        """Take the part's lease; returns whether it was free, had ended, or was held by either token.

        It is held by ``token`` already if DynamoDB took it and the answer was lost. Raises AwsError.
        """
        now = self._clock.time()
        return write_if(
            self._dynamodb,
            "UpdateItem",
            {
                "TableName": self._table,
                "Key": _key(part, _LEASE),
                "UpdateExpression": (
                    "SET lease_token = :token, lease_until = :until, expires_at = :expires_at"
                ),
                "ConditionExpression": (
                    "attribute_not_exists(lease_until) OR lease_until < :now "
                    "OR lease_token = :token OR lease_token = :old"
                ),
                "ExpressionAttributeValues": {
                    ":token": {"S": token},
                    ":old": {"S": old_token},
                    ":now": {"N": str(now)},
                    ":until": {"N": str(now + LEASE_SECONDS)},
                    ":expires_at": {"N": str(int(now) + LIFETIME_SECONDS)},
                },
            },
        )

    def release_lease(self, part: Part, token: str) -> None:
        """Release the lease if ``token`` holds it. Raises AwsError."""
        write_if(
            self._dynamodb,
            "DeleteItem",
            {
                "TableName": self._table,
                "Key": _key(part, _LEASE),
                "ConditionExpression": "lease_token = :token",
                "ExpressionAttributeValues": {":token": {"S": token}},
            },
        )

    def _write(self, requests: list[dict[str, Any]]) -> None:
        for start in range(0, len(requests), _BATCH):
            unprocessed = {self._table: requests[start : start + _BATCH]}
            for _ in range(_ATTEMPTS):
                answer = self._dynamodb.call("BatchWriteItem", {"RequestItems": unprocessed})
                unprocessed = answer.get("UnprocessedItems") or {}
                if not unprocessed:
                    break
            else:
                raise AwsError("dynamodb:BatchWriteItem", "Unprocessed", "DynamoDB is busy")


def _key(part: Part, entry_id: str) -> dict[str, dict[str, str]]:
    return {"inbox": {"S": str(part)}, "entry": {"S": entry_id}}
