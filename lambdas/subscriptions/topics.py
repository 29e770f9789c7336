"""What Fanfare subscribes to: the table of EventSub topics and how a topic's state is told to a viewer.

A topic is one row: type, version and the fields of its condition, all of which name the streamer. Adding a
topic means adding a row. https://dev.twitch.tv/docs/eventsub/eventsub-subscription-types/
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal, Self, TypedDict

Status = Literal["enabled", "pending", "revoked", "failed"]

# From best to worst: what a viewer is told of an event type is the worst state among its topics.
SEVERITY: tuple[Status, ...] = ("enabled", "pending", "revoked", "failed")


@dataclasses.dataclass(frozen=True, slots=True)
class Topic:
    """One subscription type with the condition fields that take the streamer's id.

    ``key`` names the topic in the channels table. It is the event type, with a suffix where one event type
    needs several subscriptions (a raid is announced separately to each side).
    """

    key: str
    event_type: str
    version: str
    condition_fields: tuple[str, ...]

    def condition(self, streamer_id: str) -> dict[str, str]:
        """The subscription's condition for this streamer, as Twitch takes it."""
        return dict.fromkeys(self.condition_fields, streamer_id)


TOPICS: tuple[Topic, ...] = (
    Topic("stream.online", "stream.online", "1", ("broadcaster_user_id",)),
    Topic("stream.offline", "stream.offline", "1", ("broadcaster_user_id",)),
    Topic("channel.update", "channel.update", "2", ("broadcaster_user_id",)),
    Topic("channel.raid:to", "channel.raid", "1", ("to_broadcaster_user_id",)),
    Topic("channel.raid:from", "channel.raid", "1", ("from_broadcaster_user_id",)),
    Topic("user.update", "user.update", "1", ("user_id",)),
)


@dataclasses.dataclass(frozen=True, slots=True)
class TopicState:
    """How a topic stands for one channel.

    ``subscription_id`` is Twitch's id, None where no subscription could be made. ``reason`` says why a topic
    is revoked (Twitch's status) or failed (a code of ours, e.g. ``forbidden``), and is None otherwise.
    """

    status: Status
    subscription_id: str | None = None
    reason: str | None = None

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
                return cls("failed", subscription_id, twitch_status)
            case _:
                return cls("revoked", subscription_id, twitch_status)


def attribute(
    event_type: str, version: str, condition: Mapping[str, str], topics: tuple[Topic, ...] = TOPICS
) -> tuple[Topic, str] | None:
    """The topic that a subscription at Twitch is for, and its streamer's id; None if it is none of ours.

    Twitch lists the condition fields that were left out when the subscription was made as empty strings.
    """
    given = {field: value for field, value in condition.items() if value}
    streamer_ids = set(given.values())
    for topic in topics:
        if (
            (topic.event_type, topic.version) == (event_type, version)
            and given.keys() == set(topic.condition_fields)
            and len(streamer_ids) == 1
        ):
            return topic, streamer_ids.pop()
    return None


class TopicStatus(TypedDict):
    """An entry of ``topics`` in a watch's answer."""

    event_type: str
    status: Status
    reason: str | None


def summarize(states: Mapping[str, TopicState], topics: tuple[Topic, ...] = TOPICS) -> list[TopicStatus]:
    """What a viewer is told: one entry for each event type, in the table's order, the worst state winning.

    ``states`` are by topic key; a topic without one has failed without a reason that we know of.
    """
    worst: dict[str, TopicState] = {}
    for topic in topics:
        state = states.get(topic.key, TopicState("failed"))
        known = worst.get(topic.event_type)
        if known is None or SEVERITY.index(state.status) > SEVERITY.index(known.status):
            worst[topic.event_type] = state
    return [
        {"event_type": event_type, "status": state.status, "reason": state.reason}
        for event_type, state in worst.items()
    ]
