"""Reads of the event store: a channel's newest events, its counts, and the leaderboard."""

import dataclasses
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

_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_CLOCKS_APART: Final = timedelta(minutes=10)


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

    Only those of some ``event_types``, if any are named.
    """
    statement = query("newest_events_by_type" if event_types else "newest_events")
    wanted = limit + 1  # one more tells whether the list goes on
    rows: list[dict[str, Any]] = []
    is_known = False
    for after, until in _spans_before(before.created_at, datetime.now(UTC)):
        rows += connection.execute(
            statement,
            {
                "streamer_name": login,
                "event_types": sorted(set(event_types)),
                "after": after,
                "until": until,
                "before_created_at": before.created_at,
                "before_id": before.id,
                "page_size": wanted - len(rows),
            },
        )
        if len(rows) == wanted:
            break
        # A channel that was never seen has no events in any span.
        is_known = is_known or _find_streamer(connection, login) is not None
        if not is_known:
            break
    events = [Event(**row) for row in rows[:limit]]
    last = Position(events[-1].created_at, events[-1].id) if len(rows) > limit else None
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
    connection: Connection, event_type: str | None, since: datetime | None, limit: int
) -> list[Leader]:
    """The channels with most events, of one type or of all, since the start of a UTC day or ever."""
    rows = connection.execute(
        query("leaderboard" if since is None else "leaderboard_since"),
        {
            **fetch_one(connection, "read_watermark"),
            "event_type": event_type,
            "since": since,
            "page_size": limit,
        },
    )
    return [Leader(**row) for row in rows]


#: The watermark as it was last read on a connection. With an old one the planner excludes fewer partitions;
#: the count is the same.
_watermarks: WeakKeyDictionary[Connection, datetime] = WeakKeyDictionary()


def _archived_until(connection: Connection) -> datetime:
    if connection not in _watermarks:
        _watermarks[connection] = fetch_one(connection, "read_watermark")["archived_until"]
    return _watermarks[connection]


def _find_streamer(connection: Connection, login: str) -> dict[str, Any] | None:
    return connection.execute(query("find_streamer"), {"streamer_name": login}).fetchone()


def _spans_before(end: datetime, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Spans of time, each ``(after, until]``, from ``end`` back to the beginning, each longer than the last.

    A statement is planned for the partitions of its span: one or two for a busy channel's newest events. Nine
    statements reach all partitions. The database's clock, which sets ``created_at``, may be ahead of ours.
    """
    until, after = min(end, now + _CLOCKS_APART), min(end, now)
    for hours in (1, 4, 16, 64, 256, 1024, 4096, 16384):
        after -= min(timedelta(hours=hours), after - _BEGINNING)
        yield after, until
        until = after
    yield _BEGINNING, until


def _fill(times: Iterable[_Moment], counted: dict[tuple[_Moment, str], int]) -> dict[_Moment, Counts]:
    event_types = sorted({event_type for _, event_type in counted})
    return {moment: {name: counted.get((moment, name), 0) for name in event_types} for moment in times}
