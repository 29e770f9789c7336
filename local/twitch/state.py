"""What the simulator remembers while it runs; nothing outlives the process."""

import collections
import dataclasses
import itertools
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from local.twitch.topics import Topic
from local.twitch.users import Users

PENDING = "webhook_callback_verification_pending"
VERIFICATION_FAILED = "webhook_callback_verification_failed"
ENABLED = "enabled"
FAILURES_EXCEEDED = "notification_failures_exceeded"
AUTHORIZATION_REVOKED = "authorization_revoked"
REVOCATION_REASONS = (
    AUTHORIZATION_REVOKED,
    "user_removed",
    FAILURES_EXCEEDED,
    "version_removed",
    "moderator_removed",
)

DELIVERIES_KEPT = 500


@dataclasses.dataclass(slots=True)
class Subscription:
    """An EventSub webhook subscription. ``number`` orders subscriptions by age."""

    id: str
    number: int
    client_id: str
    topic: Topic
    condition: dict[str, str]
    callback: str
    secret: str = dataclasses.field(repr=False)
    cost: int
    created_at: str
    status: str = PENDING
    failures: int = 0

    @property
    def live(self) -> bool:
        """Whether it counts: dead subscriptions stay listed, but cost and hinder nothing."""
        return self.status in (PENDING, ENABLED)

    def user_ids(self) -> set[str]:
        """The users that its condition names."""
        return {value for value in self.condition.values() if value}

    def to_dict(self) -> dict[str, Any]:
        """The subscription as Twitch shows it: everything but the secret."""
        return {
            "id": self.id,
            "status": self.status,
            "type": self.topic.type,
            "version": self.topic.version,
            "cost": self.cost,
            "condition": self.condition,
            "transport": {"method": "webhook", "callback": self.callback},
            "created_at": self.created_at,
        }


@dataclasses.dataclass(slots=True)
class Delivery:
    """One message to one callback, with how it went; ``status`` is None while nothing has answered."""

    subscription_id: str
    message_id: str
    message_type: str
    event_type: str
    callback: str
    sent_at: str
    status: int | None = None
    attempts: int = 0
    milliseconds: float = 0.0
    answer: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the callback took the message."""
        return self.status is not None and 200 <= self.status < 300


@dataclasses.dataclass(slots=True)
class Fault:
    """Trouble to make.

    Requests whose path begins with ``path`` are held up by ``latency_ms`` and, with ``status``, refused;
    with ``duplicates``, notifications are delivered that many times more. ``remaining`` is how many more
    requests (or notifications) it strikes; None is until the faults are cleared.
    """

    path: str
    status: int | None = None
    latency_ms: int = 0
    duplicates: int = 0
    remaining: int | None = None

    def strike(self) -> bool:
        """Use the fault up once; False if there is nothing left of it."""
        if self.remaining is None:
            return True
        self.remaining -= 1
        return self.remaining >= 0


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """An access token; ``user_id`` is None for an app access token, ``expires_at`` in epoch seconds."""

    client_id: str
    user_id: str | None
    scopes: tuple[str, ...]
    expires_at: float


class State:
    """Users, grants, tokens, subscriptions, faults and the log of deliveries."""

    def __init__(self) -> None:
        self.users = Users()
        self.grants: dict[tuple[str, str], set[str]] = {}
        self.tokens: dict[str, Token] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.faults: list[Fault] = []
        self.deliveries: collections.deque[Delivery] = collections.deque(maxlen=DELIVERIES_KEPT)
        self._numbers = itertools.count(1)

    def grant(self, client_id: str, user_id: str, scopes: Iterable[str]) -> None:
        """The user lets the application do what the scopes say, on top of what it already may."""
        self.grants.setdefault((client_id, user_id), set()).update(scopes)

    def subscribe(
        self,
        *,
        client_id: str,
        topic: Topic,
        condition: dict[str, str],
        callback: str,
        secret: str,
        cost: int,
        now: int,
    ) -> Subscription:
        """Add a subscription whose callback has yet to answer the challenge."""
        subscription = Subscription(
            id=str(uuid.uuid4()),
            number=next(self._numbers),
            client_id=client_id,
            topic=topic,
            condition=condition,
            callback=callback,
            secret=secret,
            cost=cost,
            created_at=timestamp(now),
        )
        self.subscriptions[subscription.id] = subscription
        return subscription

    def of_client(self, client_id: str) -> list[Subscription]:
        """The application's subscriptions, oldest first, dead ones included."""
        return [entry for entry in self.subscriptions.values() if entry.client_id == client_id]

    def total_cost(self, client_id: str) -> int:
        """What the application's live subscriptions cost together."""
        return sum(entry.cost for entry in self.of_client(client_id) if entry.live)


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 in UTC with nanoseconds, as in ``Twitch-Eventsub-Message-Timestamp``."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    moment = datetime.fromtimestamp(seconds, tz=UTC).replace(tzinfo=None)
    return f"{moment.isoformat()}.{fraction:09d}Z"
