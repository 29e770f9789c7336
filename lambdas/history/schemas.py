"""The schemas of the read routes' responses, which the OpenAPI document shows."""

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, PlainSerializer

from lambdas.common.event import format_time

Time = Annotated[datetime, PlainSerializer(format_time, return_type=str)]
Counts = dict[str, int]


class Event(BaseModel):
    """One event of a channel. `payload` is Twitch's `event` object; `created_at` is when it was recorded.

    `streamer_name` is the channel's login at the time, empty if it is not known.
    """

    id: str
    streamer_id: str
    streamer_name: str
    event_type: str
    occurred_at: Time
    created_at: Time
    payload: dict[str, Any]


class EventPage(BaseModel):
    """Newest first, fewer than asked for where they are large.

    `next` is the `before` of the following page, null on the last one.
    """

    events: list[Event]
    next: str | None


class ChannelCounts(BaseModel):
    """All events of a channel, by type. `streamer_id` is null while nothing has been recorded."""

    streamer_id: str | None
    streamer_name: str
    total: int
    counts: Counts


class Day(BaseModel):
    """A UTC day."""

    date: date
    counts: Counts


class DailyCounts(BaseModel):
    """The oldest day first, today last; zero where there are no events."""

    days: list[Day]


class Minute(BaseModel):
    """A minute; `start` is its beginning."""

    start: Time
    counts: Counts


class MinutelyCounts(BaseModel):
    """The oldest minute first, the present one last; zero where there are no events."""

    minutes: list[Minute]


class Leader(BaseModel):
    """A channel and how many events it has."""

    streamer_id: str
    streamer_name: str
    event_count: int


class Leaderboard(BaseModel):
    """The channels with most events, the most first."""

    channels: list[Leader]


class ErrorDetail(BaseModel):
    """`code` is for programs, `message` for people."""

    code: str
    message: str


class Error(BaseModel):
    """An error."""

    error: ErrorDetail
