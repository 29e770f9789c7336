"""The EventSub subscription types of the simulator.

https://dev.twitch.tv/docs/eventsub/eventsub-subscription-types/
"""

import dataclasses
from collections.abc import Mapping

from local.twitch import example_events
from local.twitch.example_events import EventMaker

BROADCASTER = "broadcaster_user_id"
MODERATOR = "moderator_user_id"


@dataclasses.dataclass(frozen=True, slots=True)
class SubscriptionType:
    """A subscription type in one version.

    ``conditions`` are alternatives, each a set of condition fields. The user in the condition field
    ``granted_by`` must have granted ``scope`` to the application; None needs no consent.
    """

    name: str
    version: str
    make_event: EventMaker
    scope: str | None = None
    granted_by: str = BROADCASTER
    conditions: tuple[tuple[str, ...], ...] = ((BROADCASTER,),)

    def condition(self, given: Mapping[str, str]) -> dict[str, str] | None:
        """The condition as Twitch stores it; None if it is not one of the alternatives.

        An empty string is the same as no field. Twitch stores the fields of the other alternatives as empty
        strings.
        """
        chosen = {field: value for field, value in given.items() if value}
        if tuple(sorted(chosen)) not in {tuple(sorted(fields)) for fields in self.conditions}:
            return None
        every_field = {field for fields in self.conditions for field in fields}
        if not given.keys() <= every_field:
            return None
        return {field: chosen.get(field, "") for field in sorted(every_field)}


def _moderated(type_: str, version: str, make_event: EventMaker, scope: str) -> SubscriptionType:
    """A type that needs a moderator's grant; streamers are moderators of their own channel."""
    return SubscriptionType(type_, version, make_event, scope, MODERATOR, ((BROADCASTER, MODERATOR),))


SUBSCRIPTION_TYPES = (
    SubscriptionType("stream.online", "1", example_events.stream_online),
    SubscriptionType("stream.offline", "1", example_events.stream_offline),
    SubscriptionType("channel.update", "2", example_events.channel_update),
    SubscriptionType(
        "channel.raid",
        "1",
        example_events.raid,
        conditions=(("to_broadcaster_user_id",), ("from_broadcaster_user_id",)),
    ),
    SubscriptionType("user.update", "1", example_events.user_update, conditions=(("user_id",),)),
    _moderated("channel.follow", "2", example_events.follow, "moderator:read:followers"),
    SubscriptionType("channel.subscribe", "1", example_events.subscribe, "channel:read:subscriptions"),
    SubscriptionType(
        "channel.subscription.gift", "1", example_events.subscription_gift, "channel:read:subscriptions"
    ),
    SubscriptionType(
        "channel.subscription.message", "1", example_events.subscription_message, "channel:read:subscriptions"
    ),
    SubscriptionType("channel.cheer", "1", example_events.cheer, "bits:read"),
    SubscriptionType("channel.bits.use", "1", example_events.bits_use, "bits:read"),
    SubscriptionType(
        "channel.hype_train.begin", "2", example_events.hype_train_begin, "channel:read:hype_train"
    ),
    SubscriptionType(
        "channel.hype_train.progress", "2", example_events.hype_train_progress, "channel:read:hype_train"
    ),
    SubscriptionType("channel.hype_train.end", "2", example_events.hype_train_end, "channel:read:hype_train"),
    SubscriptionType(
        "channel.charity_campaign.start", "1", example_events.charity_start, "channel:read:charity"
    ),
    SubscriptionType(
        "channel.charity_campaign.donate", "1", example_events.charity_donate, "channel:read:charity"
    ),
    SubscriptionType(
        "channel.charity_campaign.stop", "1", example_events.charity_stop, "channel:read:charity"
    ),
    SubscriptionType("channel.goal.begin", "1", example_events.goal_begin, "channel:read:goals"),
    SubscriptionType("channel.goal.end", "1", example_events.goal_end, "channel:read:goals"),
    SubscriptionType("channel.poll.begin", "1", example_events.poll_begin, "channel:read:polls"),
    SubscriptionType("channel.poll.end", "1", example_events.poll_end, "channel:read:polls"),
    SubscriptionType(
        "channel.prediction.begin", "1", example_events.prediction_begin, "channel:read:predictions"
    ),
    SubscriptionType(
        "channel.prediction.lock", "1", example_events.prediction_lock, "channel:read:predictions"
    ),
    SubscriptionType(
        "channel.prediction.end", "1", example_events.prediction_end, "channel:read:predictions"
    ),
    SubscriptionType(
        "channel.channel_points_custom_reward_redemption.add",
        "1",
        example_events.reward_redemption,
        "channel:read:redemptions",
    ),
    SubscriptionType(
        "channel.channel_points_automatic_reward_redemption.add",
        "2",
        example_events.automatic_reward_redemption,
        "channel:read:redemptions",
    ),
    _moderated("channel.shoutout.create", "1", example_events.shoutout_create, "moderator:read:shoutouts"),
    _moderated("channel.shoutout.receive", "1", example_events.shoutout_receive, "moderator:read:shoutouts"),
    SubscriptionType("channel.ad_break.begin", "1", example_events.ad_break, "channel:read:ads"),
)


def _disconnection(*_: object) -> example_events.Event:
    raise NotImplementedError("only a user who disconnects the application causes it")


# Not of a channel, but of the application.
DISCONNECTION = SubscriptionType(
    "user.authorization.revoke", "1", _disconnection, conditions=(("client_id",),)
)

SUBSCRIPTION_TYPE_BY_NAME = {
    subscription_type.name: subscription_type for subscription_type in SUBSCRIPTION_TYPES
}
