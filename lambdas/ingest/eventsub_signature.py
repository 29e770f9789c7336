"""Whether a delivery comes from Twitch, is whole, and is fresh.

https://dev.twitch.tv/docs/eventsub/handling-webhook-events/#verifying-the-event-message
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from lambdas.common.event import parse_time
from lambdas.ingest.refusal import RefusedError

# Twitch's header names, in lower case.
MESSAGE_ID = "twitch-eventsub-message-id"
MESSAGE_TIMESTAMP = "twitch-eventsub-message-timestamp"
MESSAGE_SIGNATURE = "twitch-eventsub-message-signature"

MAX_AGE = timedelta(minutes=10)


def verify(headers: Mapping[str, str], body: bytes, secrets: Iterable[bytes], now: datetime) -> datetime:
    """Return the moment at which Twitch sent the message.

    ``headers`` have lower-case names; their values and ``body`` are exactly what was received. ``secrets``
    are those that may have signed it.
    Raises RefusedError (403).
    """
    try:
        message_id, timestamp, claimed = (
            headers[name] for name in (MESSAGE_ID, MESSAGE_TIMESTAMP, MESSAGE_SIGNATURE)
        )
    except KeyError as error:
        raise RefusedError(403, "missing_header", f"The header {error.args[0]} is missing.") from None
    # The id is the store's key for duplicates: without one, every such message would be the same event.
    if not message_id:
        raise RefusedError(403, "missing_header", f"The header {MESSAGE_ID} is empty.")
    # Bytes, since compare_digest refuses text that is not ASCII, which an attacker may well send.
    signatures = [sign(message_id, timestamp, body, secret).encode() for secret in secrets]
    if not any(hmac.compare_digest(signature, _encode(claimed)) for signature in signatures):
        raise RefusedError(403, "bad_signature", "The signature does not match the message.")
    # Only a signed timestamp says anything, so freshness comes second.
    try:
        sent_at = parse_time(timestamp)
    except ValueError:
        raise RefusedError(403, "bad_timestamp", f"The header {MESSAGE_TIMESTAMP} is not a time.") from None
    if abs(now - sent_at) > MAX_AGE:
        raise RefusedError(403, "stale", "The message was not sent within the last 10 minutes.")
    return sent_at


def sign(message_id: str, timestamp: str, body: bytes, secret: bytes) -> str:
    """The value of ``Twitch-Eventsub-Message-Signature`` for this message."""
    signed = _encode(message_id) + _encode(timestamp) + body
    return "sha256=" + hmac.new(secret, signed, hashlib.sha256).hexdigest()


def _encode(header: str) -> bytes:
    return header.encode("utf-8", "surrogatepass")
