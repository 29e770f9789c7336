"""Messages to webhooks: the challenge, notifications and revocations, signed as Twitch signs them.

https://dev.twitch.tv/docs/eventsub/handling-webhook-events/
"""

import dataclasses
import hashlib
import hmac
import json
import secrets
import uuid
from typing import Literal, Self

from local.twitch.events import Event
from local.twitch.state import Subscription, timestamp

MessageType = Literal["webhook_callback_verification", "notification", "revocation"]


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """A message to a subscription's callback; it is the same one however often it is sent."""

    subscription: Subscription
    type: MessageType
    id: str
    sent_at: str
    body: str
    challenge: str | None = None

    @classmethod
    def verification(cls, subscription: Subscription, now: int) -> Self:
        """Asks the callback to prove, by repeating the challenge, that it wants the subscription."""
        challenge = secrets.token_urlsafe(32)
        body = {"challenge": challenge, "subscription": subscription.to_dict()}
        return cls._make(subscription, "webhook_callback_verification", body, now, challenge=challenge)

    @classmethod
    def notification(
        cls, subscription: Subscription, event: Event, now: int, message_id: str | None = None
    ) -> Self:
        """Tells an event."""
        body = {"subscription": subscription.to_dict(), "event": event}
        return cls._make(subscription, "notification", body, now, message_id=message_id)

    @classmethod
    def revocation(cls, subscription: Subscription, now: int) -> Self:
        """Tells that the subscription is over; its status says why."""
        return cls._make(subscription, "revocation", {"subscription": subscription.to_dict()}, now)

    @classmethod
    def _make(
        cls,
        subscription: Subscription,
        type_: MessageType,
        body: Event,
        now: int,
        *,
        message_id: str | None = None,
        challenge: str | None = None,
    ) -> Self:
        message_id = message_id or str(uuid.uuid4())
        return cls(subscription, type_, message_id, timestamp(now), json.dumps(body), challenge)

    def headers(self, retry: int = 0) -> dict[str, str]:
        """The headers it is sent with, ``retry`` times after the first."""
        subscription = self.subscription
        return {
            "Content-Type": "application/json",
            "Twitch-Eventsub-Message-Id": self.id,
            "Twitch-Eventsub-Message-Retry": str(retry),
            "Twitch-Eventsub-Message-Type": self.type,
            "Twitch-Eventsub-Message-Signature": sign(subscription.secret, self.id, self.sent_at, self.body),
            "Twitch-Eventsub-Message-Timestamp": self.sent_at,
            "Twitch-Eventsub-Subscription-Type": subscription.subscription_type.name,
            "Twitch-Eventsub-Subscription-Version": subscription.subscription_type.version,
        }

    def proven_by(self, status: int | None, answer: str, content_type: str) -> bool:
        """Whether an answer to a verification is the challenge, raw and as plain text."""
        return status == 200 and answer == self.challenge and content_type == "text/plain"


def sign(secret: str, message_id: str, message_timestamp: str, body: str) -> str:
    """The value of ``Twitch-Eventsub-Message-Signature``."""
    message = message_id + message_timestamp + body
    return "sha256=" + hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()
