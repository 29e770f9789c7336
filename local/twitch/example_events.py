"""Example ``event`` objects for each subscription type, with the fields that Twitch documents.

https://dev.twitch.tv/docs/eventsub/eventsub-reference/#events
"""

import dataclasses
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from local.twitch.users import User

Event = dict[str, Any]

_random = secrets.SystemRandom()

TITLES = (
    "Speedrunning on a dance pad",
    "First playthrough, no spoilers please",
    "Building a keyboard from scratch",
    "Late night lo-fi and chess",
    "Ranked until we win three in a row",
)
CATEGORIES = (
    ("509658", "Just Chatting"),
    ("27471", "Minecraft"),
    ("743", "Chess"),
    ("1469308723", "Software and Game Development"),
    ("26936", "Music"),
)
CHEERS = ("great run!", "for the next coffee", "that was close", "PogChamp")
DESCRIPTIONS = ("Streams most evenings.", "Speedruns, puzzles and bad puns.", "Hello from the control page.")
REWARDS = (("Hydrate!", 300), ("Choose the next song", 1_000), ("Posture check", 150))


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """An event's channel, the viewer who acts in it, and the time."""

    channel: User
    viewer: User
    now: datetime

    def after(self, seconds: float) -> str:
        """The time so many seconds after now, in the format of Twitch's events."""
        moment = self.now.astimezone(UTC) + timedelta(seconds=seconds)
        return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"

    @property
    def broadcaster(self) -> dict[str, str]:
        """The channel's fields."""
        return self.channel.fields("broadcaster_")

    @property
    def user(self) -> dict[str, str]:
        """The viewer's fields."""
        return self.viewer.fields()


EventMaker = Callable[[Scene], Event]


def _id() -> str:
    return str(uuid.uuid4())


def stream_online(scene: Scene) -> Event:
    """The channel goes live."""
    stream_id = str(_random.randrange(10**10, 10**11))
    return {"id": stream_id, **scene.broadcaster, "type": "live", "started_at": scene.after(0)}


def stream_offline(scene: Scene) -> Event:
    """The stream ends; ``id`` is the stream's."""
    return {"id": str(_random.randrange(10**10, 10**11)), **scene.broadcaster}


def channel_update(scene: Scene) -> Event:
    """A new title or category."""
    category_id, category_name = _random.choice(CATEGORIES)
    return {
        **scene.broadcaster,
        "title": _random.choice(TITLES),
        "language": "en",
        "category_id": category_id,
        "category_name": category_name,
        "content_classification_labels": [],
    }


def raid(scene: Scene) -> Event:
    """The viewer raids the channel."""
    return {
        **scene.viewer.fields("from_broadcaster_"),
        **scene.channel.fields("to_broadcaster_"),
        "viewers": _random.randrange(2, 5_000),
    }


def user_update(scene: Scene) -> Event:
    """The streamer edits their profile."""
    return {**scene.channel.fields(), "description": _random.choice(DESCRIPTIONS)}


def follow(scene: Scene) -> Event:
    """The viewer follows the channel."""
    return {**scene.user, **scene.broadcaster, "followed_at": scene.after(0)}


def subscribe(scene: Scene) -> Event:
    """The viewer subscribes for the first time."""
    return {**scene.user, **scene.broadcaster, "tier": _tier(), "is_gift": False}


def subscription_gift(scene: Scene) -> Event:
    """The viewer gives subscriptions to others."""
    total = _random.choice((1, 5, 10, 20))
    return {
        **scene.user,
        **scene.broadcaster,
        "total": total,
        "tier": _tier(),
        "cumulative_total": total + _random.randrange(200),
        "is_anonymous": False,
    }


def subscription_message(scene: Scene) -> Event:
    """The viewer resubscribes with a message."""
    months = _random.randrange(2, 60)
    return {
        **scene.user,
        **scene.broadcaster,
        "tier": _tier(),
        "message": {
            "text": "Love the stream! FevziGG",
            "emotes": [{"begin": 17, "end": 23, "id": "302976485"}],
        },
        "cumulative_months": months,
        "streak_months": _random.choice((None, _random.randrange(1, months))),
        "duration_months": _random.choice((1, 3, 6)),
    }


def cheer(scene: Scene) -> Event:
    """The viewer cheers with bits."""
    bits = _random.choice((1, 50, 100, 500, 1_000, 5_000))
    return {
        "is_anonymous": False,
        **scene.user,
        **scene.broadcaster,
        "message": f"Cheer{bits} {_random.choice(CHEERS)}",
        "bits": bits,
    }


def bits_use(scene: Scene) -> Event:
    """The viewer uses bits for a Power-up. Cheers have an event of this type, too."""
    return {
        **scene.user,
        **scene.broadcaster,
        "bits": 20,
        "type": "power_up",
        "power_up": {"type": "message_effect", "emote": None, "message_effect_id": "cosmic-abyss"},
        "custom_power_up": None,
        "message": {"text": "look at this", "fragments": [{"type": "text", "text": "look at this"}]},
    }


def _tier() -> str:
    return _random.choice(("1000", "2000", "3000"))


def _contribution(scene: Scene) -> Event:
    return {**scene.user, "type": "bits", "total": _random.randrange(100, 5_000)}


def _hype_train(scene: Scene) -> Event:
    return {
        "id": _id(),
        **scene.broadcaster,
        "total": _random.randrange(1_000, 9_000),
        "level": _random.randrange(1, 5),
        "all_time_high_level": 4,
        "all_time_high_total": 12_000,
        "top_contributions": [_contribution(scene)],
        "shared_train_participants": None,
        "is_shared_train": False,
        "type": "regular",
    }


def hype_train_begin(scene: Scene) -> Event:
    """A hype train begins."""
    train = _hype_train(scene) | {"level": 1, "progress": 500, "goal": 1_800}
    return train | {"started_at": scene.after(-5), "expires_at": scene.after(295)}


def hype_train_progress(scene: Scene) -> Event:
    """A hype train makes progress."""
    train = _hype_train(scene) | {"progress": 900, "goal": 2_100}
    return train | {"started_at": scene.after(-60), "expires_at": scene.after(240)}


def hype_train_end(scene: Scene) -> Event:
    """A hype train ends."""
    times = {"started_at": -300, "ended_at": 0, "cooldown_ends_at": 3_600}
    return _hype_train(scene) | {name: scene.after(seconds) for name, seconds in times.items()}


def _money(value: int) -> Event:
    return {"value": value, "decimal_places": 2, "currency": "USD"}


CHARITY = {
    "charity_name": "Example Aid",
    "charity_description": "An example of a charity.",
    "charity_logo": "https://example.com/100.png",
    "charity_website": "https://example.com",
}


def _charity_campaign(scene: Scene, raised: int) -> Event:
    # Unlike other events, it has no broadcaster_user_id.
    broadcaster = {name.replace("_user", ""): value for name, value in scene.broadcaster.items()}
    amounts = {"current_amount": _money(raised), "target_amount": _money(1_500_000)}
    return {"id": _id(), **broadcaster, **CHARITY, **amounts}


def charity_start(scene: Scene) -> Event:
    """A charity campaign begins."""
    return _charity_campaign(scene, 0) | {"started_at": scene.after(0)}


def charity_donate(scene: Scene) -> Event:
    """The viewer donates to the charity campaign."""
    ids = {"id": _id(), "campaign_id": _id()}
    amount = _money(_random.choice((500, 1_000, 5_000)))
    return {**ids, **scene.broadcaster, **scene.user, **CHARITY, "amount": amount}


def charity_stop(scene: Scene) -> Event:
    """A charity campaign ends."""
    return _charity_campaign(scene, 1_450_000) | {"stopped_at": scene.after(0)}


def _goal(scene: Scene, current: int) -> Event:
    return {
        "id": _id(),
        **scene.broadcaster,
        "type": "follow",
        "description": "To the next hundred!",
        "current_amount": current,
        "target_amount": 400,
        "started_at": scene.after(-3_600),
    }


def goal_begin(scene: Scene) -> Event:
    """The streamer sets a goal."""
    return _goal(scene, 350)


def goal_end(scene: Scene) -> Event:
    """A goal ends, reached."""
    return _goal(scene, 400) | {"is_achieved": True, "ended_at": scene.after(0)}


def _poll(scene: Scene, votes: Sequence[int | None]) -> Event:
    titles = ("Left", "Right")
    return {
        "id": _id(),
        **scene.broadcaster,
        "title": "Which way next?",
        "choices": [
            {"id": _id(), "title": title}
            | ({} if count is None else {"bits_votes": 0, "channel_points_votes": 0, "votes": count})
            for title, count in zip(titles, votes, strict=True)
        ],
        "bits_voting": {"is_enabled": False, "amount_per_vote": 0},
        "channel_points_voting": {"is_enabled": False, "amount_per_vote": 0},
    }


def poll_begin(scene: Scene) -> Event:
    """A poll begins."""
    return _poll(scene, (None, None)) | {"started_at": scene.after(0), "ends_at": scene.after(120)}


def poll_end(scene: Scene) -> Event:
    """A poll ends, with its votes."""
    poll = _poll(scene, (_random.randrange(400), _random.randrange(400)))
    return poll | {"status": "completed", "started_at": scene.after(-120), "ended_at": scene.after(0)}


def _prediction(scene: Scene, tallies: Mapping[str, int] | None) -> Event:
    outcomes: list[Event] = []
    for title, color in (("Yes", "blue"), ("No", "pink")):
        outcome: Event = {"id": _id(), "title": title, "color": color}
        if tallies is not None:
            outcome |= {**tallies, "top_predictors": []}
        outcomes.append(outcome)
    return {"id": _id(), **scene.broadcaster, "title": "Will we beat the boss?", "outcomes": outcomes}


def _tallies() -> dict[str, int]:
    return {"users": _random.randrange(1, 90), "channel_points": _random.randrange(500, 90_000)}


def prediction_begin(scene: Scene) -> Event:
    """A prediction begins."""
    return _prediction(scene, None) | {"started_at": scene.after(0), "locks_at": scene.after(60)}


def prediction_lock(scene: Scene) -> Event:
    """A prediction is locked: nobody can predict any more."""
    return _prediction(scene, _tallies()) | {"started_at": scene.after(-60), "locked_at": scene.after(0)}


def prediction_end(scene: Scene) -> Event:
    """A prediction ends, with its outcome."""
    prediction = _prediction(scene, _tallies())
    return prediction | {
        "winning_outcome_id": prediction["outcomes"][0]["id"],
        "status": "resolved",
        "started_at": scene.after(-300),
        "ended_at": scene.after(0),
    }


def reward_redemption(scene: Scene) -> Event:
    """The viewer spends channel points."""
    title, cost = _random.choice(REWARDS)
    return {
        "id": _id(),
        **scene.broadcaster,
        **scene.user,
        "user_input": "",
        "status": "unfulfilled",
        "reward": {"id": _id(), "title": title, "cost": cost, "prompt": ""},
        "redeemed_at": scene.after(0),
    }


def automatic_reward_redemption(scene: Scene) -> Event:
    """The viewer spends channel points on a reward that every channel has."""
    return {
        "id": _id(),
        **scene.broadcaster,
        **scene.user,
        "reward": {"type": "send_highlighted_message", "channel_points": 100, "emote": None},
        "message": {"text": "hello there", "fragments": [{"type": "text", "text": "hello there"}]},
        "redeemed_at": scene.after(0),
    }


def shoutout_create(scene: Scene) -> Event:
    """The channel gives a shoutout to another channel."""
    return {
        **scene.broadcaster,
        **scene.viewer.fields("to_broadcaster_"),
        **scene.channel.fields("moderator_"),
        "viewer_count": _random.randrange(5_000),
        "started_at": scene.after(0),
        "cooldown_ends_at": scene.after(120),
        "target_cooldown_ends_at": scene.after(3_600),
    }


def shoutout_receive(scene: Scene) -> Event:
    """The channel gets a shoutout from another channel."""
    return {
        **scene.broadcaster,
        **scene.viewer.fields("from_broadcaster_"),
        "viewer_count": _random.randrange(5_000),
        "started_at": scene.after(0),
    }


def ad_break(scene: Scene) -> Event:
    """An ad break begins."""
    return {
        "duration_seconds": _random.choice((30, 60, 90)),
        "started_at": scene.after(0),
        "is_automatic": False,
        **scene.broadcaster,
        **scene.channel.fields("requester_"),
    }
