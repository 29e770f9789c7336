"""The channels table: what is known of each channel and of its subscriptions.

An item is ``streamer_id`` (key), ``login``, ``display_name``, ``avatar_url``, ``watched_at`` (when somebody
last watched), ``verified_at`` (when the states were last compared with Twitch's list; both in epoch seconds)
and ``subscriptions``, a map from topic key to ``{id, status, reason}``.

Several functions change a channel at the same time, so no change writes back what was read before: each is
one update of single map entries, with a condition where a newer entry must win.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from lambdas.subscriptions.model import Channel
from lambdas.subscriptions.topics import Status, TopicState

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
    """What is known of a channel's topics, by topic key; ``verified_at`` is in epoch seconds, 0 for never."""

    verified_at: int
    topics: Mapping[str, TopicState]


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

    def watch(self, channel: Channel, now: int) -> Record:
        """Note that somebody watches the channel, and return what is known of its topics.

        This comes before anything is subscribed: from here on the reconciler leaves the channel alone.
        """
        answer = self._client.update_item(
            TableName=self._name,
            Key={"streamer_id": {"S": channel.id}},
            UpdateExpression=(
                "SET login = :login, display_name = :display_name, avatar_url = :avatar_url, "
                "watched_at = :now, subscriptions = if_not_exists(subscriptions, :none)"
            ),
            ExpressionAttributeValues={
                ":login": {"S": channel.login},
                ":display_name": {"S": channel.display_name},
                ":avatar_url": {"S": channel.avatar_url},
                ":now": _number(now),
                ":none": {"M": {}},
            },
            ReturnValues="ALL_NEW",
        )
        return _record(answer["Attributes"])

    def record(self, streamer_id: str, states: Mapping[str, TopicState], verified_at: int) -> None:
        """Set the states of topics that Twitch has just told; the other topics stay as they are."""
        sets = ["verified_at = :verified_at"]
        names: dict[str, str] = {}
        values: dict[str, AttributeValueTypeDef] = {":verified_at": _number(verified_at)}
        for index, (key, state) in enumerate(states.items()):
            sets.append(f"subscriptions.#topic{index} = :state{index}")
            names[f"#topic{index}"] = key
            values[f":state{index}"] = _map(state)
        request: UpdateItemInputTypeDef = {
            "TableName": self._name,
            "Key": {"streamer_id": {"S": streamer_id}},
            "UpdateExpression": "SET " + ", ".join(sets),
            "ExpressionAttributeValues": values,
        }
        if names:
            request["ExpressionAttributeNames"] = names
        self._client.update_item(**request)

    def replace(self, streamer_id: str, key: str, expected_id: str | None, state: TopicState) -> bool:
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
        verified_at=int(item["verified_at"]["N"]) if "verified_at" in item else 0,
        topics={key: _state(value["M"]) for key, value in item["subscriptions"]["M"].items()},
    )


def _state(fields: "Item") -> TopicState:
    return TopicState(
        status=cast("Status", fields["status"]["S"]),
        subscription_id=fields["id"]["S"] if "id" in fields else None,
        reason=fields["reason"]["S"] if "reason" in fields else None,
    )


def _map(state: TopicState) -> "AttributeValueTypeDef":
    """A state as a map; what is None is left out, which the conditions above count on."""
    fields = {"status": state.status, "id": state.subscription_id, "reason": state.reason}
    return {"M": {name: {"S": value} for name, value in fields.items() if value is not None}}


def _number(value: int) -> "AttributeValueTypeDef":
    return {"N": str(value)}
