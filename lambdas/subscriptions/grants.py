"""The grants table: on whose consent the topics of a channel may be subscribed.

An item is ``streamer_id`` and ``grantor_id`` (key), ``granted_at`` in epoch seconds and the set ``scopes``.
Twitch is the one who knows what was granted; the table says what is worth trying. A scope that Twitch refuses
or revokes is taken out, and comes back only with a later sign-in.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lambdas.subscriptions.model import Grant
from lambdas.subscriptions.subscription_types import SCOPES, SUBSCRIPTION_TYPES

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, UpdateItemInputTypeDef


class GrantsTable:
    """The table called ``name``."""

    def __init__(self, client: "DynamoDBClient", name: str) -> None:
        self._client = client
        self._name = name

    def record(self, streamer_id: str, grant: Grant) -> bool:
        """Note a grant, and return whether it is news: not if this sign-in, or a later one, is known."""
        return self._update_if(
            streamer_id,
            grant.grantor_id,
            "SET granted_at = :granted_at, scopes = :scopes",
            "attribute_not_exists(granted_at) OR granted_at < :granted_at",
            {
                ":granted_at": {"N": str(grant.granted_at)},
                ":scopes": {"SS": sorted(grant.scopes)},
            },
        )

    def refuse(self, streamer_id: str, grant: Grant, scope: str) -> None:
        """Take out a scope that Twitch does not know of, unless the grantor has signed in again meanwhile."""
        self._update_if(
            streamer_id,
            grant.grantor_id,
            "DELETE scopes :scopes",
            "granted_at = :granted_at",
            {
                ":granted_at": {"N": str(grant.granted_at)},
                ":scopes": {"SS": [scope]},
            },
        )

    def withdraw(self, streamer_id: str, grantor_id: str, revoked_at: int) -> None:
        """Take out all scopes of a grant that Twitch revoked (epoch seconds), unless it is a later one."""
        self._update_if(
            streamer_id,
            grantor_id,
            "REMOVE scopes",
            "granted_at <= :revoked_at",
            {":revoked_at": {"N": str(revoked_at)}},
        )

    def of(self, streamer_id: str) -> list[Grant]:
        """The grants for a channel."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._name,
            KeyConditionExpression="streamer_id = :streamer_id",
            ExpressionAttributeValues={":streamer_id": {"S": streamer_id}},
            ConsistentRead=True,
        )
        return [_grant(item) for page in pages for item in page["Items"]]

    def all(self) -> Mapping[str, list[Grant]]:
        """Every grant, by the streamer's id."""
        grants: dict[str, list[Grant]] = {}
        pages = self._client.get_paginator("scan").paginate(TableName=self._name, ConsistentRead=True)
        for page in pages:
            for item in page["Items"]:
                grants.setdefault(item["streamer_id"]["S"], []).append(_grant(item))
        return grants

    def _update_if(
        self,
        streamer_id: str,
        grantor_id: str,
        change: str,
        condition: str,
        values: "Mapping[str, AttributeValueTypeDef]",
    ) -> bool:
        request: UpdateItemInputTypeDef = {
            "TableName": self._name,
            "Key": {"streamer_id": {"S": streamer_id}, "grantor_id": {"S": grantor_id}},
            "UpdateExpression": change,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }
        try:
            self._client.update_item(**request)
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True


def grant_of(claims: Mapping[str, str], provider: str, streamer_id: str) -> Grant | None:
    """What the token's owner has granted for the streamer's channel; None if they only came to watch.

    ``claims`` are those of Cognito's ID or access token, ``provider`` is the streamers' identity provider. A
    federated user's name is ``<provider>_<sub>``, where ``sub`` is the Twitch user id: both tokens have it,
    and API Gateway hands it over unchanged, unlike the ID token's list ``identities``.
    https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-identity-federation.html

    For somebody else's channel only a moderator's consent is worth trying.
    """
    name = claims.get("cognito:username") or claims.get("username", "")
    prefix, _, grantor_id = name.rpartition("_")
    # Pools that ignore case keep names in lower case.
    if prefix.lower() != provider.lower() or not grantor_id.isdecimal():
        return None
    moderated = frozenset(
        topic.scope for topic in SUBSCRIPTION_TYPES if topic.consent == "moderator" and topic.scope
    )
    scopes = SCOPES if grantor_id == streamer_id else moderated
    return Grant(grantor_id, int(claims["auth_time"]), scopes)


def _grant(item: "Mapping[str, AttributeValueTypeDef]") -> Grant:
    # DynamoDB has no empty sets: once the last scope is taken out, the attribute is gone.
    scopes = item["scopes"]["SS"] if "scopes" in item else ()
    return Grant(item["grantor_id"]["S"], int(item["granted_at"]["N"]), frozenset(scopes))
