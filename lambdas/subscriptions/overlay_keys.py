"""Overlay keys: what a streamer's overlay sends instead of a viewer's token, since OBS cannot sign in.

A key is ``<overlay id>.<secret>``. It opens the events of one channel, which every signed-in viewer may see,
and nothing else. There is one for each viewer and channel; a new one replaces the one before. The table holds
a hash of the secret: ``overlay_id`` (key), ``secret_hash``, ``viewer_id``, ``login``.
"""

import hashlib
import hmac
import secrets
from typing import Any

from lambdas.common.aws import Client


class OverlayKeysTable:
    """The table called ``name``."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def make_key(self, viewer_id: str, login: str) -> str:
        """A new key for the viewer's overlay of a channel; the one before stops working."""
        overlay_id, secret = _overlay_id(viewer_id, login), secrets.token_urlsafe(32)
        item = {
            "overlay_id": {"S": overlay_id},
            "secret_hash": {"S": _hash(secret)},
            "viewer_id": {"S": viewer_id},
            "login": {"S": login},
        }
        self._client.call("PutItem", {"TableName": self._name, "Item": item})
        return f"{overlay_id}.{secret}"

    def revoke(self, viewer_id: str, login: str) -> None:
        """Delete the key of the viewer's overlay of a channel; it is no error if there is none."""
        self._client.call("DeleteItem", self._key(_overlay_id(viewer_id, login)))

    def owner(self, key: str, login: str) -> str | None:
        """The viewer whose overlay of this channel has this key; None if the key is not valid."""
        overlay_id, _, secret = key.partition(".")
        if not overlay_id:
            return None
        item = self._client.call("GetItem", {**self._key(overlay_id), "ConsistentRead": True}).get("Item")
        if (
            item is None
            or item["login"]["S"] != login
            or not hmac.compare_digest(item["secret_hash"]["S"], _hash(secret))
        ):
            return None
        owner: str = item["viewer_id"]["S"]
        return owner

    def _key(self, overlay_id: str) -> dict[str, Any]:
        return {"TableName": self._name, "Key": {"overlay_id": {"S": overlay_id}}}


def _overlay_id(viewer_id: str, login: str) -> str:
    return hashlib.sha256(f"{viewer_id}\0{login}".encode()).hexdigest()[:32]


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
