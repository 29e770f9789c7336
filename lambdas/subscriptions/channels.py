"""The channels table: what is known of each channel and of its subscriptions.

An item is ``streamer_id`` (key), ``login`` (key of the index ``login``), ``display_name``, ``avatar_url``,
``resolved_at`` (when Twitch last said that this is the login's channel), ``watched_at`` (when somebody last
watched), ``verified_at`` (when the states were last compared with Twitch's list; all in epoch seconds) and
``subscriptions``, a map from topic key to ``{id, status, reason, attempts, retry_at}``.

Several functions change a channel at the same time, so no change writes back what was read before: each is
one update of single map entries, with a condition where a newer entry must win.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

from lambdas.subscriptions.model import Channel
from lambdas.subscriptions.subscription_types import Status, SubscriptionState

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import (
        AttributeValueTypeDef,
        DeleteItemInputTypeDef,
        UpdateItemInputTypeDef,
    )

    Item = Mapping[str, AttributeValueTypeDef]


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What is known of a channel's topics, by topic key; times are in epoch seconds, 0 for never."""

    watched_at: int
    verified_at: int
    topics: Mapping[str, SubscriptionState]


@dataclasses.dataclass(frozen=True, slots=True)
class Resolution:
    """The channel that a login led to at ``resolved_at``, in epoch seconds."""

    channel: Channel
    resolved_at: int


class ChannelsTable:
    """The table called ``name``."""

    def __init__(self, client: "DynamoDBClient", name: str) -> None:
        self._client = client
        self._name = name

    def get(self, streamer_id: str) -> Record | None:
        """What is known of a channel at this instant; None if nobody watched it."""
        answer = self._client.get_item(
            TableName=self._name, Key={"streamer_id": {"S": streamer_id}}, ConsistentRead=True
        )
        return _record(answer["Item"]) if "Item" in answer else None

    def find(self, login: str) -> Resolution | None:
        """The channel that the login led to last, as far as the table knows.

        The index lags behind the table by a moment: whoever misses a channel asks Twitch.
        """
        answer = self._client.query(
            TableName=self._name,
            IndexName="login",
            KeyConditionExpression="login = :login",
            ExpressionAttributeValues={":login": {"S": login}},
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
        # A login may have been another channel's before.
        return max(found, key=lambda resolution: resolution.resolved_at, default=None)

    def scan(self) -> Iterator[tuple[str, Record]]:
        """Every channel's id with what is known of it, page after page."""
        for page in self._client.get_paginator("scan").paginate(TableName=self._name, ConsistentRead=True):
            for item in page["Items"]:
                yield item["streamer_id"]["S"], _record(item)

    def watch(self, resolution: Resolution, now: int) -> Record:
        """Note that somebody watches the channel, and return what is known of its topics.

        This comes before anything is subscribed: from here on the reconciler leaves the channel alone.
        """
        channel = resolution.channel
        answer = self._client.update_item(
            TableName=self._name,
            Key={"streamer_id": {"S": channel.id}},
            UpdateExpression=(
                "SET login = :login, display_name = :display_name, avatar_url = :avatar_url, "
                "resolved_at = :resolved_at, watched_at = :now, "
                "subscriptions = if_not_exists(subscriptions, :none)"
            ),
            ExpressionAttributeValues={
                ":login": {"S": channel.login},
                ":display_name": {"S": channel.display_name},
                ":avatar_url": {"S": channel.avatar_url},
                ":resolved_at": _number(resolution.resolved_at),
                ":now": _number(now),
                ":none": {"M": {}},
            },
            ReturnValues="ALL_NEW",
        )
        return _record(answer["Attributes"])

    def replace(self, streamer_id: str, key: str, expected_id: str | None, state: SubscriptionState) -> bool:
        """Set a topic's state, and return whether it was set.

        Not if the topic has another subscription than ``expected_id`` by now (None: has one at all): then
        somebody has subscribed it anew, and ``state`` is about a subscription that no longer matters.
        """
        values: dict[str, AttributeValueTypeDef] = {":state": _map(state)}
        condition = "attribute_exists(subscriptions) AND attribute_not_exists(subscriptions.#topic.id)"
        if expected_id is not None:
            condition = "subscriptions.#topic.id = :expected_id"
            values[":expected_id"] = {"S": expected_id}
        return self._update_if(
            {
                "TableName": self._name,
                "Key": {"streamer_id": {"S": streamer_id}},
                "UpdateExpression": "SET subscriptions.#topic = :state",
                "ConditionExpression": condition,
                "ExpressionAttributeNames": {"#topic": key},
                "ExpressionAttributeValues": values,
            }
        )

    def vouch(self, streamer_id: str, now: int, *, watched: bool) -> bool:
        """Note that the states agree with Twitch's list and, if ``watched``, that a viewer is connected.

        Returns whether the channel is in the table.
        """
        return self._update_if(
            {
                "TableName": self._name,
                "Key": {"streamer_id": {"S": streamer_id}},
                "UpdateExpression": "SET verified_at = :now" + (", watched_at = :now" if watched else ""),
                "ConditionExpression": "attribute_exists(streamer_id)",
                "ExpressionAttributeValues": {":now": _number(now)},
            }
        )

    def retire(self, streamer_id: str, not_watched_since: int) -> bool:
        """Forget a channel unless somebody watched it since, and return whether it is forgotten."""
        request: DeleteItemInputTypeDef = {
            "TableName": self._name,
            "Key": {"streamer_id": {"S": streamer_id}},
            "ConditionExpression": "attribute_not_exists(watched_at) OR watched_at < :since",
            "ExpressionAttributeValues": {":since": _number(not_watched_since)},
        }
        try:
            self._client.delete_item(**request)
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _update_if(self, request: "UpdateItemInputTypeDef") -> bool:
        try:
            self._client.update_item(**request)
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True


def _record(item: "Item") -> Record:
    return Record(
        watched_at=int(item["watched_at"]["N"]),
        verified_at=int(item["verified_at"]["N"]) if "verified_at" in item else 0,
        topics={key: _state(value["M"]) for key, value in item["subscriptions"]["M"].items()},
    )


def _state(fields: "Item") -> SubscriptionState:
    return SubscriptionState(
        status=cast("Status", fields["status"]["S"]),
        subscription_id=fields["id"]["S"] if "id" in fields else None,
        reason=fields["reason"]["S"] if "reason" in fields else None,
        attempts=int(fields["attempts"]["N"]) if "attempts" in fields else 0,
        retry_at=int(fields["retry_at"]["N"]) if "retry_at" in fields else 0,
    )


def _map(state: SubscriptionState) -> "AttributeValueTypeDef":
    """A state as a map; what says nothing is left out, which the conditions above count on."""
    texts = {"status": state.status, "id": state.subscription_id, "reason": state.reason}
    numbers = {"attempts": state.attempts, "retry_at": state.retry_at}
    return {
        "M": {
            **{name: {"S": text} for name, text in texts.items() if text is not None},
            **{name: _number(number) for name, number in numbers.items() if number},
        }
    }


def _number(value: int) -> "AttributeValueTypeDef":
    return {"N": str(value)}
