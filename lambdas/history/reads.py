"""Reads of the event store: a channel's newest events, its counts, and the leaderboard."""

import dataclasses
import json
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from lambdas.common.event import Event
from lambdas.history.cursors import START, Position
from lambdas.history.database import Connection
from lambdas.history.named_queries import fetch_one, query

Counts = dict[str, int]
_Moment = TypeVar("_Moment", date, datetime)

_CLOCKS_APART: Final = timedelta(minutes=10)

#: The most characters of a page's payloads as JSON. A function answers with at most 6 MB, in which the page
#: is JSON within JSON: quotes and backslashes take two bytes.
#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_PAGE_LENGTH: Final = 2_500_000


@dataclasses.dataclass(frozen=True)
class Page:
    """Events, newest first, and the position to go on before; None at the end of the list."""

    events: list[Event]
    next: Position | None


@dataclasses.dataclass(frozen=True)
class ChannelCounts:
    """A channel's events by type; without an id, nothing has been recorded under that name."""

    streamer_id: str | None
    streamer_name: str
    counts: Counts


@dataclasses.dataclass(frozen=True)
class Leader:
    """A channel and how many events it has."""

    streamer_id: str
    streamer_name: str
    event_count: int


def newest_events(
    connection: Connection,
    login: str,
    limit: int,
    before: Position = START,
    event_types: Collection[str] = (),
) -> Page:
    """Up to ``limit`` events of the channel now named ``login``, recorded before ``before``.

    Fewer, but at least one, where they are large. Only those of some ``event_types``, if any are named. Each
    partition in which the channel has such events is read by a statement of its own, which is planned for
    this partition alone, until the page is full.
    """
    wanted = limit + 1  # one more tells whether the list goes on
    parameters: dict[str, Any] = {
        "streamer_name": login,
        "event_types": sorted(set(event_types)) or None,
        "before_created_at": before.created_at,
        "before_id": before.id,
        # The partition in which the position is may have no more.
        "most": wanted + 1,
    }
    located = connection.execute(query("find_events"), parameters).fetchall()
    statement = query("newest_events_by_type" if event_types else "newest_events")
    rows: list[dict[str, Any]] = []
    for after, until in _spans(located, before, datetime.now(UTC)):
        span = {"streamer_id": located[0]["streamer_id"], "after": after, "until": until}
        rows += connection.execute(statement, {**parameters, **span, "page_size": wanted - len(rows)})
        if len(rows) == wanted:
            break
    events: list[Event] = []
    length = 0
    for row in rows[:limit]:
        length += len(json.dumps(row["payload"]))
        if events and length > MAX_PAGE_LENGTH:
            break
        events.append(Event(**row))
    last = Position(events[-1].created_at, events[-1].id) if len(rows) > len(events) else None
    return Page(events, last)


def count_events(connection: Connection, login: str) -> ChannelCounts:
    """All events of the channel now named ``login``, those under its earlier names included."""
    rows = connection.execute(
        query("count_events"), {"streamer_name": login, "archived_until": _archived_until(connection)}
    ).fetchall()
    if not rows:
        return ChannelCounts(None, login, {})
    _watermarks[connection] = rows[0]["archived_until"]
    counts = {row["event_type"]: row["event_count"] for row in rows}
    return ChannelCounts(rows[0]["streamer_id"], login, counts)


def count_events_daily(connection: Connection, login: str, days: int, today: date) -> dict[date, Counts]:
    """The channel's events on each of the last ``days`` UTC days, ``today`` the last of them.

    Every event type that occurs on one of the days is counted on all of them.
    """
    first = today - timedelta(days=days - 1)
    streamer = _find_streamer(connection, login)
    rows: list[dict[str, Any]] = []
    if streamer is not None:
        since = datetime.combine(first, time(), UTC)
        rows = connection.execute(query("count_events_daily"), {**streamer, "since": since}).fetchall()
    return _fill(
        (first + timedelta(days=day) for day in range(days)),
        {(row["utc_day"], row["event_type"]): row["event_count"] for row in rows},
    )


def count_events_minutely(
    connection: Connection, login: str, minutes: int, now: datetime
) -> dict[datetime, Counts]:
    """The channel's events in each of the last ``minutes`` minutes by its beginning, that of ``now`` last.

    Every event type that occurs in one of the minutes is counted in all of them.
    """
    first = now.replace(second=0, microsecond=0) - timedelta(minutes=minutes - 1)
    streamer = _find_streamer(connection, login)
    rows: list[dict[str, Any]] = []
    if streamer is not None:
        rows = connection.execute(query("count_events_minutely"), {**streamer, "since": first}).fetchall()
    return _fill(
        (first + timedelta(minutes=minute) for minute in range(minutes)),
        {(row["utc_minute"], row["event_type"]): row["event_count"] for row in rows},
    )


def leaderboard(
    connection: Connection, event_type: str | None, days: int | None, today: date, limit: int
) -> list[Leader]:
    """The channels with most events, of one type or of all.

    Of all time, or of the last ``days`` UTC days, ``today`` the last of them; sums are kept for 7, 30 and 90.
    A channel whose name is not known is left out.
    """
    parameters = {"event_type": event_type or "", "page_size": limit}
    if days is None:
        watermark = fetch_one(connection, "read_watermark")
        rows = connection.execute(
            query("leaderboard"), {**parameters, **watermark, "places_before_last": limit - 1}
        ).fetchall()
        return _named(rows)
    since = today - timedelta(days=days - 1)
    rows = []
    while not rows:
        window = connection.execute(query("read_window"), {"days": days}).fetchone()
        if window is None:
            window = {**fetch_one(connection, "read_watermark"), "first_day": since, "end_day": since}
        rows = connection.execute(
            query("leaderboard_of_days"), {**parameters, **window, "days": days, "since": since}
        ).fetchall()
    for row in rows:
        del row["day_count"]
    return _named(rows)


def _named(rows: Iterable[dict[str, Any]]) -> list[Leader]:
    return [Leader(**row) for row in rows if row["streamer_name"] is not None]


#: The watermark as it was last read on a connection. With an old one the planner excludes fewer partitions;
#: the count is the same.
_watermarks: WeakKeyDictionary[Connection, datetime] = WeakKeyDictionary()


def _archived_until(connection: Connection) -> datetime:
    if connection not in _watermarks:
        _watermarks[connection] = fetch_one(connection, "read_watermark")["archived_until"]
    return _watermarks[connection]


def _find_streamer(connection: Connection, login: str) -> dict[str, Any] | None:
    return connection.execute(query("find_streamer"), {"streamer_name": login}).fetchone()


def _spans(
    located: list[dict[str, Any]], before: Position, now: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Where to look for events, newest first: spans of time, ``after <= created_at < until``."""
    if not located:
        return
    archived_until: datetime = located[0]["archived_until"]
    partitions = [(row["first_at"], row["upper_bound"]) for row in located if row["upper_bound"] is not None]
    # The database's clock, which sets created_at, may be ahead of ours. Partitions ahead are left out.
    end = max(now, archived_until) + _CLOCKS_APART
    if before.created_at < end:
        end = before.created_at + timedelta(microseconds=1)
    after = archived_until
    if partitions and partitions[0][1] > archived_until:
        after, _ = partitions.pop(0)
    if after < end:
        yield after, end
    yield from partitions


def _fill(times: Iterable[_Moment], counted: dict[tuple[_Moment, str], int]) -> dict[_Moment, Counts]:
    event_types = sorted({event_type for _, event_type in counted})
    return {moment: {name: counted.get((moment, name), 0) for name in event_types} for moment in times}
