"""An example ``event`` object of each subscription type, with the fields that Twitch documents.

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
)
CATEGORIES = (
    ("509658", "Just Chatting"),
    ("27471", "Minecraft"),
    ("743", "Chess"),
    ("26936", "Music"),
)
CHEERS = ("great run!", "for the next coffee", "that was close", "PogChamp")
DESCRIPTIONS = ("Streams most evenings.", "Speedruns, puzzles and bad puns.", "Hello from the control page.")
REWARDS = (("Hydrate!", 300), ("Choose the next song", 1_000), ("Posture check", 150))
CHARITY = {
    "charity_name": "Example Aid",
    "charity_description": "An example of a charity.",
    "charity_logo": "https://example.com/100.png",
    "charity_website": "https://example.com",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """An event's channel, the viewer who acts in it, and the time."""

    channel: User
    viewer: User
    now: datetime

    def times(self, **seconds: float) -> dict[str, str]:
        """Fields with the time so many seconds after now, in the format of Twitch's events."""
        moments = {
            name: self.now.astimezone(UTC).replace(tzinfo=None) + timedelta(seconds=after)
            for name, after in seconds.items()
        }
        return {name: f"{moment.isoformat(timespec='milliseconds')}Z" for name, moment in moments.items()}

    @property
    def broadcaster(self) -> dict[str, str]:
        """The channel's fields."""
        return self.channel.fields("broadcaster_")

    @property
    def both(self) -> dict[str, str]:
        """The viewer's and the channel's fields."""
        return {**self.viewer.fields(), **self.broadcaster}


def _id() -> str:
    return str(uuid.uuid4())


def _tier() -> str:
    return _random.choice(("1000", "2000", "3000"))


def _text(text: str) -> Event:
    return {"text": text, "fragments": [{"type": "text", "text": text}]}


def _stream(scene: Scene) -> Event:
    return {"id": str(_random.randrange(10**10, 10**11)), **scene.broadcaster}


def _channel_update(scene: Scene) -> Event:
    category_id, category_name = _random.choice(CATEGORIES)
    category = {"category_id": category_id, "category_name": category_name}
    title = {"title": _random.choice(TITLES), "language": "en"}
    return {**scene.broadcaster, **title, **category, "content_classification_labels": []}


def _gift(scene: Scene) -> Event:
    total = _random.choice((1, 5, 10, 20))
    totals = {"total": total, "cumulative_total": total + _random.randrange(200)}
    return {**scene.both, **totals, "tier": _tier(), "is_anonymous": False}


def _resubscription(scene: Scene) -> Event:
    months = _random.randrange(2, 60)
    emotes = [{"begin": 17, "end": 23, "id": "302976485"}]
    return {
        **scene.both,
        "tier": _tier(),
        "message": {"text": "Love the stream! FevziGG", "emotes": emotes},
        "cumulative_months": months,
        "streak_months": _random.choice((None, _random.randrange(1, months))),
        "duration_months": _random.choice((1, 3, 6)),
    }


def _cheer(scene: Scene) -> Event:
    bits = _random.choice((1, 50, 100, 500, 1_000, 5_000))
    message = f"Cheer{bits} {_random.choice(CHEERS)}"
    return {"is_anonymous": False, **scene.both, "message": message, "bits": bits}


def _hype_train(scene: Scene, **times: float) -> Event:
    contribution = {**scene.viewer.fields(), "type": "bits", "total": _random.randrange(100, 5_000)}
    return {
        "id": _id(),
        **scene.broadcaster,
        "total": _random.randrange(1_000, 9_000),
        "level": _random.randrange(1, 5),
        "all_time_high_level": 4,
        "all_time_high_total": 12_000,
        "top_contributions": [contribution],
        "shared_train_participants": None,
        "is_shared_train": False,
        "type": "regular",
        **scene.times(**times),
    }


def _money(value: int) -> Event:
    return {"value": value, "decimal_places": 2, "currency": "USD"}


def _charity_campaign(scene: Scene, raised: int, **times: float) -> Event:
    # Unlike other events, it has no broadcaster_user_id.
    broadcaster = {name.replace("_user", ""): value for name, value in scene.broadcaster.items()}
    amounts = {"current_amount": _money(raised), "target_amount": _money(1_500_000)}
    return {"id": _id(), **broadcaster, **CHARITY, **amounts, **scene.times(**times)}


def _donation(scene: Scene) -> Event:
    amount = _money(_random.choice((500, 1_000, 5_000)))
    return {"id": _id(), "campaign_id": _id(), **scene.both, **CHARITY, "amount": amount}


def _goal(scene: Scene, current: int) -> Event:
    goal = {"type": "follow", "description": "To the next hundred!"}
    amounts = {"current_amount": current, "target_amount": 400}
    return {"id": _id(), **scene.broadcaster, **goal, **amounts, **scene.times(started_at=-3_600)}


def _poll(scene: Scene, votes: Sequence[int] = ()) -> Event:
    choices: list[Event] = [{"id": _id(), "title": title} for title in ("Left", "Right")]
    for choice, count in zip(choices, votes, strict=False):
        choice |= {"bits_votes": 0, "channel_points_votes": 0, "votes": count}
    disabled = {"is_enabled": False, "amount_per_vote": 0}
    voting = {"bits_voting": disabled, "channel_points_voting": disabled}
    return {"id": _id(), **scene.broadcaster, "title": "Which way next?", "choices": choices, **voting}


def _poll_end(scene: Scene) -> Event:
    poll = _poll(scene, (_random.randrange(400), _random.randrange(400)))
    return {**poll, "status": "completed", **scene.times(started_at=-120, ended_at=0)}


def _prediction(scene: Scene, tallies: Event, **times: float) -> Event:
    colors = {"Yes": "blue", "No": "pink"}
    outcomes = [{"id": _id(), "title": title, "color": colors[title], **tallies} for title in colors]
    question = {"title": "Will we beat the boss?", "outcomes": outcomes}
    return {"id": _id(), **scene.broadcaster, **question, **scene.times(**times)}


def _tallies() -> Event:
    points = _random.randrange(500, 90_000)
    return {"users": _random.randrange(1, 90), "channel_points": points, "top_predictors": []}


def _prediction_end(scene: Scene) -> Event:
    prediction = _prediction(scene, _tallies(), started_at=-300, ended_at=0)
    return prediction | {"winning_outcome_id": prediction["outcomes"][0]["id"], "status": "resolved"}


def _redemption(scene: Scene) -> Event:
    title, cost = _random.choice(REWARDS)
    reward = {"id": _id(), "title": title, "cost": cost, "prompt": ""}
    redeemed = scene.times(redeemed_at=0)
    return {
        "id": _id(),
        **scene.both,
        "user_input": "",
        "status": "unfulfilled",
        "reward": reward,
        **redeemed,
    }


EXAMPLES: Mapping[str, Callable[[Scene], Event]] = {
    "stream.online": lambda scene: {**_stream(scene), "type": "live", **scene.times(started_at=0)},
    "stream.offline": _stream,
    "channel.update": _channel_update,
    # The viewer raids the channel.
    "channel.raid": lambda scene: {
        **scene.viewer.fields("from_broadcaster_"),
        **scene.channel.fields("to_broadcaster_"),
        "viewers": _random.randrange(2, 5_000),
    },
    "user.update": lambda scene: {**scene.channel.fields(), "description": _random.choice(DESCRIPTIONS)},
    "channel.follow": lambda scene: {**scene.both, **scene.times(followed_at=0)},
    "channel.subscribe": lambda scene: {**scene.both, "tier": _tier(), "is_gift": False},
    "channel.subscription.gift": _gift,
    "channel.subscription.message": _resubscription,
    "channel.cheer": _cheer,
    # A Power-up. Cheers have an event of this type, too.
    "channel.bits.use": lambda scene: {
        **scene.both,
        "bits": 20,
        "type": "power_up",
        "power_up": {"type": "message_effect", "emote": None, "message_effect_id": "cosmic-abyss"},
        "custom_power_up": None,
        "message": _text("look at this"),
    },
    "channel.hype_train.begin": lambda scene: (
        _hype_train(scene, started_at=-5, expires_at=295) | {"level": 1, "progress": 500, "goal": 1_800}
    ),
    "channel.hype_train.progress": lambda scene: (
        _hype_train(scene, started_at=-60, expires_at=240) | {"progress": 900, "goal": 2_100}
    ),
    "channel.hype_train.end": lambda scene: _hype_train(
        scene, started_at=-300, ended_at=0, cooldown_ends_at=3_600
    ),
    "channel.charity_campaign.start": lambda scene: _charity_campaign(scene, 0, started_at=0),
    "channel.charity_campaign.donate": _donation,
    "channel.charity_campaign.stop": lambda scene: _charity_campaign(scene, 1_450_000, stopped_at=0),
    "channel.goal.begin": lambda scene: _goal(scene, 350),
    "channel.goal.end": lambda scene: {**_goal(scene, 400), "is_achieved": True, **scene.times(ended_at=0)},
    "channel.poll.begin": lambda scene: {**_poll(scene), **scene.times(started_at=0, ends_at=120)},
    "channel.poll.end": _poll_end,
    "channel.prediction.begin": lambda scene: _prediction(scene, {}, started_at=0, locks_at=60),
    "channel.prediction.lock": lambda scene: _prediction(scene, _tallies(), started_at=-60, locked_at=0),
    "channel.prediction.end": _prediction_end,
    "channel.channel_points_custom_reward_redemption.add": _redemption,
    # A reward that every channel has.
    "channel.channel_points_automatic_reward_redemption.add": lambda scene: {
        "id": _id(),
        **scene.both,
        "reward": {"type": "send_highlighted_message", "channel_points": 100, "emote": None},
        "message": _text("hello there"),
        **scene.times(redeemed_at=0),
    },
    "channel.shoutout.create": lambda scene: {
        **scene.broadcaster,
        **scene.viewer.fields("to_broadcaster_"),
        **scene.channel.fields("moderator_"),
        "viewer_count": _random.randrange(5_000),
        **scene.times(started_at=0, cooldown_ends_at=120, target_cooldown_ends_at=3_600),
    },
    "channel.shoutout.receive": lambda scene: {
        **scene.broadcaster,
        **scene.viewer.fields("from_broadcaster_"),
        "viewer_count": _random.randrange(5_000),
        **scene.times(started_at=0),
    },
    "channel.ad_break.begin": lambda scene: {
        **scene.broadcaster,
        **scene.channel.fields("requester_"),
        "duration_seconds": _random.choice((30, 60, 90)),
        "is_automatic": False,
        **scene.times(started_at=0),
    },
}
