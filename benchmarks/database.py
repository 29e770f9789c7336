"""The PostgreSQL server for the event store's benchmarks, and the events in it.

The numbers of events are as unequal as on Twitch: the busiest of ten thousand streamers has every twentieth.
"""

import contextlib
import random
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Final

import psycopg
from psycopg.rows import dict_row

from lambdas.common.event import Event
from lambdas.history.database import Connection, Database, DatabaseSettings
from lambdas.history.migrations import migrate
from lambdas.history.upkeep import ensure_partitions
from local import postgres
from local.ports import HOST

DAY: Final = 86_400
STREAMERS: Final = 10_000
#: The login of the streamer with most events.
BUSIEST: Final = "streamer_0"
EVENT_TYPES: Final = ("channel.follow", "channel.cheer", "channel.subscribe", "channel.raid", "stream.online")
_WEIGHTS: Final = (60, 20, 12, 5, 3)

#: The settings that differ from PostgreSQL's defaults: those of a small server. Commits are flushed to disk.
SERVER: Final = {"shared_buffers": "1GB", "max_wal_size": "4GB"}
_SHOWN: Final = (*SERVER, "fsync", "synchronous_commit", "full_page_writes", "autovacuum")


@contextlib.contextmanager
def store() -> Iterator[postgres.Postgres]:
    """A temporary server with an event store that has the present partitions and no events."""
    with (
        tempfile.TemporaryDirectory(prefix="fanfare-bench-") as directory,
        postgres.run_blocking(Path(directory), settings=SERVER) as server,
        connect(server.url()) as connection,
    ):
        show_settings(connection)
        migrate(connection)
        ensure_partitions(connection, DAY)
        yield server


def show_settings(connection: Connection) -> None:
    """Print the server's settings."""
    rows = connection.execute(
        "select name, current_setting(name) as value from pg_settings where name = any(%s)", [list(_SHOWN)]
    )
    version = f"PostgreSQL {connection.info.server_version // 10_000}"
    print(f"{version}:", ", ".join(f"{row['name']} {row['value']}" for row in rows), flush=True)


def connect(url: str) -> Connection:
    """A connection like the functions' connections, without time limits."""
    return psycopg.connect(url, autocommit=True, row_factory=dict_row)


def reader(server: postgres.Postgres) -> Database:
    """The query function's connection."""
    settings = DatabaseSettings(
        database_host=HOST,
        database_port=server.port,
        database_name=postgres.DATABASE,
        database_user=postgres.USER,
    )
    return Database(
        settings,
        lambda: server.password,
        application_name="fanfare-query",
        connect_timeout_seconds=5,
        statement_timeout_seconds=60,
        read_only=True,
    )


def make_event(chance: random.Random) -> Event:
    """A new event of today, about as large as a follow."""
    now = datetime.now(UTC)
    streamer = int(STREAMERS * chance.random() ** 3)
    viewer = chance.randrange(10**9)
    return Event(
        id=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        streamer_id=str(100_000 + streamer),
        streamer_name=f"streamer_{streamer}",
        event_type=chance.choices(EVENT_TYPES, _WEIGHTS)[0],
        occurred_at=now,
        created_at=now,
        payload={
            "user_id": str(viewer),
            "user_login": f"viewer_{viewer}",
            "user_name": f"Viewer_{viewer}",
            "broadcaster_user_id": str(100_000 + streamer),
            "broadcaster_user_login": f"streamer_{streamer}",
            "broadcaster_user_name": f"Streamer_{streamer}",
            "followed_at": now.isoformat(),
        },
    )


def fill_partition(connection: Connection, lower: datetime, upper: datetime, count: int) -> None:
    """Create the partition between the bounds with ``count`` events, evenly spread up to now at most.

    The indexes are built after the rows are inserted.
    """
    end = min(upper, datetime.now(UTC))
    name = f"events_{int(upper.timestamp())}"
    connection.execute(f"""
        create table {name} (like events, constraint ends check (created_at < '{upper}')) with (
            autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000
        )
    """)
    _insert_events(
        connection,
        name,
        count,
        "%(lower)s + (%(end)s - %(lower)s) * (number / %(count)s::float)",
        {"lower": lower, "end": end},
    )
    connection.execute(
        f"alter table events attach partition {name} "
        f"for values from ('{lower}', minvalue, minvalue) to ('{upper}', minvalue, minvalue)"
    )
    connection.execute("select create_archived_counts(%s)", [upper])


def add_newest(connection: Connection, count: int) -> None:
    """Add events with the present time, as if they were just recorded."""
    _insert_events(connection, "events", count, "clock_timestamp()", {})


def _insert_events(
    connection: Connection, table: str, count: int, created_at: str, parameters: dict[str, object]
) -> None:
    connection.execute(
        f"""
        insert into {table}
        select
            gen_random_uuid()::text,
            (100000 + streamer)::text,
            'streamer_' || streamer,
            (array['{"', '".join(EVENT_TYPES)}'])[width_bucket(kind, array{[0, *accumulate(_WEIGHTS[:-1])]})],
            created_at,
            created_at,
            jsonb_build_object('user_login', 'viewer_' || number)
        from (
            select
                number,
                floor({STREAMERS} * random() ^ 3)::int as streamer,
                random() * 100 as kind,
                {created_at} as created_at
            from generate_series(0, %(count)s - 1) as number
        ) as numbered
        """,  # noqa: S608 -- constants of this module
        {**parameters, "count": count},
    )


def insert_streamers(connection: Connection) -> None:
    """Insert all streamers, as recording does."""
    connection.execute(
        "insert into streamers select (100000 + number)::text, 'streamer_' || number, now() "
        "from generate_series(0, %s - 1) as number on conflict do nothing",
        [STREAMERS],
    )
