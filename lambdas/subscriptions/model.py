"""A channel and a subscription, as Twitch describes them."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Self


@dataclasses.dataclass(frozen=True, slots=True)
class Channel:
    """A broadcaster, as viewers see it."""

    id: str
    login: str
    display_name: str
    avatar_url: str


@dataclasses.dataclass(frozen=True, slots=True)
class Subscription:
    """An EventSub subscription, in Twitch's words."""

    id: str
    status: str
    type: str
    version: str
    condition: Mapping[str, str]
    callback: str

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read one of Helix's subscription objects; a WebSocket's has no callback."""
        return cls(
            id=fields["id"],
            status=fields["status"],
            type=fields["type"],
            version=fields["version"],
            condition=fields["condition"],
            callback=fields["transport"].get("callback", ""),
        )


def parse_login(text: str) -> str | None:
    """The login that a viewer means, in lower case as Twitch keeps it; None if no login looks like this."""
    return text.lower() if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_]{0,24}", text) else None
