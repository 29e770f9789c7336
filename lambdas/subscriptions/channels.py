"""The channels table: what is known of each channel and of its subscriptions.

An item is ``streamer_id`` (key), ``login`` (key of the index ``login``), ``display_name``, ``avatar_url``,
``resolved_at`` (when Twitch last said that this is the login's channel), ``watched_at`` (when somebody last
watched), ``verified_at`` (when the states were last compared with Twitch's list; all in epoch seconds),
``subscriptions``, a map from a subscription type's key to ``{id, status, reason, attempts, retry_at}``, and
``revision``, which grows by one with every change of ``subscriptions``.

Several functions change a channel at the same time. So a change never writes back a whole item: it is one
update of single attributes or map entries, with a condition where a newer entry must not be overwritten.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, cast

from lambdas.common import dynamodb
from lambdas.common.aws import Client
from lambdas.common.dynamodb import Item
from lambdas.subscriptions.model import Channel
from lambdas.subscriptions.subscription_types import Status, SubscriptionState


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelRecord:
    """What is known of a channel's subscriptions.

    ``states`` are by the subscription type's key, as they are since ``revision``; times are in epoch seconds,
    0 for never.
    """

    watched_at: int
    verified_at: int
    states: Mapping[str, SubscriptionState]
    revision: int


@dataclasses.dataclass(frozen=True, slots=True)
class Resolution:
    """The channel that a login belonged to at ``resolved_at``, in epoch seconds."""

    channel: Channel
    resolved_at: int


class ChannelsTable:
    """The table called ``name``."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def get(self, streamer_id: str) -> ChannelRecord | None:
        """What is known of a channel; None if it is not in the table."""
        answer = self._client.call("GetItem", {**self._key(streamer_id), "ConsistentRead": True})
        return _record(answer["Item"]) if "Item" in answer else None

    def find_by_login(self, login: str) -> Resolution | None:
        """The channel that last had this login; None if the table knows none.

        The index is updated a moment after the table, so a new channel may be missed: then ask Twitch.
        """
        answer = self._client.call(
            "Query",
            {
                "TableName": self._name,
                "IndexName": "login",
                "KeyConditionExpression": "login = :login",
                "ExpressionAttributeValues": {":login": {"S": login}},
            },
        )
        found = [
            Resolution(
                Channel(
                    *(item[name]["S"] for name in ("streamer_id", "login", "display_name", "avatar_url"))
                ),
                int(item["resolved_at"]["N"]),
            )
            for item in answer["Items"]
        ]
        # A login may have belonged to another channel before.
        return max(found, key=lambda resolution: resolution.resolved_at, default=None)

    def scan(self) -> Iterator[tuple[str, ChannelRecord]]:
        """Every channel's id with what is known of it."""
        request = {"TableName": self._name, "ConsistentRead": True}
        for item in dynamodb.read_all(self._client, "Scan", request):
            yield item["streamer_id"]["S"], _record(item)

    def record_watch(self, resolution: Resolution, now: int) -> ChannelRecord:
        """Store that somebody watches the channel, and return what is known of its subscriptions.

        This comes before anything is subscribed: from here on the reconciler does not delete the channel.
        """
        channel = resolution.channel
        answer = self._client.call(
            "UpdateItem",
            {
                **self._key(channel.id),
                "UpdateExpression": (
                    "SET login = :login, display_name = :display_name, avatar_url = :avatar_url, "
                    "resolved_at = :resolved_at, watched_at = :now, "
                    "subscriptions = if_not_exists(subscriptions, :none), "
                    "revision = if_not_exists(revision, :first_revision)"
                ),
                "ExpressionAttributeValues": {
                    ":login": {"S": channel.login},
                    ":display_name": {"S": channel.display_name},
                    ":avatar_url": {"S": channel.avatar_url},
                    ":resolved_at": _number(resolution.resolved_at),
                    ":now": _number(now),
                    ":none": {"M": {}},
                    # More than the channel has come to that was deleted before.
                    ":first_revision": _number(now * 1000),
                },
                "ReturnValues": "ALL_NEW",
            },
        )
        return _record(answer["Attributes"])

    def set_state(
        self, streamer_id: str, key: str, expected_id: str | None, state: SubscriptionState
    ) -> bool:
        """Set the state of the subscription type ``key``, and return whether it was set.

        It is not set if the table has another subscription than ``expected_id`` by now (None: has any).
        Then another function has subscribed anew, and ``state`` is about a subscription that is out of use.
        """
        values: dict[str, Any] = {":state": _map(state), ":one": _number(1)}
        condition = "attribute_exists(subscriptions) AND attribute_not_exists(subscriptions.#type.id)"
        if expected_id is not None:
            condition = "subscriptions.#type.id = :expected_id"
            values[":expected_id"] = {"S": expected_id}
        request = {
            **self._key(streamer_id),
            "UpdateExpression": "SET subscriptions.#type = :state ADD revision :one",
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#type": key},
            "ExpressionAttributeValues": values,
        }
        return dynamodb.write_if(self._client, "UpdateItem", request)

    def record_verified(self, streamer_id: str, now: int, *, watched: bool) -> bool:
        """Store that the states agree with Twitch's list and, if ``watched``, that a viewer is connected.

        Returns whether the channel is in the table.
        """
        request = {
            **self._key(streamer_id),
            "UpdateExpression": "SET verified_at = :now" + (", watched_at = :now" if watched else ""),
            "ConditionExpression": "attribute_exists(streamer_id)",
            "ExpressionAttributeValues": {":now": _number(now)},
        }
        return dynamodb.write_if(self._client, "UpdateItem", request)

    def delete_unwatched(self, streamer_id: str, not_watched_since: int) -> bool:
        """Delete a channel unless somebody has watched it since, and return whether it is gone."""
        request = {
            **self._key(streamer_id),
            "ConditionExpression": "attribute_not_exists(watched_at) OR watched_at < :since",
            "ExpressionAttributeValues": {":since": _number(not_watched_since)},
        }
        return dynamodb.write_if(self._client, "DeleteItem", request)

    def _key(self, streamer_id: str) -> dict[str, Any]:
        return {"TableName": self._name, "Key": {"streamer_id": {"S": streamer_id}}}


def _record(item: Item) -> ChannelRecord:
    return ChannelRecord(
        watched_at=int(item["watched_at"]["N"]),
        verified_at=int(item["verified_at"]["N"]) if "verified_at" in item else 0,
        states={key: _state(value["M"]) for key, value in item["subscriptions"]["M"].items()},
        revision=int(item["revision"]["N"]) if "revision" in item else 0,
    )


def _state(fields: Item) -> SubscriptionState:
    return SubscriptionState(
        status=cast("Status", fields["status"]["S"]),
        subscription_id=fields["id"]["S"] if "id" in fields else None,
        reason=fields["reason"]["S"] if "reason" in fields else None,
        attempts=int(fields["attempts"]["N"]) if "attempts" in fields else 0,
        retry_at=int(fields["retry_at"]["N"]) if "retry_at" in fields else 0,
    )


def _map(state: SubscriptionState) -> Item:
    """A state as a map without its empty fields: the condition above asks whether there is an ``id``."""
    texts = {"status": state.status, "id": state.subscription_id, "reason": state.reason}
    numbers = {"attempts": state.attempts, "retry_at": state.retry_at}
    return {
        "M": {
            **{name: {"S": text} for name, text in texts.items() if text is not None},
            **{name: _number(number) for name, number in numbers.items() if number},
        }
    }


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}
