"""Reads from ten million events: counts, the leaderboard, and a channel's newest ten events.

The alternative is COUNT on the same partitioned table, with the best index for it.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from benchmarks import database
from benchmarks.result import Result, limit
from lambdas.history import reads
from lambdas.history.archived_counts import move_windows, roll_up_archived_counts, seal_partitions
from lambdas.history.database import Connection, Database
from local.postgres import Postgres

T = TypeVar("T")

EVENTS: Final = 10_000_000
LIVE_EVENTS: Final = 200_000
#: Of the live ones, those that are not counted yet: six seconds of 86 million events a day.
NEWEST_EVENTS: Final = 6_000
SEALED_DAYS: Final = 90
#: The login of a streamer with few events.
QUIET: Final = "quiet"
#: The type and the days of the leaderboards that are measured.
EVENT_TYPE: Final = "channel.cheer"
WINDOWS: Final = (1, 7, 30, 90)
OLDER_DAYS: Final = 810

COUNT_BY_TYPE = """
    select event_type, count(*) as event_count from events
    where streamer_id = (select streamer_id from streamers where streamer_name = %(login)s)
    group by event_type
"""
COUNT_LEADERS = """
    select streamer_id, streamer_name, event_count
    from (
        select streamer_id, count(*) as event_count from events
        group by streamer_id order by event_count desc, streamer_id limit 10
    ) as leaders
    inner join streamers using (streamer_id)
    order by event_count desc, streamer_id
"""


def measure() -> list[Result]:
    """Medians, in milliseconds, of the query function's statements on a connection like its own."""
    with database.store() as server, database.connect(server.url()) as connection:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        _step("ten million events", lambda: _fill(server, connection, today))
        _step("vacuum", lambda: connection.execute("vacuum (analyze, freeze)"))
        _add_quiet(connection, today)
        _step("sealing 90 days", lambda: seal_partitions(connection))
        _step("sums of the last days", lambda: move_windows(connection))
        _step("rolling counts up", lambda: roll_up_archived_counts(connection))
        before_newest = datetime.now(UTC)
        database.add_newest(connection, NEWEST_EVENTS)
        reader = database.reader(server)

        counts_by_count, counts = _median_ms(reader, _count_by_type, 5)
        leaders_by_count, leaders = _median_ms(reader, _count_leaders, 1)
        late_counts_ms, late_counts = _median_ms(reader, _read_counts, 300)
        late_leaders_ms, late_leaders = _median_ms(reader, _read_leaders, 20)
        _step("archiving the counts of today", lambda: _archive(connection, before_newest))
        counts_ms, read_counts = _median_ms(reader, _read_counts, 300)
        leaders_ms, read_leaders = _median_ms(reader, _read_leaders, 300)
        _require_same((read_counts, read_leaders), (counts, leaders))
        _require_same((late_counts, late_leaders), (counts, leaders))
        newest_ms, _ = _median_ms(reader, _read_newest, 300)
        type_ms, _ = _median_ms(reader, _read_leaders_of_a_type, 100)
        windows_ms = {
            (days, event_type): _median_ms(reader, _window_reader(days, event_type), 30)[0]
            for days in WINDOWS
            for event_type in (None, EVENT_TYPE)
        }

        _step("810 older days", lambda: _add_older_days(connection, today))
        _step("rolling counts up", lambda: roll_up_archived_counts(connection))
        _step(
            "vacuum",
            lambda: connection.execute("vacuum (analyze) archived_events, archived_totals"),
        )
        counts_900_ms, _ = _median_ms(reader, _read_counts, 300)
        newest_900_ms, _ = _median_ms(reader, _read_newest, 300)
        quiet_900_ms, _ = _median_ms(reader, _read_newest_of_quiet, 300)
        reader.close()

    busiest = "counts of the busiest streamer"
    return [
        _times_faster(busiest, counts_ms, "COUNT by the best index", counts_by_count, 100),
        limit(busiest, "ms", counts_ms, 2, "lower"),
        Result(
            name=f"{busiest}, 900 sealed days",
            unit="ms",
            ours=counts_900_ms,
            baseline_name="90 sealed days",
            baseline=counts_ms,
            ratio=counts_900_ms / counts_ms,
            target=1.3,
            better="lower",
        ),
        _times_faster("leaderboard of all time", leaders_ms, "by COUNT", leaders_by_count, 100),
        limit("leaderboard of all time", "ms", leaders_ms, 20, "lower"),
        _times_faster(f"{busiest}, nothing of today archived", late_counts_ms, "COUNT", counts_by_count, 100),
        _times_faster(
            "leaderboard, nothing of today archived", late_leaders_ms, "by COUNT", leaders_by_count, 10
        ),
        limit("newest 10 of the busiest streamer, 93 partitions", "ms", newest_ms, 1, "lower"),
        limit("newest 10 of the busiest streamer, 903 partitions", "ms", newest_900_ms, 1, "lower"),
        limit("newest 10 of a quiet streamer, 903 partitions", "ms", quiet_900_ms, 5, "lower"),
        limit("leaderboard of one type, of all time", "ms", type_ms, 20, "lower"),
        *(
            limit(
                f"leaderboard of {'one type' if event_type else 'all types'}, {days} days",
                "ms",
                took,
                50,
                "lower",
            )
            for (days, event_type), took in windows_ms.items()
        ),
    ]


def _add_quiet(connection: Connection, today: datetime) -> None:
    """Add a streamer with one event on every seventh day."""
    connection.execute("insert into streamers values ('1', %s, now())", [QUIET])
    for days in range(7, SEALED_DAYS, 7):
        end = today - timedelta(days=days - 1)
        connection.execute(
            f"insert into events_{int(end.timestamp())} "  # noqa: S608 -- a number
            "values (gen_random_uuid()::text, '1', %s, 'channel.raid', %s, %s, '{}')",
            [QUIET, end - timedelta(hours=9), end - timedelta(hours=9)],
        )


def _fill(server: Postgres, connection: Connection, today: datetime) -> None:
    """Ninety days of as many events each, two at a time, and a part of today."""
    database.insert_streamers(connection)
    # The store's set-up has made today's, empty.
    connection.execute(f"drop table events_{int((today + timedelta(days=1)).timestamp())}")
    days = [
        (today - timedelta(days=days), (EVENTS - LIVE_EVENTS) // SEALED_DAYS)
        for days in range(1, SEALED_DAYS + 1)
    ]

    def fill(day: tuple[datetime, int]) -> None:
        lower, count = day
        with database.connect(server.url()) as own:
            # Only for the preparation: the measured commits wait for the disk.
            own.execute("set synchronous_commit = off")
            database.fill_partition(own, lower, lower + timedelta(days=1), count)

    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(fill, [*days, (today, LIVE_EVENTS - NEWEST_EVENTS)]):
            pass


def _archive(connection: Connection, until: datetime) -> None:
    """Count as recorders do every few seconds, but only events up to a time, so that some are left."""
    connection.execute("update watermark set archiving_until = %s", [until])
    connection.execute("select archive_counts(%s)", [until])


def _add_older_days(connection: Connection, today: datetime) -> None:
    """Add older days: empty partitions, and archived counts of every twentieth streamer, also the busiest.

    The counts are those of the oldest sealed day.
    """
    oldest = today - timedelta(days=SEALED_DAYS)
    connection.execute(
        "create temporary table like_that_day as "
        "select streamer_id, streamer_name, event_type, event_count from archived_events "
        "where utc_day = %s and streamer_id::int %% 20 = 0",
        [oldest.date()],
    )
    for first in range(0, OLDER_DAYS, 90):
        with connection.transaction():
            for day in range(first, first + 90):
                _add_older_day(connection, oldest - timedelta(days=day))
    connection.execute(
        "update archived_totals set event_count = counted.event_count from ("
        "select streamer_id, coalesce(event_type, '') as event_type, sum(event_count) as event_count "
        "from archived_events group by grouping sets ((streamer_id, event_type), (streamer_id))) as counted "
        "where archived_totals.streamer_id = counted.streamer_id "
        "and archived_totals.event_type = counted.event_type"
    )


def _add_older_day(connection: Connection, upper: datetime) -> None:
    lower = upper - timedelta(days=1)
    connection.execute("select create_events_partition(%s, %s)", [lower, upper])
    # Directly into the partition, so that the statement is not planned with a thousand partitions.
    connection.execute(
        f"insert into archived_events_{int(upper.timestamp())} "  # noqa: S608 -- a number
        "select streamer_id, streamer_name, event_type, event_count, %s, %s from like_that_day",
        [lower.date(), upper],
    )


def _read_counts(connection: Connection) -> dict[str, int]:
    return reads.count_events(connection, database.BUSIEST).counts


def _read_leaders(connection: Connection) -> list[reads.Leader]:
    return reads.leaderboard(connection, None, None, datetime.now(UTC).date(), 10)


def _read_newest(connection: Connection) -> None:
    if len(reads.newest_events(connection, database.BUSIEST, 10).events) != 10:
        raise RuntimeError("the busiest streamer has no ten events")


def _read_newest_of_quiet(connection: Connection) -> None:
    if len(reads.newest_events(connection, QUIET, 10).events) != 10:
        raise RuntimeError("the quiet streamer has no ten events")


def _read_leaders_of_a_type(connection: Connection) -> list[reads.Leader]:
    return reads.leaderboard(connection, EVENT_TYPE, None, datetime.now(UTC).date(), 10)


def _window_reader(days: int, event_type: str | None) -> Callable[[Connection], list[reads.Leader]]:
    return lambda connection: reads.leaderboard(connection, event_type, days, datetime.now(UTC).date(), 10)


def _count_by_type(connection: Connection) -> dict[str, int]:
    rows = connection.execute(COUNT_BY_TYPE, {"login": database.BUSIEST})
    return {row["event_type"]: row["event_count"] for row in rows}


def _count_leaders(connection: Connection) -> list[reads.Leader]:
    return [reads.Leader(**row) for row in connection.execute(COUNT_LEADERS)]


def _median_ms(reader: Database, read: Callable[[Connection], T], times: int) -> tuple[float, T]:
    """The median duration of so many readings after a first one, and what was read."""
    answer = reader.run(read)
    durations = []
    for _ in range(times):
        began = time.perf_counter()
        reader.run(read)
        durations.append(time.perf_counter() - began)
    return statistics.median(durations) * 1000, answer


def _times_faster(name: str, ours: float, baseline_name: str, baseline: float, target: float) -> Result:
    return Result(
        name=name,
        unit="ms",
        ours=ours,
        baseline_name=baseline_name,
        baseline=baseline,
        ratio=baseline / ours,
        target=target,
        better="higher",
    )


def _require_same(found: object, counted: object) -> None:
    if found != counted:
        raise RuntimeError(f"read {found} but counted {counted}")


def _step(name: str, work: Callable[[], object]) -> None:
    began = time.perf_counter()
    work()
    print(f"  {name}: {time.perf_counter() - began:.0f} s", flush=True)
