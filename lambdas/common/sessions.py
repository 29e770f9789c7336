"""Sessions: who is signed in, where viewers sign in at Twitch without Cognito (``sign_in: "twitch"``).

A browser has a session's token in a cookie: the viewer's Twitch id and 256 random bits. The table has the
token's hash: ``viewer_id`` and ``token_hash`` (key), ``signed_in_at`` and ``expires_at`` in epoch seconds,
and the set ``scopes`` of what the viewer granted. A session ends 30 days after it was used last, and 90 days
after its sign-in.
"""

import dataclasses
import hashlib
import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from lambdas.common import dynamodb
from lambdas.common.aws import Client
from lambdas.common.dynamodb import Item

# Browsers take a cookie with this prefix only from the site itself, over TLS and for all of its paths.
# https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Set-Cookie#cookie_prefixes
COOKIE = "__Host-session"
LONGEST = timedelta(days=90)
IDLE = timedelta(days=30)
# A session that is used is prolonged once a day at most.
PROLONGED_BY = timedelta(days=1)

_TOKEN = re.compile(r"(?P<viewer_id>[0-9]{1,20})\.[A-Za-z0-9_-]{43}")


@dataclasses.dataclass(frozen=True, slots=True)
class SignIn:
    """Somebody has signed in: their Twitch id, when (epoch seconds), and the scopes that they granted."""

    viewer_id: str
    signed_in_at: int
    scopes: frozenset[str] = frozenset()


class SessionsTable:
    """The table called ``name``. ``now`` is in epoch seconds."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def begin(self, sign_in: SignIn) -> str:
        """Store a new session; returns its token."""
        token = f"{sign_in.viewer_id}.{secrets.token_urlsafe(32)}"
        item = {
            **_key(token, sign_in.viewer_id),
            "signed_in_at": {"N": str(sign_in.signed_in_at)},
            "expires_at": {"N": str(_expires_at(sign_in, sign_in.signed_in_at))},
            # DynamoDB has no empty sets.
            **({"scopes": {"SS": sorted(sign_in.scopes)}} if sign_in.scopes else {}),
        }
        self._client.call("PutItem", {"TableName": self._name, "Item": item})
        return token

    def find(self, token: str | None, now: int) -> SignIn | None:
        """Who signed in with this token, and prolong their session; None if it is unknown or has ended."""
        key = _key_of(token)
        if key is None:
            return None
        request = {"TableName": self._name, "Key": key, "ConsistentRead": True}
        item = self._client.call("GetItem", request).get("Item")
        # DynamoDB may be days late in deleting what has expired.
        if item is None or int(item["expires_at"]["N"]) <= now:
            return None
        scopes = item["scopes"]["SS"] if "scopes" in item else ()
        sign_in = SignIn(item["viewer_id"]["S"], int(item["signed_in_at"]["N"]), frozenset(scopes))
        expires_at = _expires_at(sign_in, now)
        if expires_at - int(item["expires_at"]["N"]) >= PROLONGED_BY.total_seconds():
            self._prolong(key, expires_at)
        return sign_in

    def end(self, token: str | None, now: int) -> str | None:
        """End the session with this token; returns the viewer's id, or None if it is unknown or has ended."""
        key = _key_of(token)
        if key is None:
            return None
        request = {"TableName": self._name, "Key": key, "ReturnValues": "ALL_OLD"}
        ended = self._client.call("DeleteItem", request).get("Attributes")
        return ended["viewer_id"]["S"] if ended and int(ended["expires_at"]["N"]) > now else None

    def end_all(self, viewer_id: str, until: int) -> None:
        """End every session of a viewer that began at the time ``until`` or before."""
        request = {
            "TableName": self._name,
            "KeyConditionExpression": "viewer_id = :viewer_id",
            "FilterExpression": "signed_in_at <= :until",
            "ExpressionAttributeValues": {":viewer_id": {"S": viewer_id}, ":until": {"N": str(until)}},
            "ProjectionExpression": "viewer_id, token_hash",
            "ConsistentRead": True,
        }
        for key in dynamodb.read_all(self._client, "Query", request):
            self._client.call("DeleteItem", {"TableName": self._name, "Key": key})

    def _prolong(self, key: Item, expires_at: int) -> None:
        request = {
            "TableName": self._name,
            "Key": key,
            "UpdateExpression": "SET expires_at = :expires_at",
            # It may have been ended meanwhile.
            "ConditionExpression": "attribute_exists(token_hash)",
            "ExpressionAttributeValues": {":expires_at": {"N": str(expires_at)}},
        }
        dynamodb.write_if(self._client, "UpdateItem", request)


def token_of(request: Mapping[str, Any], site_url: str) -> str | None:
    """The session token of an HTTP API request (payload 2.0) that a page of the site has sent; else None.

    A browser adds the cookie to every request to the site, whichever site's page sends it, and says in
    ``Origin`` which one that is.
    """
    if request["headers"].get("origin") != site_url:
        return None
    cookies = (cookie.partition("=") for cookie in request.get("cookies", ()))
    return next((value for name, _, value in cookies if name == COOKIE), None)


def _expires_at(sign_in: SignIn, used_at: int) -> int:
    return min(
        used_at + int(IDLE.total_seconds()),
        sign_in.signed_in_at + int(LONGEST.total_seconds()),
    )


def _key_of(token: str | None) -> Item | None:
    found = _TOKEN.fullmatch(token or "")
    return _key(found[0], found["viewer_id"]) if found else None


def _key(token: str, viewer_id: str) -> dict[str, Any]:
    return {
        "viewer_id": {"S": viewer_id},
        "token_hash": {"S": hashlib.sha256(token.encode()).hexdigest()},
    }
