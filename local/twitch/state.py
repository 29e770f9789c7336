"""The simulator's state, in memory."""

import collections
import dataclasses
import itertools
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from local.twitch.responses import RefusedError
from local.twitch.subscription_types import SubscriptionType
from local.twitch.users import Users

PENDING = "webhook_callback_verification_pending"
VERIFICATION_FAILED = "webhook_callback_verification_failed"
ENABLED = "enabled"
FAILURES_EXCEEDED = "notification_failures_exceeded"
CONDUIT_DELETED = "conduit_deleted"
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
# "At least" ten days: https://dev.twitch.tv/docs/eventsub/manage-subscriptions/#getting-the-list-of-events-you-subscribe-to
ENDED_LISTED_NANOSECONDS = 10 * 24 * 3600 * 10**9

# What the API shows: a method with a callback, a session_id or a conduit_id.
Transport = dict[str, str]


@dataclasses.dataclass(slots=True)
class Shard:
    """A shard of a conduit, whose transport is a WebSocket's session."""

    id: str
    transport: Transport
    status: str = ENABLED


@dataclasses.dataclass(slots=True)
class Conduit:
    """A conduit; ``shards`` are those with a transport, by their ids."""

    id: str
    shard_count: int
    shards: dict[str, Shard] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class Subscription:
    """An EventSub subscription. ``number`` orders subscriptions by age."""

    id: str
    number: int
    subscription_type: SubscriptionType
    condition: dict[str, str]
    transport: Transport
    secret: str = dataclasses.field(repr=False)
    created_at: str
    cost: int = 0
    status: str = PENDING
    failures: int = 0

    @property
    def live(self) -> bool:
        """Whether it has not ended. Ended ones are still listed, cost nothing and do not conflict."""
        return self.status in (PENDING, ENABLED)

    @property
    def callback(self) -> str:
        """The webhook; empty if it has another transport."""
        return self.transport.get("callback", "")

    def user_ids(self) -> set[str]:
        """The users that its condition names."""
        return {value for value in self.condition.values() if value}

    @property
    def granted_by(self) -> str | None:
        """The user whose grant it needs; None if it needs none."""
        type_ = self.subscription_type
        return None if type_.scope is None else self.condition[type_.granted_by]

    def to_dict(self) -> dict[str, Any]:
        """The subscription as Twitch's API shows it, without the secret."""
        return {
            "id": self.id,
            "status": self.status,
            "type": self.subscription_type.name,
            "version": self.subscription_type.version,
            "cost": self.cost,
            "condition": self.condition,
            "transport": self.transport,
            "created_at": self.created_at,
        }


@dataclasses.dataclass(slots=True)
class Delivery:
    """One message to one callback and the last answer; ``status`` is None if there was no answer.

    A WebSocket's is 200 when the client has read the message.
    """

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
        """Whether the callback has accepted the message."""
        return self.status is not None and 200 <= self.status < 300


Lost = Literal["request", "answer", "challenge", "notification", "revocation"]


@dataclasses.dataclass(slots=True)
class Fault:
    """Something that goes wrong.

    It applies to requests of ``method`` (None is any) whose path begins with ``path``: they are answered
    after ``latency_ms``, and refused with ``status``, or answered with 200 and ``body``. ``lost`` is what
    does not arrive: a request before it is handled, the answer afterwards, or a message of that type to a
    callback. ``duplicates`` is the number of extra copies of each notification. The fault applies
    ``remaining`` times; None is until the faults are deleted.
    """

    path: Annotated[str, Field(pattern="^/(helix|oauth2)")] = "/helix"
    method: Literal["GET", "POST", "DELETE"] | None = None
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    body: str | None = None
    latency_ms: Annotated[int, Field(ge=0, le=600_000)] = 0
    lost: Lost | None = None
    duplicates: Annotated[int, Field(ge=0, le=100)] = 0
    remaining: Annotated[int | None, Field(ge=1, validation_alias="count")] = None

    def use(self) -> bool:
        """Count one use; False if none is left."""
        if self.remaining is None:
            return True
        self.remaining -= 1
        return self.remaining >= 0


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """An access token; ``user_id`` is None for an app access token, ``expires_at`` in epoch seconds."""

    user_id: str | None
    scopes: tuple[str, ...]
    expires_at: float


class State:
    """Users, grants, moderators, tokens, subscriptions, conduits, faults and the log of deliveries.

    ``grants`` has the scopes by user id, ``moderators`` the moderators' ids by channel id, ``sessions`` the
    open WebSockets.
    """

    def __init__(self, max_total_cost: int) -> None:
        self.max_total_cost = max_total_cost
        self.users = Users()
        self.grants: dict[str, set[str]] = {}
        self.moderators: dict[str, set[str]] = {}
        self.tokens: dict[str, Token] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.conduits: dict[str, Conduit] = {}
        self.sessions: dict[str, Transport] = {}
        self.total_cost = 0
        self.faults: list[Fault] = []
        self.deliveries: collections.deque[Delivery] = collections.deque(maxlen=DELIVERIES_KEPT)
        self._numbers = itertools.count(1)
        self._by_user: collections.defaultdict[str, dict[str, Subscription]] = collections.defaultdict(dict)
        self._ended: collections.deque[tuple[int, str]] = collections.deque()

    def grant(self, user_id: str, scopes: Iterable[str]) -> None:
        """Add scopes to the user's grant."""
        self.grants.setdefault(user_id, set()).update(scopes)
        self._update_costs(self.of_user(user_id))

    def withdraw_grant(self, user_id: str) -> None:
        """Delete the user's grant and tokens."""
        self.grants.pop(user_id, None)
        self.tokens = {value: token for value, token in self.tokens.items() if token.user_id != user_id}
        self._update_costs(self.of_user(user_id))

    def subscribe(
        self, kind: SubscriptionType, condition: dict[str, str], transport: Transport, secret: str, now: int
    ) -> Subscription:
        """Add a subscription; a callback has not answered the challenge yet."""
        subscription = Subscription(
            id=str(uuid.uuid4()),
            number=next(self._numbers),
            subscription_type=kind,
            condition=condition,
            transport=transport,
            secret=secret,
            created_at=timestamp(now),
            status=PENDING if "callback" in transport else ENABLED,
        )
        self.subscriptions[subscription.id] = subscription
        for user_id in subscription.user_ids():
            self._by_user[user_id][subscription.id] = subscription
        self._update_costs([subscription])
        return subscription

    def end(self, subscription: Subscription, status: str, now: int) -> None:
        """End a live subscription; the status is the reason."""
        self.total_cost -= subscription.cost
        subscription.status = status
        self._ended.append((now, subscription.id))

    def delete(self, subscription_id: str) -> bool:
        """Delete a subscription; False if there is none."""
        subscription = self.subscriptions.pop(subscription_id, None)
        if subscription is None:
            return False
        if subscription.live:
            self.total_cost -= subscription.cost
        for user_id in subscription.user_ids():
            del self._by_user[user_id][subscription_id]
        return True

    def delete_old(self, now: int) -> None:
        """Delete the subscriptions that ended so long ago that Twitch no longer lists them."""
        while self._ended and now - self._ended[0][0] > ENDED_LISTED_NANOSECONDS:
            self.delete(self._ended.popleft()[1])

    def of_user(self, user_id: str) -> list[Subscription]:
        """The subscriptions whose condition names a user, oldest first, also those that have ended."""
        return list(self._by_user.get(user_id, {}).values())

    def cost(self, subscription_type: SubscriptionType, condition: dict[str, str]) -> int:
        """The cost of a subscription with the present grants.

        https://dev.twitch.tv/docs/eventsub/manage-subscriptions/#subscription-limits
        """
        authorized = subscription_type.scope is not None or any(
            user_id in self.grants for user_id in condition.values()
        )
        return 0 if authorized else 1

    def _update_costs(self, subscriptions: Iterable[Subscription]) -> None:
        """Set the present cost of the live subscriptions."""
        for subscription in subscriptions:
            if subscription.live:
                self.total_cost -= subscription.cost
                subscription.cost = self.cost(subscription.subscription_type, subscription.condition)
                self.total_cost += subscription.cost

    def carried_by(self, session_id: str) -> list[Subscription | Shard]:
        """The enabled subscriptions and shards whose transport is this session."""
        every: list[Subscription | Shard] = [*self.subscriptions.values()]
        every += [shard for conduit in self.conduits.values() for shard in conduit.shards.values()]
        return [
            each
            for each in every
            if each.status == ENABLED and each.transport.get("session_id") == session_id
        ]

    def session(self, given: Any) -> Transport:
        """The session that a request names as its transport. Raises RefusedError (400)."""
        if not isinstance(given, dict) or given.get("method") != "websocket":
            raise RefusedError(400, "only the method websocket is simulated")
        if str(given.get("session_id")) not in self.sessions:
            raise RefusedError(400, "websocket transport session does not exist or has already disconnected")
        return self.sessions[given["session_id"]]

    def sessions_for(self, subscription: Subscription) -> list[str]:
        """The sessions that may carry a subscription's messages, best first."""
        conduit = self.conduits.get(subscription.transport.get("conduit_id", ""))
        carriers = [subscription] if conduit is None else conduit.shards.values()
        ids = [each.transport.get("session_id", "") for each in carriers]
        return [session_id for session_id in ids if session_id in self.sessions]

    def end_session(self, session_id: str, status: str, now: int) -> None:
        """Disable what a session carries."""
        self.sessions.pop(session_id, None)
        for each in self.carried_by(session_id):
            each.transport = {**each.transport, "disconnected_at": timestamp(now)}
            if isinstance(each, Subscription):
                self.end(each, status, now)
            else:
                each.status = status

    def use_faults(self, method: str, path: str) -> Fault:
        """What goes wrong with a request, counted as a use of each fault; latencies add up."""
        latency = 0
        for fault in self.faults:
            lost = fault.lost if fault.lost in ("request", "answer") else None
            refuses = fault.status or lost or fault.body is not None
            fits = path.startswith(fault.path) and fault.method in (None, method)
            if fits and (refuses or fault.latency_ms) and fault.use():
                latency += fault.latency_ms
                if refuses:
                    return dataclasses.replace(fault, latency_ms=latency, lost=lost)
        return Fault(path, latency_ms=latency)

    def loses(self, message_type: Lost) -> bool:
        """Whether a fault drops a message of this type, counted as a use."""
        return any(fault.lost == message_type and fault.use() for fault in self.faults)

    def duplicates(self) -> int:
        """The number of extra copies of a notification, counted as a use of each fault."""
        return sum(fault.duplicates for fault in self.faults if fault.duplicates and fault.use())


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 in UTC with nanoseconds, as in ``Twitch-Eventsub-Message-Timestamp``."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    moment = datetime.fromtimestamp(seconds, tz=UTC).replace(tzinfo=None)
    return f"{moment.isoformat()}.{fraction:09d}Z"
