"""What each viewer has at once: the channels that they follow, and their open connections.

An item is ``viewer_id`` and ``entry`` (the key), which is ``channel/<login>``, ``connection/<id>`` or
``grant/<streamer id>``, and ``expires_at``; a connection's has ``login``, ``streamer_id`` and ``since`` (Unix
time in ms) as well. A channel is followed for as long as its item lives, or that of a connection to it. A
grant's item says that the viewer's grant for that channel was tried at Twitch.

An item is written before the viewer's others are read, so that of functions that run at once the last sees
them all.
"""

import collections
import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from lambdas.common import dynamodb
from lambdas.common.aws import Client

# API Gateway ends a WebSocket after this.
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
LONGEST_CONNECTION = timedelta(hours=2)

# A grant that a sign-in does not prove is tried at most this often.
GRANT_TRIED = timedelta(days=1)

_CHANNEL, _CONNECTION, _GRANT = "channel/", "connection/", "grant/"


@dataclasses.dataclass(frozen=True, slots=True)
class OpenConnection:
    """A viewer's WebSocket for a channel; ``since`` is in Unix time, in ms."""

    id: str
    streamer_id: str
    login: str
    since: int


class ViewersTable:
    """The table called ``name``."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def follow(self, viewer_id: str, login: str, *, most: int, now: datetime, keep: timedelta) -> bool:
        """Store that the viewer follows the channel until ``now`` plus ``keep``, or longer.

        Returns False, and stores nothing, if they follow ``most`` others already.
        """
        channels = _channels(self._read(viewer_id, now))
        if login in channels:
            self._put(viewer_id, _CHANNEL + login, now + keep)
            return True
        if len(channels) < most:
            self._put(viewer_id, _CHANNEL + login, now + keep)
            # Calls at the same time may exceed the limit. Each then undoes its own, perhaps all of them.
            if len(_channels(self._read(viewer_id, now))) <= most:
                return True
            self.unfollow(viewer_id, login)
        return False

    def follow_until(self, viewer_id: str, login: str, until: datetime) -> None:
        """Store that the viewer, who follows the channel, does so until then."""
        self._put(viewer_id, _CHANNEL + login, until)

    def try_grant(self, viewer_id: str, streamer_id: str, now: datetime) -> bool:
        """Whether the viewer's grant for the channel may be tried: not if it was, less than a day ago."""
        request = self._item(viewer_id, _GRANT + streamer_id, now + GRANT_TRIED)
        request["ConditionExpression"] = "attribute_not_exists(expires_at) OR expires_at <= :now"
        request["ExpressionAttributeValues"] = {":now": {"N": str(int(now.timestamp()))}}
        return dynamodb.write_if(self._client, "PutItem", request)

    def connections(self, viewer_id: str, now: datetime) -> list[OpenConnection]:
        """The viewer's connections."""
        return _connections(self._read(viewer_id, now))

    def unfollow(self, viewer_id: str, login: str) -> None:
        """Forget that the viewer follows the channel, but for their connections to it."""
        self._delete(viewer_id, _CHANNEL + login)

    def connect(
        self, viewer_id: str, connection: OpenConnection, *, most: int, most_per_channel: int, now: datetime
    ) -> list[OpenConnection]:
        """Store that the connection opens; returns those that give way to it, the viewer's oldest."""
        details = {
            "login": {"S": connection.login},
            "streamer_id": {"S": connection.streamer_id},
            "since": {"N": str(connection.since)},
        }
        self._put(viewer_id, _CONNECTION + connection.id, now + LONGEST_CONNECTION, details)
        kept: collections.Counter[str] = collections.Counter()
        giving_way = []
        found = self.connections(viewer_id, now)
        for one in sorted(found, key=lambda one: (one.id == connection.id, one.since), reverse=True):
            if kept.total() < most and kept[one.streamer_id] < most_per_channel:
                kept[one.streamer_id] += 1
            else:
                giving_way.append(one)
        for one in giving_way:
            self.disconnect(viewer_id, one.id)
        return giving_way

    def disconnect(self, viewer_id: str, connection_id: str) -> None:
        """Forget the connection; it is no error if it is unknown."""
        self._delete(viewer_id, _CONNECTION + connection_id)

    def _read(self, viewer_id: str, now: datetime) -> list[dynamodb.Item]:
        query = {
            "TableName": self._name,
            "KeyConditionExpression": "viewer_id = :viewer_id",
            "ExpressionAttributeValues": {":viewer_id": {"S": viewer_id}},
            "ConsistentRead": True,
        }
        items = dynamodb.read_all(self._client, "Query", query)
        return [item for item in items if int(item["expires_at"]["N"]) > now.timestamp()]

    def _put(
        self,
        viewer_id: str,
        entry: str,
        expires_at: datetime,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self._client.call("PutItem", self._item(viewer_id, entry, expires_at, details))

    def _item(
        self,
        viewer_id: str,
        entry: str,
        expires_at: datetime,
        details: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        item = {
            "viewer_id": {"S": viewer_id},
            "entry": {"S": entry},
            "expires_at": {"N": str(int(expires_at.timestamp()))},
            **(details or {}),
        }
        return {"TableName": self._name, "Item": item}

    def _delete(self, viewer_id: str, entry: str) -> None:
        key = {"viewer_id": {"S": viewer_id}, "entry": {"S": entry}}
        self._client.call("DeleteItem", {"TableName": self._name, "Key": key})


def _channels(items: list[dynamodb.Item]) -> set[str]:
    """The logins of the channels that are followed."""
    return {
        item["login"]["S"] if "login" in item else item["entry"]["S"].removeprefix(_CHANNEL)
        for item in items
        if not item["entry"]["S"].startswith(_GRANT)
    }


def _connections(items: list[dynamodb.Item]) -> list[OpenConnection]:
    return [
        OpenConnection(
            item["entry"]["S"].removeprefix(_CONNECTION),
            item["streamer_id"]["S"],
            item["login"]["S"],
            int(item["since"]["N"]),
        )
        for item in items
        if item["entry"]["S"].startswith(_CONNECTION)
    ]
