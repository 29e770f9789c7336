"""Fanfare's share of Twitch's rate limit, which the invocations of all functions use together.

Twitch allows an application 800 requests ("points") a minute. They are counted in a bucket that empties by
``POINTS_A_SECOND``; no point is taken that would make it too full. A request has a rank: the first may fill
the bucket, the following ones a smaller part of it each, so what matters less waits while more important
requests keep the bucket full. The table has one item for it, ``name`` "points" with ``empty_at``: when the
bucket will be empty (Unix time, in microseconds).
https://dev.twitch.tv/docs/api/guide/#twitch-rate-limits
"""

import time
from collections.abc import Callable
from typing import Any

from lambdas.common import dynamodb
from lambdas.common.aws import AwsError, Client
from lambdas.common.observability import logger

# In any 60 seconds at most 30 + 60 * 12.8 = 798 points. A larger bucket would have to empty more slowly.
POINTS_A_SECOND = 12.8
# How full the bucket may become by a request of each rank.
ROOM = (30, 25, 20, 15, 10)
# What a viewer waits for: a new channel, and its most important subscriptions. Others have their priority as
# their rank.
URGENT = 0
# What matters for many channels, such as Twitch's list.
COMMON = 1
# What has failed before.
RETRY = len(ROOM) - 1

_POINT = round(1_000_000 / POINTS_A_SECOND)
_KEY = {"name": {"S": "points"}}


class Points:
    """The points of the item in the table called ``table``; ``clock`` is in epoch seconds."""

    def __init__(self, client: Client, table: str, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._table = table
        self._clock = clock

    def take(self, rank: int) -> bool:
        """Take a point for one request, and return whether there was one."""
        now = round(self._clock() * 1_000_000)
        latest = now + (ROOM[min(rank, RETRY)] - 1) * _POINT
        add = (
            "empty_at BETWEEN :now AND :latest",
            "SET empty_at = empty_at + :point",
            {":now": now, ":latest": latest, ":point": _POINT},
        )
        begin = (
            "attribute_not_exists(empty_at) OR empty_at < :now",
            "SET empty_at = :then",
            {":now": now, ":then": now + _POINT},
        )
        try:
            # It never becomes less, so an older answer will do. One item takes a thousand writes a second.
            if self._empty_at() > latest:
                return False
            # The third: another call did ``begin`` in between.
            return self._write_if(*add) or self._write_if(*begin) or self._write_if(*add)
        except AwsError:
            logger.exception("The points of Twitch's rate limit cannot be counted: no request is made")
            return False

    def _empty_at(self) -> int:
        item = self._client.call("GetItem", {"TableName": self._table, "Key": _KEY}).get("Item")
        return int(item["empty_at"]["N"]) if item else 0

    def _write_if(self, condition: str, change: str, values: dict[str, int]) -> bool:
        request: dict[str, Any] = {
            "TableName": self._table,
            "Key": _KEY,
            "ConditionExpression": condition,
            "UpdateExpression": change,
            "ExpressionAttributeValues": {name: {"N": str(value)} for name, value in values.items()},
        }
        return dynamodb.write_if(self._client, "UpdateItem", request)
