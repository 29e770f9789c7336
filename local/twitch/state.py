"""What the simulator remembers while it runs; nothing outlives the process."""

import collections
import dataclasses
import itertools
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from local.twitch.subscription_types import SubscriptionType
from local.twitch.users import Users

PENDING = "webhook_callback_verification_pending"
VERIFICATION_FAILED = "webhook_callback_verification_failed"
ENABLED = "enabled"
FAILURES_EXCEEDED = "notification_failures_exceeded"
AUTHORIZATION_REVOKED = "authorization_revoked"
USER_REMOVED = "user_removed"
MODERATOR_REMOVED = "moderator_removed"
REVOCATION_REASONS = (
    AUTHORIZATION_REVOKED,
    USER_REMOVED,
    FAILURES_EXCEEDED,
    "version_removed",
    MODERATOR_REMOVED,
)

DELIVERIES_KEPT = 500
# "At least": https://dev.twitch.tv/docs/eventsub/manage-subscriptions/#getting-the-list-of-events-you-subscribe-to
DEAD_LISTED_NANOSECONDS = 10 * 24 * 3600 * 10**9


@dataclasses.dataclass(slots=True)
class Subscription:
    """An EventSub webhook subscription. ``number`` orders subscriptions by age."""

    id: str
    number: int
    subscription_type: SubscriptionType
    condition: dict[str, str]
    callback: str
    secret: str = dataclasses.field(repr=False)
    created_at: str
    cost: int = 0
    status: str = PENDING
    failures: int = 0

    @property
    def live(self) -> bool:
        """Whether it counts: dead subscriptions stay listed, but cost and hinder nothing."""
        return self.status in (PENDING, ENABLED)

    def user_ids(self) -> set[str]:
        """The users that its condition names."""
        return {value for value in self.condition.values() if value}

    @property
    def granted_by(self) -> str | None:
        """The user whose consent it rests on; None if it needs nobody's."""
        return (
            None
            if self.subscription_type.scope is None
            else self.condition[self.subscription_type.granted_by]
        )

    def to_dict(self) -> dict[str, Any]:
        """The subscription as Twitch shows it: everything but the secret."""
        return {
            "id": self.id,
            "status": self.status,
            "type": self.subscription_type.name,
            "version": self.subscription_type.version,
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


Lost = Literal["request", "answer", "challenge", "notification", "revocation"]
LOST: tuple[Lost, ...] = get_args(Lost)


@dataclasses.dataclass(slots=True)
class Fault:
    """Trouble to make.

    Requests of ``method`` (None is any) whose path begins with ``path`` are answered ``latency_ms`` late, and
    refused with ``status``. What is ``lost`` never arrives: a request before anything was done, the answer
    after everything was done, or a message of that type to a callback. With ``duplicates``, notifications are
    sent that many times more. ``remaining`` is how many more requests (or messages) it strikes; None is until
    the faults are cleared.
    """

    path: str
    method: str | None = None
    status: int | None = None
    latency_ms: int = 0
    lost: Lost | None = None
    duplicates: int = 0
    remaining: int | None = None

    def strike(self) -> bool:
        """Use the fault up once; False if there is nothing left of it."""
        if self.remaining is None:
            return True
        self.remaining -= 1
        return self.remaining >= 0


@dataclasses.dataclass(frozen=True, slots=True)
class Trouble:
    """What the faults make of one request; ``latency`` is in seconds."""

    latency: float = 0.0
    status: int | None = None
    lost: Lost | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """An access token; ``user_id`` is None for an app access token, ``expires_at`` in epoch seconds."""

    user_id: str | None
    scopes: tuple[str, ...]
    expires_at: float


class State:
    """Users, grants, moderators, tokens, subscriptions, faults and the log of deliveries.

    ``grants`` are the scopes by user, of the one registered application; ``moderators`` the users' ids by the
    channel's.
    """

    def __init__(self, max_total_cost: int) -> None:
        self.max_total_cost = max_total_cost
        self.users = Users()
        self.grants: dict[str, set[str]] = {}
        self.moderators: dict[str, set[str]] = {}
        self.tokens: dict[str, Token] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.total_cost = 0
        self.faults: list[Fault] = []
        self.deliveries: collections.deque[Delivery] = collections.deque(maxlen=DELIVERIES_KEPT)
        self._numbers = itertools.count(1)
        self._by_user: collections.defaultdict[str, dict[str, Subscription]] = collections.defaultdict(dict)
        self._dead: collections.deque[tuple[int, str]] = collections.deque()

    def grant(self, user_id: str, scopes: Iterable[str]) -> None:
        """The user lets the application do what the scopes say, on top of what it already may."""
        self.grants.setdefault(user_id, set()).update(scopes)
        self._weigh(self.of_user(user_id))

    def withdraw(self, user_id: str) -> None:
        """The user takes back everything that the application may, and the tokens for it."""
        self.grants.pop(user_id, None)
        self.tokens = {value: token for value, token in self.tokens.items() if token.user_id != user_id}
        self._weigh(self.of_user(user_id))

    def subscribe(
        self,
        *,
        subscription_type: SubscriptionType,
        condition: dict[str, str],
        callback: str,
        secret: str,
        now: int,
    ) -> Subscription:
        """Add a subscription whose callback has yet to answer the challenge."""
        subscription = Subscription(
            id=str(uuid.uuid4()),
            number=next(self._numbers),
            subscription_type=subscription_type,
            condition=condition,
            callback=callback,
            secret=secret,
            created_at=timestamp(now),
        )
        self.subscriptions[subscription.id] = subscription
        for user_id in subscription.user_ids():
            self._by_user[user_id][subscription.id] = subscription
        self._weigh([subscription])
        return subscription

    def end(self, subscription: Subscription, status: str, now: int) -> None:
        """A live subscription is over; its status says why."""
        self.total_cost -= subscription.cost
        subscription.status = status
        self._dead.append((now, subscription.id))

    def delete(self, subscription_id: str) -> bool:
        """Forget a subscription; False if there is none."""
        subscription = self.subscriptions.pop(subscription_id, None)
        if subscription is None:
            return False
        if subscription.live:
            self.total_cost -= subscription.cost
        for user_id in subscription.user_ids():
            del self._by_user[user_id][subscription_id]
        return True

    def forget_dead(self, now: int) -> None:
        """Forget the subscriptions that have been over for so long that Twitch no longer lists them."""
        while self._dead and now - self._dead[0][0] > DEAD_LISTED_NANOSECONDS:
            self.delete(self._dead.popleft()[1])

    def of_user(self, user_id: str) -> list[Subscription]:
        """The subscriptions whose condition names a user, oldest first, dead ones included."""
        return list(self._by_user.get(user_id, {}).values())

    def cost(self, subscription_type: SubscriptionType, condition: dict[str, str]) -> int:
        """What a subscription costs while the grants are as they are.

        https://dev.twitch.tv/docs/eventsub/manage-subscriptions/#subscription-limits
        """
        authorized = subscription_type.scope is not None or any(
            user_id in self.grants for user_id in condition.values()
        )
        return 0 if authorized else 1

    def _weigh(self, subscriptions: Iterable[Subscription]) -> None:
        """Charge live subscriptions what they cost now."""
        for subscription in subscriptions:
            if subscription.live:
                self.total_cost -= subscription.cost
                subscription.cost = self.cost(subscription.subscription_type, subscription.condition)
                self.total_cost += subscription.cost

    def trouble(self, method: str, path: str) -> Trouble:
        """What the faults make of a request; this uses them up."""
        latency = 0.0
        for fault in self.faults:
            lost = fault.lost if fault.lost in ("request", "answer") else None
            about_requests = fault.latency_ms or fault.status or lost
            fits = path.startswith(fault.path) and fault.method in (None, method)
            if not about_requests or not fits or not fault.strike():
                continue
            latency += fault.latency_ms / 1000
            if fault.status or lost:
                return Trouble(latency, fault.status, lost)
        return Trouble(latency)

    def loses(self, message_type: Lost) -> bool:
        """Whether a message of this type never leaves; this uses the fault up."""
        return any(fault.lost == message_type and fault.strike() for fault in self.faults)

    def duplicates(self) -> int:
        """How many times more a notification is sent; this uses the faults up."""
        return sum(fault.duplicates for fault in self.faults if fault.duplicates and fault.strike())


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 in UTC with nanoseconds, as in ``Twitch-Eventsub-Message-Timestamp``."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    moment = datetime.fromtimestamp(seconds, tz=UTC).replace(tzinfo=None)
    return f"{moment.isoformat()}.{fraction:09d}Z"
