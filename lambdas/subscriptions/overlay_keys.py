"""Overlay keys: what a streamer's overlay shows instead of a sign-in, which is not possible inside OBS.

A key is ``<overlay id>.<secret>``. It opens the events of one channel, which anybody may see who signs in,
and nothing else; there is one for each viewer and channel, and making a new one ends the one before. The
table holds a hash of the secret: ``overlay_id`` (key), ``secret_hash``, ``viewer_id``, ``login``.
"""

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class OverlaysTable:
    """The table called ``name``."""

    def __init__(self, client: "DynamoDBClient", name: str) -> None:
        self._client = client
        self._name = name

    def make_key(self, viewer_id: str, login: str) -> str:
        """A new key for the viewer's overlay of a channel; the one before stops working."""
        overlay_id, secret = _overlay_id(viewer_id, login), secrets.token_urlsafe(32)
        self._client.put_item(
            TableName=self._name,
            Item={
                "overlay_id": {"S": overlay_id},
                "secret_hash": {"S": _hash(secret)},
                "viewer_id": {"S": viewer_id},
                "login": {"S": login},
            },
        )
        return f"{overlay_id}.{secret}"

    def revoke(self, viewer_id: str, login: str) -> None:
        """End the viewer's overlay of a channel; ending one that is not there is no error."""
        self._client.delete_item(
            TableName=self._name, Key={"overlay_id": {"S": _overlay_id(viewer_id, login)}}
        )

    def owner(self, key: str, login: str) -> str | None:
        """Whose overlay of this channel the key opens; None if it opens none (any more)."""
        overlay_id, _, secret = key.partition(".")
        if not overlay_id:
            return None
        item = self._client.get_item(
            TableName=self._name, Key={"overlay_id": {"S": overlay_id}}, ConsistentRead=True
        ).get("Item")
        if (
            item is None
            or item["login"]["S"] != login
            or not hmac.compare_digest(item["secret_hash"]["S"], _hash(secret))
        ):
            return None
        return item["viewer_id"]["S"]


def _overlay_id(viewer_id: str, login: str) -> str:
    return hashlib.sha256(f"{viewer_id}\0{login}".encode()).hexdigest()[:32]


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
