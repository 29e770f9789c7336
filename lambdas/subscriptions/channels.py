"""The channels table: what is known of each channel and of its subscriptions.

An item is ``streamer_id`` (key), ``login`` (key of the index ``login``), ``display_name``, ``avatar_url``,
``resolved_at`` (when Twitch last said that this is the login's channel), ``watched_at`` (when somebody last
watched, up to a minute too early), ``verified_at`` (when the states were last compared with Twitch's list),
``asked_until`` (see ``requests``; all of these in epoch seconds), ``subscriptions``, a map from a
subscription type's key to ``{id, status, reason, attempts, retry_at, as_of}``, ``revision``, which grows by
one with every change of ``subscriptions``, and ``told``, the revision of which viewers were told last.

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

# A watch is stored at most this often: an update is paid by the size of the whole item, and one item takes
# a thousand units a second.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/burst-adaptive-capacity.html
WATCHED_SECONDS = 60


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
    told: int = 0
    asked_until: int = 0


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
        # A login may have belonged to another channel before.
        found = map(_resolution, answer["Items"])
        return max(found, key=lambda resolution: resolution.resolved_at, default=None)

    def find_by_id(self, streamer_id: str) -> Resolution | None:
        """The channel with this id, and when Twitch last said what its login is; None if it is not known."""
        answer = self._client.call("GetItem", self._key(streamer_id))
        return _resolution(answer["Item"]) if "Item" in answer else None

    def scan(self) -> Iterator[tuple[str, ChannelRecord]]:
        """Every channel's id with what is known of it."""
        request = {"TableName": self._name, "ConsistentRead": True}
        for item in dynamodb.read_all(self._client, "Scan", request):
            yield item["streamer_id"]["S"], _record(item)

    def record_watch(self, resolution: Resolution, now: int) -> ChannelRecord:
        """Store that somebody watches the channel, and return what is known of its subscriptions.

        This comes before anything is subscribed: from here on the reconciler does not delete the channel. It
        writes nothing if the same was stored within a minute.
        """
        channel = resolution.channel
        known = self._client.call("GetItem", {**self._key(channel.id), "ConsistentRead": True}).get("Item")
        if known is not None and _is_recent(known, resolution, now):
            return _record(known)
        request = {
            **self._key(channel.id),
            "UpdateExpression": (
                "SET login = :login, display_name = :display_name, avatar_url = :avatar_url, "
                "resolved_at = :resolved_at, watched_at = :now, "
                "subscriptions = if_not_exists(subscriptions, :none), "
                "revision = if_not_exists(revision, :first_revision), "
                "told = if_not_exists(told, :first_revision)"
            ),
            # Of many viewers at once, one writes.
            "ConditionExpression": (
                "attribute_not_exists(watched_at) OR watched_at <= :minute_ago OR resolved_at < :resolved_at "
                "OR (resolved_at = :resolved_at AND login <> :login)"
            ),
            "ExpressionAttributeValues": {
                ":login": {"S": channel.login},
                ":display_name": {"S": channel.display_name},
                ":avatar_url": {"S": channel.avatar_url},
                ":resolved_at": _number(resolution.resolved_at),
                ":now": _number(now),
                ":minute_ago": _number(now - WATCHED_SECONDS),
                ":none": {"M": {}},
                # Above every revision that its deleted item had.
                ":first_revision": _number(now * 1000),
            },
        }
        dynamodb.write_if(self._client, "UpdateItem", request)
        record = self.get(channel.id)
        if record is None:
            raise LookupError("a channel that is watched was deleted")
        return record

    def set_state(
        self, streamer_id: str, key: str, expected_id: str | None, state: SubscriptionState
    ) -> bool:
        """Set the state of the subscription type ``key``, and return whether it was set.

        It is not set if the table has another subscription than ``expected_id`` by now (None: has any), or
        what Twitch said later than what ``state`` is based on.
        """
        values: dict[str, Any] = {
            ":state": _map(state),
            ":one": _number(1),
            ":as_of": _number(state.as_of),
        }
        condition = "attribute_exists(subscriptions) AND attribute_not_exists(subscriptions.#type.id)"
        if expected_id is not None:
            condition = "subscriptions.#type.id = :expected_id"
            values[":expected_id"] = {"S": expected_id}
        condition += (
            " AND (attribute_not_exists(subscriptions.#type.as_of) OR subscriptions.#type.as_of <= :as_of)"
        )
        request = {
            **self._key(streamer_id),
            "UpdateExpression": "SET subscriptions.#type = :state ADD revision :one",
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#type": key},
            "ExpressionAttributeValues": values,
        }
        return dynamodb.write_if(self._client, "UpdateItem", request)

    def record_run(self, streamer_id: str, now: int, *, verified: bool, watched: bool) -> None:
        """Store that the states agree with Twitch's list, and that a viewer is connected, if that is so."""
        found = {"verified_at": verified, "watched_at": watched}
        changes = [f"{name} = :now" for name, is_so in found.items() if is_so]
        if not changes:
            return
        request = {
            **self._key(streamer_id),
            "UpdateExpression": f"SET {', '.join(changes)}",
            "ConditionExpression": "attribute_exists(streamer_id)",
            "ExpressionAttributeValues": {":now": _number(now)},
        }
        dynamodb.write_if(self._client, "UpdateItem", request)

    def claim(self, streamer_id: str, now: int, until: int) -> bool:
        """Set ``asked_until``, and return whether it was set: not if another one is not over yet."""
        request = {
            **self._key(streamer_id),
            "UpdateExpression": "SET asked_until = :until",
            "ConditionExpression": (
                "attribute_exists(streamer_id) AND (attribute_not_exists(asked_until) OR asked_until <= :now)"
            ),
            "ExpressionAttributeValues": {":now": _number(now), ":until": _number(until)},
        }
        return dynamodb.write_if(self._client, "UpdateItem", request)

    def settle(
        self, streamer_id: str, *, asked_until: int, verified_at: int | None = None
    ) -> ChannelRecord | None:
        """Set ``asked_until`` (0 for nobody), and when the states were verified; return what is known now.

        None if the channel is not in the table any more.
        """
        values = {":until": _number(asked_until)}
        change = "SET asked_until = :until"
        if verified_at is not None:
            change += ", verified_at = :verified_at"
            values[":verified_at"] = _number(verified_at)
        request = {
            **self._key(streamer_id),
            "UpdateExpression": change,
            "ConditionExpression": "attribute_exists(streamer_id)",
            "ExpressionAttributeValues": values,
        }
        return self.get(streamer_id) if dynamodb.write_if(self._client, "UpdateItem", request) else None

    def record_told(self, streamer_id: str, revision: int) -> bool:
        """Store that viewers were told of the states of this revision, and return whether that is new."""
        request = {
            **self._key(streamer_id),
            "UpdateExpression": "SET told = :revision",
            "ConditionExpression": "told < :revision",
            "ExpressionAttributeValues": {":revision": _number(revision)},
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
    numbers = {
        name: int(item[name]["N"]) if name in item else 0
        for name in ("watched_at", "verified_at", "revision", "told", "asked_until")
    }
    states = {key: _state(value["M"]) for key, value in item["subscriptions"]["M"].items()}
    return ChannelRecord(states=states, **numbers)


def _resolution(item: Item) -> Resolution:
    fields = (item[name]["S"] for name in ("streamer_id", "login", "display_name", "avatar_url"))
    return Resolution(Channel(*fields), int(item["resolved_at"]["N"]))


def _is_recent(item: Item, resolution: Resolution, now: int) -> bool:
    known = _resolution(item)
    is_newer = known.resolved_at > resolution.resolved_at
    return int(item["watched_at"]["N"]) > now - WATCHED_SECONDS and (is_newer or known == resolution)


def _state(fields: Item) -> SubscriptionState:
    return SubscriptionState(
        status=cast("Status", fields["status"]["S"]),
        subscription_id=fields["id"]["S"] if "id" in fields else None,
        reason=fields["reason"]["S"] if "reason" in fields else None,
        attempts=int(fields["attempts"]["N"]) if "attempts" in fields else 0,
        retry_at=int(fields["retry_at"]["N"]) if "retry_at" in fields else 0,
        as_of=int(fields["as_of"]["N"]) if "as_of" in fields else 0,
    )


def _map(state: SubscriptionState) -> Item:
    """A state as a map without its empty fields: the condition above asks whether there is an ``id``."""
    texts = {"status": state.status, "id": state.subscription_id, "reason": state.reason}
    numbers = {"attempts": state.attempts, "retry_at": state.retry_at, "as_of": state.as_of}
    return {
        "M": {
            **{name: {"S": text} for name, text in texts.items() if text is not None},
            **{name: _number(number) for name, number in numbers.items() if number},
        }
    }


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}
