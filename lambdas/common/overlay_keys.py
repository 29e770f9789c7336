"""Overlay keys: what a streamer's overlay sends instead of a viewer's token, since OBS cannot sign in.

A key is ``<overlay id>.<secret>``. It opens the events of one channel, which every signed-in viewer may see,
and nothing else. There is one for each viewer and channel; a new one replaces the one before. The table holds
a hash of the secret: ``overlay_id`` (key), ``secret_hash``, ``viewer_id``, ``streamer_id``, ``login``. The
streamer's id stays when the channel is renamed, and so do the key and the address that holds it.
"""

import dataclasses
import hashlib
import hmac
import re
import secrets
from typing import Any

from lambdas.common.aws import Client

_KEY = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{43})")


@dataclasses.dataclass(frozen=True, slots=True)
class Overlay:
    """Whose overlay of which channel a key opens; ``version`` says which key it was, and is no secret.

    ``login`` was the channel's when the key was made.
    """

    viewer_id: str
    streamer_id: str
    login: str
    version: str


class OverlayKeysTable:
    """The table called ``name``."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def make_key(self, viewer_id: str, streamer_id: str, login: str) -> str:
        """A new key for the viewer's overlay of a channel; the one before stops working."""
        overlay_id, secret = _overlay_id(viewer_id, streamer_id), secrets.token_urlsafe(32)
        item = {
            "overlay_id": {"S": overlay_id},
            "secret_hash": {"S": _hash(secret)},
            "viewer_id": {"S": viewer_id},
            "streamer_id": {"S": streamer_id},
            "login": {"S": login},
        }
        self._client.call("PutItem", {"TableName": self._name, "Item": item})
        return f"{overlay_id}.{secret}"

    def revoke(self, viewer_id: str, streamer_id: str) -> None:
        """Delete the key of the viewer's overlay of a channel; it is no error if there is none."""
        self._client.call("DeleteItem", self._key(_overlay_id(viewer_id, streamer_id)))

    def find(self, key: str) -> Overlay | None:
        """The overlay that has this key; None if the key is not valid."""
        match = _KEY.fullmatch(key)
        if match is None:
            return None
        overlay = self._get(match[1])
        if overlay is None or not hmac.compare_digest(overlay.version, _version(match[1], _hash(match[2]))):
            return None
        return overlay

    def is_valid(self, version: str) -> bool:
        """Whether the key with this version still works."""
        overlay = self._get(version.partition(".")[0])
        return overlay is not None and overlay.version == version

    def _get(self, overlay_id: str) -> Overlay | None:
        item = self._client.call("GetItem", {**self._key(overlay_id), "ConsistentRead": True}).get("Item")
        if item is None:
            return None
        version = _version(overlay_id, item["secret_hash"]["S"])
        viewer_id, streamer_id, login = (item[name]["S"] for name in ("viewer_id", "streamer_id", "login"))
        return Overlay(viewer_id, streamer_id, login, version)

    def _key(self, overlay_id: str) -> dict[str, Any]:
        return {"TableName": self._name, "Key": {"overlay_id": {"S": overlay_id}}}


def viewer_of(owner_id: str) -> str:
    """The id under which all overlays of a viewer count: they have limits of their own."""
    return f"overlay/{owner_id}"


def _overlay_id(viewer_id: str, streamer_id: str) -> str:
    return hashlib.sha256(f"{viewer_id}\0{streamer_id}".encode()).hexdigest()[:32]


def _version(overlay_id: str, secret_hash: str) -> str:
    return f"{overlay_id}.{secret_hash}"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
