"""The EventSub subscription types of the simulator.

https://dev.twitch.tv/docs/eventsub/eventsub-subscription-types/
"""

import dataclasses
from collections.abc import Mapping

from local.twitch.example_events import EXAMPLES, Event, Scene

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
    scope: str | None = None
    granted_by: str = BROADCASTER
    conditions: tuple[tuple[str, ...], ...] = ((BROADCASTER,),)

    def make_event(self, scene: Scene) -> Event:
        """An example event."""
        return EXAMPLES[self.name](scene)

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


def _moderated(type_: str, version: str, scope: str) -> SubscriptionType:
    """A type that needs a moderator's grant; streamers are moderators of their own channel."""
    return SubscriptionType(type_, version, scope, MODERATOR, ((BROADCASTER, MODERATOR),))


RAID_CONDITIONS = (("to_broadcaster_user_id",), ("from_broadcaster_user_id",))
REDEMPTIONS = "channel:read:redemptions"
SUBSCRIPTION_TYPES = (
    SubscriptionType("stream.online", "1"),
    SubscriptionType("stream.offline", "1"),
    SubscriptionType("channel.update", "2"),
    SubscriptionType("channel.raid", "1", conditions=RAID_CONDITIONS),
    SubscriptionType("user.update", "1", conditions=(("user_id",),)),
    _moderated("channel.follow", "2", "moderator:read:followers"),
    SubscriptionType("channel.subscribe", "1", "channel:read:subscriptions"),
    SubscriptionType("channel.subscription.gift", "1", "channel:read:subscriptions"),
    SubscriptionType("channel.subscription.message", "1", "channel:read:subscriptions"),
    SubscriptionType("channel.cheer", "1", "bits:read"),
    SubscriptionType("channel.bits.use", "1", "bits:read"),
    SubscriptionType("channel.hype_train.begin", "2", "channel:read:hype_train"),
    SubscriptionType("channel.hype_train.progress", "2", "channel:read:hype_train"),
    SubscriptionType("channel.hype_train.end", "2", "channel:read:hype_train"),
    SubscriptionType("channel.charity_campaign.start", "1", "channel:read:charity"),
    SubscriptionType("channel.charity_campaign.donate", "1", "channel:read:charity"),
    SubscriptionType("channel.charity_campaign.stop", "1", "channel:read:charity"),
    SubscriptionType("channel.goal.begin", "1", "channel:read:goals"),
    SubscriptionType("channel.goal.end", "1", "channel:read:goals"),
    SubscriptionType("channel.poll.begin", "1", "channel:read:polls"),
    SubscriptionType("channel.poll.end", "1", "channel:read:polls"),
    SubscriptionType("channel.prediction.begin", "1", "channel:read:predictions"),
    SubscriptionType("channel.prediction.lock", "1", "channel:read:predictions"),
    SubscriptionType("channel.prediction.end", "1", "channel:read:predictions"),
    SubscriptionType("channel.channel_points_custom_reward_redemption.add", "1", REDEMPTIONS),
    SubscriptionType("channel.channel_points_automatic_reward_redemption.add", "2", REDEMPTIONS),
    _moderated("channel.shoutout.create", "1", "moderator:read:shoutouts"),
    _moderated("channel.shoutout.receive", "1", "moderator:read:shoutouts"),
    SubscriptionType("channel.ad_break.begin", "1", "channel:read:ads"),
)
# Not of a channel, but of the application: a user has disconnected it.
DISCONNECTION = SubscriptionType("user.authorization.revoke", "1", conditions=(("client_id",),))

SUBSCRIPTION_TYPE_BY_NAME = {each.name: each for each in SUBSCRIPTION_TYPES}
