"""What Fanfare subscribes to: the table of EventSub subscription types, and the states of subscriptions.

The table is ``lambdas/subscription_types.json``, which the site reads, too. To add one, add a row:

* ``key`` names the row in the channels table. It is the event type, with a suffix where one event type
  needs several subscriptions (Twitch announces a raid separately to each side).
* ``condition`` says whose id each field of the subscription's condition takes: the ``streamer``'s or the
  ``grantor``'s, who gave the consent.
* ``consent`` is whose grant of ``scope`` Twitch asks for: ``none``, the ``streamer``'s, or that of the
  streamer or a ``moderator``.
* ``priority`` says which subscriptions are given up first when the cost budget is short: 1 is given up last.
* ``display`` is how the site shows the event type, in the first of its rows: the family that it is filtered
  by, icon, tone (a colour), label, noun in singular and plural, and ``bursts`` if its events come in bursts.
  ``frontend/src/events/eventTypes.ts`` reads it.
* ``sentence`` is how the site describes an event. ``frontend/src/events/sentences.ts`` explains its form.

https://dev.twitch.tv/docs/eventsub/eventsub-subscription-types/
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Self, TypedDict, get_args

# From best to worst: a viewer sees the worst state among an event type's subscriptions.
Status = Literal["enabled", "pending", "absent", "revoked", "failed"]
Role = Literal["streamer", "grantor"]
Consent = Literal["none", "streamer", "moderator"]

SEVERITY: tuple[Status, ...] = get_args(Status)


@dataclasses.dataclass(frozen=True, slots=True)
class SubscriptionType:
    """One row of the table; ``roles`` is what the table calls ``condition``."""

    key: str
    event_type: str
    version: str
    roles: Mapping[str, Role] = dataclasses.field(hash=False)
    scope: str | None
    consent: Consent
    priority: int

    def condition(self, streamer_id: str, grantor_id: str | None = None) -> dict[str, str]:
        """The subscription's condition for this streamer, as Twitch takes it.

        ``grantor_id`` is who gave the consent; the streamer if it is left out.
        """
        ids = {"streamer": streamer_id, "grantor": grantor_id or streamer_id}
        return {field: ids[role] for field, role in self.roles.items()}


_FIELDS = ("key", "event_type", "version", "condition", "scope", "consent", "priority")
SUBSCRIPTION_TYPES: tuple[SubscriptionType, ...] = tuple(
    SubscriptionType(*(row[field] for field in _FIELDS))
    for row in json.loads(Path(__file__).parents[1].joinpath("subscription_types.json").read_text())
)
SUBSCRIPTION_TYPE_BY_KEY = {row.key: row for row in SUBSCRIPTION_TYPES}

# Every scope that some subscription type needs: what "sign in as the streamer" asks for.
SCOPES = frozenset(row.scope for row in SUBSCRIPTION_TYPES if row.scope is not None)
# Those that a moderator of the channel may grant, too.
MODERATOR_SCOPES = frozenset(
    row.scope for row in SUBSCRIPTION_TYPES if row.scope is not None and row.consent == "moderator"
)


@dataclasses.dataclass(frozen=True, slots=True)
class SubscriptionState:
    """The state of one channel's subscription of one type.

    ``status`` is one of

    * ``absent``: there is no subscription: ``reason`` is ``consent_required``, ``limited`` (the cost budget
      is needed for others) or None (Twitch has not been asked yet, which viewers see as ``pending``);
    * ``pending``: it exists, and Twitch waits for the answer to its challenge;
    * ``enabled``: Twitch delivers;
    * ``revoked``: Twitch ended it; ``reason`` is Twitch's status, e.g. ``authorization_revoked``;
    * ``failed``: Twitch did not create or keep it; ``reason`` is the code of a ``HelixError``, e.g.
      ``twitch_unavailable``, or ``lost_at_twitch``, or ``webhook_callback_verification_failed``.

    ``subscription_id`` is Twitch's id of a live subscription. What has failed ``attempts`` times in a row is
    not tried again before ``retry_at`` (epoch seconds). ``as_of`` is when Twitch sent the newest notice that
    counted, or created the subscription: its clock, in ms since 1970.
    """

    status: Status
    subscription_id: str | None = None
    reason: str | None = None
    attempts: int = 0
    retry_at: int = 0
    as_of: int = dataclasses.field(default=0, compare=False)

    @property
    def live(self) -> bool:
        """Whether Twitch delivers the events, or will as soon as the challenge is answered."""
        return self.status in ("enabled", "pending")

    def following(self, before: "SubscriptionState | None") -> "SubscriptionState":
        """This state as the next one, as of no earlier than the one before."""
        as_of = max(self.as_of, before.as_of) if before else self.as_of
        return dataclasses.replace(self, as_of=as_of)

    @classmethod
    def from_twitch(cls, subscription_id: str, twitch_status: str, as_of: int = 0) -> Self:
        """The state for a subscription's status at Twitch.

        https://dev.twitch.tv/docs/api/reference/#get-eventsub-subscriptions lists the statuses. A new one is
        taken as the end of the subscription, as all but two of today's are.
        """
        match twitch_status:
            case "enabled":
                return cls("enabled", subscription_id, as_of=as_of)
            case "webhook_callback_verification_pending":
                return cls("pending", subscription_id, as_of=as_of)
            case "webhook_callback_verification_failed":
                return cls("failed", None, twitch_status, as_of=as_of)
            case _:
                return cls("revoked", None, twitch_status, as_of=as_of)


class Target(NamedTuple):
    """What a subscription at Twitch is for: its type, the channel, and who gave the consent."""

    subscription_type: SubscriptionType
    streamer_id: str
    grantor_id: str


def find_target(event_type: str, version: str, condition: Mapping[str, str]) -> Target | None:
    """What a subscription at Twitch is for; None if it fits no row of the table.

    Twitch lists the condition fields that were left out when the subscription was made as empty strings.
    """
    given = {field: value for field, value in condition.items() if value}
    for row in SUBSCRIPTION_TYPES:
        if (row.event_type, row.version) == (event_type, version) and given.keys() == row.roles.keys():
            ids: dict[Role, set[str]] = {"streamer": set(), "grantor": set()}
            for field, value in given.items():
                ids[row.roles[field]].add(value)
            if len(ids["streamer"]) == 1:
                streamer_id = ids["streamer"].pop()
                return Target(row, streamer_id, next(iter(ids["grantor"]), streamer_id))
    return None


class EventTypeStatus(TypedDict):
    """An entry of ``topics`` in a watch's answer and in a ``topics`` frame."""

    event_type: str
    status: Status
    reason: str | None


def summarize(states: Mapping[str, SubscriptionState]) -> list[EventTypeStatus]:
    """What a viewer sees: one entry for each event type, in the table's order, with its worst state.

    ``states`` are by the subscription type's key.
    """
    worst: dict[str, SubscriptionState] = {}
    for row in SUBSCRIPTION_TYPES:
        absent = SubscriptionState("absent", None, None if row.consent == "none" else "consent_required")
        state = states.get(row.key, absent)
        if (state.status, state.reason) == ("absent", None):
            state = SubscriptionState("pending")
        known = worst.get(row.event_type)
        if known is None or SEVERITY.index(state.status) > SEVERITY.index(known.status):
            worst[row.event_type] = state
    return [
        {"event_type": event_type, "status": state.status, "reason": state.reason}
        for event_type, state in worst.items()
    ]
