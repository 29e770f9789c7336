"""What Fanfare subscribes to: the table of EventSub topics and how a topic's state is told to a viewer.

The table is ``lambdas/subscription_types.json``, which the site reads, too. To add one, add a row:

* ``key`` names the topic in the channels table. It is the event type, with a suffix where one event type
  needs several subscriptions (a raid is announced separately to each side).
* ``condition`` says whose id each field of the subscription's condition takes: the ``streamer``'s or the
  ``grantor``'s, which is whoever gave the consent.
* ``consent`` is whose grant of ``scope`` Twitch asks for: ``none``, the ``streamer``'s, or that of the
  streamer or a ``moderator``.
* ``priority`` orders topics when the cost budget is short: 1 goes last.
* ``display`` is how the site shows the event type, in the first of its rows: the family that it is filtered
  by, icon, tone (a colour), label, noun in singular and plural, and ``bursts`` if its events come in bursts.
  ``frontend/src/events/eventTypes.ts`` reads it.
* ``sentence`` is how an event of the topic reads; ``frontend/src/events/sentences.ts`` says how it is
  written.

https://dev.twitch.tv/docs/eventsub/eventsub-subscription-types/
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypedDict

Status = Literal["enabled", "pending", "absent", "revoked", "failed"]
Role = Literal["streamer", "grantor"]
Consent = Literal["none", "streamer", "moderator"]

# From best to worst: what a viewer is told of an event type is the worst state among its topics.
SEVERITY: tuple[Status, ...] = ("enabled", "pending", "absent", "revoked", "failed")


@dataclasses.dataclass(frozen=True, slots=True)
class SubscriptionType:
    """One row of the table: a subscription type, the form of its condition, and what it takes to get it."""

    key: str
    event_type: str
    version: str
    roles: Mapping[str, Role]
    scope: str | None
    consent: Consent
    priority: int

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of ``subscription_types.json``."""
        return cls(
            key=row["key"],
            event_type=row["event_type"],
            version=row["version"],
            roles=row["condition"],
            scope=row["scope"],
            consent=row["consent"],
            priority=row["priority"],
        )

    def condition(self, streamer_id: str, grantor_id: str | None = None) -> dict[str, str]:
        """The subscription's condition for this streamer, as Twitch takes it.

        ``grantor_id`` is whose consent it rests on; the streamer's own if it is left out.
        """
        ids = {"streamer": streamer_id, "grantor": grantor_id or streamer_id}
        return {field: ids[role] for field, role in self.roles.items()}


SUBSCRIPTION_TYPES: tuple[SubscriptionType, ...] = tuple(
    SubscriptionType.from_row(row)
    for row in json.loads(Path(__file__).parents[1].joinpath("subscription_types.json").read_text())
)
SUBSCRIPTION_TYPE_BY_KEY = {topic.key: topic for topic in SUBSCRIPTION_TYPES}

# Every scope that some topic needs: what "sign in as the streamer" asks for.
SCOPES = frozenset(topic.scope for topic in SUBSCRIPTION_TYPES if topic.scope is not None)


@dataclasses.dataclass(frozen=True, slots=True)
class SubscriptionState:
    """How a topic stands for one channel.

    ``status`` is one of

    * ``absent``: not subscribed, and rightly so: ``reason`` is ``consent_required``, ``limited`` (the cost
      budget is needed for more important topics) or None (not yet);
    * ``pending``: subscribed, and Twitch waits for the answer to its challenge;
    * ``enabled``: Twitch delivers;
    * ``revoked``: Twitch ended it; ``reason`` is Twitch's status, e.g. ``authorization_revoked``;
    * ``failed``: Twitch could not be brought to subscribe it; ``reason`` is the code of a ``HelixError``,
      e.g. ``twitch_unavailable``, or ``lost_at_twitch``, or ``webhook_callback_verification_failed``.

    ``subscription_id`` is Twitch's id of a live topic's subscription. A topic that Twitch refused
    ``attempts`` times in a row is not tried again before ``retry_at`` (epoch seconds).
    """

    status: Status
    subscription_id: str | None = None
    reason: str | None = None
    attempts: int = 0
    retry_at: int = 0

    @property
    def live(self) -> bool:
        """Whether nothing needs doing: Twitch sends this topic's events, or is about to."""
        return self.status in ("enabled", "pending")

    @classmethod
    def of(cls, subscription_id: str, twitch_status: str) -> Self:
        """The state that a subscription's status at Twitch means for its topic.

        https://dev.twitch.tv/docs/api/reference/#get-eventsub-subscriptions lists the statuses; one that is
        added there later is taken as the end of the subscription, as all but two of today's are.
        """
        match twitch_status:
            case "enabled":
                return cls("enabled", subscription_id)
            case "webhook_callback_verification_pending":
                return cls("pending", subscription_id)
            case "webhook_callback_verification_failed":
                return cls("failed", None, twitch_status)
            case _:
                return cls("revoked", None, twitch_status)


class Attribution(NamedTuple):
    """What a subscription at Twitch is for: whose channel, which topic, and on whose consent it rests."""

    topic: SubscriptionType
    streamer_id: str
    grantor_id: str


def attribute(
    event_type: str,
    version: str,
    condition: Mapping[str, str],
    topics: tuple[SubscriptionType, ...] = SUBSCRIPTION_TYPES,
) -> Attribution | None:
    """What a subscription at Twitch is for; None if it is none of ours.

    Twitch lists the condition fields that were left out when the subscription was made as empty strings.
    """
    given = {field: value for field, value in condition.items() if value}
    for topic in topics:
        if (topic.event_type, topic.version) == (event_type, version) and given.keys() == topic.roles.keys():
            ids: dict[Role, set[str]] = {"streamer": set(), "grantor": set()}
            for field, value in given.items():
                ids[topic.roles[field]].add(value)
            if len(ids["streamer"]) == 1:
                streamer_id = ids["streamer"].pop()
                return Attribution(topic, streamer_id, next(iter(ids["grantor"]), streamer_id))
    return None


class TopicStatus(TypedDict):
    """An entry of ``topics`` in a watch's answer and in a ``topics`` frame."""

    event_type: str
    status: Status
    reason: str | None


def initial(topic: SubscriptionType) -> SubscriptionState:
    """The state of a topic that nothing was done about yet."""
    return SubscriptionState("absent", None, None if topic.consent == "none" else "consent_required")


def summarize(
    states: Mapping[str, SubscriptionState], topics: tuple[SubscriptionType, ...] = SUBSCRIPTION_TYPES
) -> list[TopicStatus]:
    """What a viewer is told: one entry for each event type, in the table's order, the worst state winning.

    ``states`` are by topic key.
    """
    worst: dict[str, SubscriptionState] = {}
    for topic in topics:
        state = states.get(topic.key) or initial(topic)
        known = worst.get(topic.event_type)
        if known is None or SEVERITY.index(state.status) > SEVERITY.index(known.status):
            worst[topic.event_type] = state
    return [
        {"event_type": event_type, "status": state.status, "reason": state.reason}
        for event_type, state in worst.items()
    ]
