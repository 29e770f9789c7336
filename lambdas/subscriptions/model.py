"""A channel and a subscription, as Twitch describes them, and a grant."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from lambdas.common.event import parse_time
from lambdas.subscriptions.subscription_types import SubscriptionState, Target, find_target


@dataclasses.dataclass(frozen=True, slots=True)
class Channel:
    """A broadcaster, as viewers see it."""

    id: str
    login: str
    display_name: str
    avatar_url: str

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read one of Helix's user objects. Raises LookupError, TypeError or ValueError if it is none."""
        texts = [fields[name] for name in ("id", "login", "display_name", "profile_image_url")]
        if not all(isinstance(text, str) for text in texts) or not fields["id"] or not fields["login"]:
            raise ValueError("a field of the user is empty or no text")
        return cls(*texts)


@dataclasses.dataclass(frozen=True, slots=True)
class Subscription:
    """An EventSub subscription, in Twitch's words."""

    id: str
    status: str
    type: str
    version: str
    condition: Mapping[str, str]
    callback: str
    cost: int
    created_at: str

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read one of Helix's subscription objects; a WebSocket's has no callback.

        Raises LookupError, TypeError, AttributeError or ValueError if it is none.
        """
        texts = {name: str(fields[name]) for name in ("id", "status", "type", "version", "created_at")}
        parse_time(texts["created_at"])
        condition = {field: str(value or "") for field, value in fields["condition"].items()}
        callback = fields["transport"].get("callback", "")
        return cls(**texts, condition=condition, cost=int(fields["cost"]), callback=callback)

    @property
    def target(self) -> Target | None:
        """What it is for; None if its type is not in the table of subscription types."""
        return find_target(self.type, self.version, self.condition)

    @property
    def live(self) -> bool:
        """Whether Twitch delivers it, or waits for its challenge: it counts against the limits."""
        return SubscriptionState.from_twitch(self.id, self.status).live

    def delivers_to(self, webhook_url: str) -> bool:
        """Whether its callback is our webhook; the query only says which secret signs."""
        return self.callback.partition("?")[0] == webhook_url


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """The scopes that a streamer, or a moderator of the channel, has granted to Fanfare.

    ``granted_at`` is when they signed in for it, in epoch seconds. ``scopes`` are those that Twitch has not
    refused since.
    """

    grantor_id: str
    granted_at: int
    scopes: frozenset[str]
