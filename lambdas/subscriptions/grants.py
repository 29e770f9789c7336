"""The grants table: who has granted which scopes, so that a channel's events may be subscribed.

An item is ``streamer_id`` and ``grantor_id`` (key), ``granted_at`` in epoch seconds and the set ``scopes``.
Only Twitch knows what was granted; the table says what is worth trying. A scope that Twitch refuses or
revokes is removed, and comes back only with a later sign-in.
"""

from collections.abc import Mapping
from typing import Any

from lambdas.common import dynamodb
from lambdas.common.aws import Client
from lambdas.common.dynamodb import Item
from lambdas.common.sessions import SignIn
from lambdas.subscriptions.model import Grant
from lambdas.subscriptions.subscription_types import MODERATOR_SCOPES, SCOPES


class GrantsTable:
    """The table called ``name``."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def record(self, streamer_id: str, grant: Grant) -> bool:
        """Store a grant, and return whether it is new: not if this sign-in, or a later one, is stored."""
        values = {":granted_at": {"N": str(grant.granted_at)}, ":scopes": {"SS": sorted(grant.scopes)}}
        change = "SET granted_at = :granted_at, scopes = :scopes"
        condition = "attribute_not_exists(granted_at) OR granted_at < :granted_at"
        return self._update_if(streamer_id, grant.grantor_id, change, condition, values)

    def remove_scope(self, streamer_id: str, grant: Grant, scope: str) -> None:
        """Remove a scope that Twitch refused, unless the grantor has signed in again meanwhile."""
        values = {":granted_at": {"N": str(grant.granted_at)}, ":scopes": {"SS": [scope]}}
        change, condition = "DELETE scopes :scopes", "granted_at = :granted_at"
        self._update_if(streamer_id, grant.grantor_id, change, condition, values)

    def remove_scopes(self, streamer_id: str, grantor_id: str, revoked_at: int) -> None:
        """Remove all scopes of a grant that Twitch revoked (epoch seconds), unless it was given later."""
        values = {":revoked_at": {"N": str(revoked_at)}}
        self._update_if(streamer_id, grantor_id, "REMOVE scopes", "granted_at <= :revoked_at", values)

    def for_channel(self, streamer_id: str) -> list[Grant]:
        """The grants for a channel."""
        request = {
            "TableName": self._name,
            "KeyConditionExpression": "streamer_id = :streamer_id",
            "ExpressionAttributeValues": {":streamer_id": {"S": streamer_id}},
            "ConsistentRead": True,
        }
        return [_grant(item) for item in dynamodb.read_all(self._client, "Query", request)]

    def by_channel(self) -> Mapping[str, list[Grant]]:
        """Every grant, by the streamer's id."""
        grants: dict[str, list[Grant]] = {}
        request = {"TableName": self._name, "ConsistentRead": True}
        for item in dynamodb.read_all(self._client, "Scan", request):
            grants.setdefault(item["streamer_id"]["S"], []).append(_grant(item))
        return grants

    def _update_if(
        self, streamer_id: str, grantor_id: str, change: str, condition: str, values: Mapping[str, Any]
    ) -> bool:
        request = {
            "TableName": self._name,
            "Key": {"streamer_id": {"S": streamer_id}, "grantor_id": {"S": grantor_id}},
            "UpdateExpression": change,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }
        return dynamodb.write_if(self._client, "UpdateItem", request)


def grant_of(sign_in: SignIn, streamer_id: str) -> Grant | None:
    """What somebody has granted for the streamer's channel by signing in; None if nothing.

    For somebody else's channel only a moderator's scopes are worth trying.
    """
    scopes = sign_in.scopes & (SCOPES if sign_in.viewer_id == streamer_id else MODERATOR_SCOPES)
    return Grant(sign_in.viewer_id, sign_in.signed_in_at, scopes) if scopes else None


def _grant(item: Item) -> Grant:
    # DynamoDB has no empty sets: when the last scope is removed, the attribute is gone.
    scopes = item["scopes"]["SS"] if "scopes" in item else ()
    return Grant(item["grantor_id"]["S"], int(item["granted_at"]["N"]), frozenset(scopes))
