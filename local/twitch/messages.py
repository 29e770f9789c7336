"""Messages: the challenge, notifications and revocations, to webhooks (signed) and to WebSockets.

https://dev.twitch.tv/docs/eventsub/handling-webhook-events/
https://dev.twitch.tv/docs/eventsub/websocket-reference/
"""

import dataclasses
import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Mapping
from typing import Literal, Self

from local.twitch.example_events import Event
from local.twitch.state import Subscription, timestamp

MessageType = Literal["webhook_callback_verification", "notification", "revocation"]


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """A message to a subscription's transport; each retry sends the same one."""

    subscription: Subscription
    type: MessageType
    sent_at: str
    body: str
    id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    challenge: str | None = None

    @classmethod
    def verification(cls, subscription: Subscription, now: int) -> Self:
        """The challenge, which the callback must repeat to confirm the subscription."""
        challenge = secrets.token_urlsafe(32)
        body = json.dumps({"challenge": challenge, "subscription": subscription.to_dict()})
        type_: MessageType = "webhook_callback_verification"
        return cls(subscription, type_, timestamp(now), body, challenge=challenge)

    @classmethod
    def notification(
        cls, subscription: Subscription, event: Event, now: int, message_id: str | None = None
    ) -> Self:
        """A message with an event."""
        body = json.dumps({"subscription": subscription.to_dict(), "event": event})
        return cls(subscription, "notification", timestamp(now), body, message_id or str(uuid.uuid4()))

    @classmethod
    def revocation(cls, subscription: Subscription, now: int) -> Self:
        """A message that the subscription has ended; its status is the reason."""
        body = json.dumps({"subscription": subscription.to_dict()})
        return cls(subscription, "revocation", timestamp(now), body)

    @property
    def metadata(self) -> dict[str, str]:
        """What the message says of itself: to a WebSocket as it is, to a webhook in headers."""
        return {
            "message_id": self.id,
            "message_type": self.type,
            "message_timestamp": self.sent_at,
            "subscription_type": self.subscription.subscription_type.name,
            "subscription_version": self.subscription.subscription_type.version,
        }

    def headers(self, retry: int = 0) -> dict[str, str]:
        """The headers of the attempt number ``retry``; the first is 0."""
        return webhook_headers(self.metadata, retry, self.subscription.secret, self.body)

    def frame(self) -> str:
        """The message as a WebSocket receives it."""
        return frame(self.metadata, self.body)

    def is_confirmed_by(self, status: int | None, answer: str, content_type: str) -> bool:
        """Whether an answer to a verification is the challenge as plain text."""
        return status == 200 and answer == self.challenge and content_type == "text/plain"


def frame(metadata: Mapping[str, str], payload: str) -> str:
    """A message to a WebSocket; ``payload`` is JSON."""
    return f'{{"metadata": {json.dumps(metadata)}, "payload": {payload}}}'


def webhook_headers(metadata: Mapping[str, str], retry: int, secret: str, body: str) -> dict[str, str]:
    """The headers of the attempt number ``retry`` to deliver a message."""
    described = {f"Twitch-Eventsub-{name.title().replace('_', '-')}": metadata[name] for name in metadata}
    signature = sign(secret, metadata["message_id"], metadata["message_timestamp"], body)
    return {
        "Content-Type": "application/json",
        **described,
        "Twitch-Eventsub-Message-Retry": str(retry),
        "Twitch-Eventsub-Message-Signature": signature,
    }


def sign(secret: str, message_id: str, message_timestamp: str, body: str) -> str:
    """The value of ``Twitch-Eventsub-Message-Signature``."""
    message = message_id + message_timestamp + body
    return "sha256=" + hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()
