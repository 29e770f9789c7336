"""Retention: what is dropped can be read back from its export, and is still counted."""

import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lambdas.common.event import Event
from lambdas.history import exports, reads, retention
from lambdas.history.archived_counts import seal_partitions
from lambdas.history.database import Connection, DatabaseSettings
from lambdas.history.named_queries import fetch_one
from lambdas.history.recording import record
from lambdas.history.retention import Expired, expire_partitions

Connect = Callable[[DatabaseSettings], Connection]
MakeEvents = Callable[..., list[Event]]

BUCKET = "exports"
DAY = timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
RETENTION = int(
    (datetime.now(UTC) - TODAY + 2 * DAY).total_seconds()
)  # the beginning of the day before yesterday


@pytest.fixture
def days(connection: Connection, make_events: MakeEvents) -> list[str]:
    """Four sealed days with 1, 2, 3 and 4 events, three ready to go; the names of their partitions."""
    names = []
    for ago in (5, 4, 3, 2):
        lower = TODAY - ago * DAY
        connection.execute("select create_events_partition(%s, %s)", [lower, lower + DAY])
        events = make_events(6 - ago, payload={"title": 'say "añé"\n\\n\t\u2028', "ago": ago})
        record(connection, events)
        connection.execute(
            "update events set created_at = %s where id = any(%s)", [lower, [event.id for event in events]]
        )
        names.append(f"events_{int((lower + DAY).timestamp())}")
    seal_partitions(connection)
    return names


def raw_partitions(connection: Connection) -> set[str]:
    rows = connection.execute(
        "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'events'::regclass"
    )
    return {row["name"] for row in rows}


def test_what_is_too_old_is_exported_and_dropped_and_stays_counted(
    connection: Connection, s3: Any, days: list[str]
) -> None:
    before = reads.count_events(connection, "ana")
    assert expire_partitions([connection], s3, BUCKET, RETENTION) == Expired(parts=3, events=6, dropped=3)
    assert raw_partitions(connection) & set(days) == {days[-1]}
    assert list(exports.list_exports(s3, BUCKET)) == days[:-1]
    assert reads.count_events(connection, "ana") == before
    assert expire_partitions([connection], s3, BUCKET, RETENTION) == Expired()


def test_an_export_is_the_rows_as_they_were(connection: Connection, s3: Any, days: list[str]) -> None:
    rows = connection.execute(
        "select to_jsonb(event) as event from events as event where tableoid = %s::regclass order by id",
        [days[1]],
    ).fetchall()
    expire_partitions([connection], s3, BUCKET, RETENTION)
    lines = [json.loads(line) for line in exports.read_export(s3, BUCKET, days[1])]
    assert sorted(lines, key=lambda line: str(line["id"])) == [row["event"] for row in rows]


def test_an_export_can_be_put_back_into_a_table(connection: Connection, s3: Any, days: list[str]) -> None:
    whole = "select md5(string_agg(event::text, '' order by id)) as digest from {} as event"
    before = connection.execute(whole.format(days[2])).fetchone()
    expire_partitions([connection], s3, BUCKET, RETENTION)
    connection.execute("create table restored (like events)")
    for line in exports.read_export(s3, BUCKET, days[2]):
        connection.execute(
            "insert into restored select * from jsonb_populate_record(null::restored, %s)", [line.decode()]
        )
    assert connection.execute(whole.format("restored")).fetchone() == before


def test_what_is_not_sealed_is_neither_exported_nor_dropped(connection: Connection, s3: Any) -> None:
    connection.execute("select create_events_partition(%s, %s)", [TODAY - 9 * DAY, TODAY - 8 * DAY])
    before = raw_partitions(connection)
    assert expire_partitions([connection], s3, BUCKET, RETENTION) == Expired()
    assert raw_partitions(connection) == before


class Losing:
    """An S3 that keeps something else than what it was given."""

    def __init__(self, s3: Any, damage: Callable[[bytes], bytes]) -> None:
        self._s3, self._damage = s3, damage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def upload_fileobj(self, source: Any, bucket: str, key: str, **options: Any) -> None:
        self._s3.upload_fileobj(source, bucket, key, **options)
        stored = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        self._s3.put_object(Bucket=bucket, Key=key, Body=self._damage(stored))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-9],
        lambda data: b"",
        lambda data: gzip.compress(b"".join(gzip.decompress(data).splitlines(keepends=True)[1:])),
        lambda data: gzip.compress(gzip.decompress(data).replace(b"raid", b"roid")),
    ],
    ids=["cut off", "empty", "a line less", "a letter changed"],
)
def test_what_cannot_be_read_back_is_not_dropped(
    connection: Connection, s3: Any, days: list[str], damage: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(exports.ExportError, match=days[0]):
        expire_partitions([connection], Losing(s3, damage), BUCKET, RETENTION)
    assert set(days) <= raw_partitions(connection)
    assert list(exports.list_exports(s3, BUCKET)) == []
    assert expire_partitions([connection], s3, BUCKET, RETENTION).dropped == 3, "the next run does it"


def test_an_export_that_was_changed_later_is_noticed(
    connection: Connection, s3: Any, days: list[str]
) -> None:
    expire_partitions([connection], s3, BUCKET, RETENTION)
    s3.put_object(Bucket=BUCKET, Key=f"events/{days[0]}/0000000000.ndjson.gz", Body=gzip.compress(b"{}\n"))
    with pytest.raises(exports.ExportError, match=days[0]):
        list(exports.read_export(s3, BUCKET, days[0]))


@pytest.mark.usefixtures("days")
def test_while_somebody_reads_the_table_for_long_a_partition_stays_and_recording_goes_on(
    connection: Connection,
    settings: DatabaseSettings,
    connect: Connect,
    s3: Any,
    make_events: MakeEvents,
) -> None:
    reader, recorder = connect(settings), connect(settings)
    recorder.execute("set lock_timeout = '60s'")
    with ThreadPoolExecutor() as pool:
        with reader.transaction():
            reader.execute("select count(*) from events")
            expiring = pool.submit(expire_partitions, [connection], s3, BUCKET, RETENTION)
            while not expiring.done():
                record(recorder, make_events(1))
        assert expiring.result() == Expired(parts=1, events=1, dropped=0, behind=3)
    assert expire_partitions([connection], s3, BUCKET, RETENTION).dropped == 3


class TestParts:
    """A large partition is exported in parts, by several connections, in several runs."""

    @pytest.fixture
    def large(self, connection: Connection, make_events: MakeEvents, monkeypatch: pytest.MonkeyPatch) -> str:
        """A sealed partition of which each page is a part."""
        monkeypatch.setattr(retention, "PART_PAGES", 1)
        lower = TODAY - 9 * DAY
        connection.execute("select create_events_partition(%s, %s)", [lower, lower + DAY])
        record(connection, make_events(60, payload={"title": 'say "añé"\n\\n' * 40}))
        connection.execute("update events set created_at = %s", [lower])
        seal_partitions(connection)
        return f"events_{int((lower + DAY).timestamp())}"

    def test_a_run_goes_on_where_the_last_one_stopped(
        self, connection: Connection, s3: Any, large: str
    ) -> None:
        rows = connection.execute(
            "select to_jsonb(event) as event from events as event order by id"
        ).fetchall()
        before = reads.count_events(connection, "ana")
        runs = 0
        exported = dropped = 0
        while not dropped:
            # No time but for one part.
            run = expire_partitions([connection], s3, BUCKET, RETENTION, seconds=0)
            assert run.parts == 1
            assert run.behind == 1 - run.dropped
            runs, exported, dropped = runs + 1, exported + run.events, run.dropped
        assert (exported, runs > 3) == (60, True)
        lines = [json.loads(line) for line in exports.read_export(s3, BUCKET, large)]
        assert sorted(lines, key=lambda line: str(line["id"])) == [row["event"] for row in rows]
        assert reads.count_events(connection, "ana") == before
        assert connection.execute("select from exported_parts").fetchall() == []
        assert connection.execute("select from streamer_partitions").fetchall() == []

    def test_connections_share_the_parts(
        self, connection: Connection, settings: DatabaseSettings, connect: Connect, s3: Any, large: str
    ) -> None:
        connections = [connection, connect(settings), connect(settings)]
        expired = expire_partitions(connections, s3, BUCKET, RETENTION)
        assert (expired.events, expired.dropped) == (60, 1)
        assert len(list(exports.read_export(s3, BUCKET, large))) == 60

    def test_a_run_that_fails_keeps_the_parts_that_were_exported(
        self, connection: Connection, s3: Any, large: str
    ) -> None:
        first = expire_partitions([connection], s3, BUCKET, RETENTION, seconds=0)
        with pytest.raises(exports.ExportError, match=large):
            expire_partitions([connection], Losing(s3, lambda _: b""), BUCKET, RETENTION)
        rest = expire_partitions([connection], s3, BUCKET, RETENTION)
        assert (first.events + rest.events, rest.dropped) == (60, 1)


def test_no_further_partition_is_begun_when_the_time_is_over(
    connection: Connection, s3: Any, days: list[str]
) -> None:
    for behind in (2, 1, 0):
        expired = expire_partitions([connection], s3, BUCKET, RETENTION, seconds=0)
        assert (expired.parts, expired.dropped, expired.behind) == (1, 1, behind)


def test_who_keeps_others_from_exporting_is_noticed(
    connection: Connection, settings: DatabaseSettings, connect: Connect, s3: Any, days: list[str]
) -> None:
    assert fetch_one(connect(settings), "begin_retention")["begun"]
    assert expire_partitions([connection], s3, BUCKET, RETENTION) == Expired(behind=3)


def test_several_at_once_drop_each_partition_once(
    connection: Connection, settings: DatabaseSettings, connect: Connect, s3: Any, days: list[str]
) -> None:
    connections = [connect(settings) for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        expired = list(pool.map(lambda each: expire_partitions([each], s3, BUCKET, RETENTION), connections))
    assert sum(each.dropped for each in expired) == 3
    assert list(exports.list_exports(s3, BUCKET)) == days[:-1]


def test_the_command_lists_and_reads(
    connection: Connection, s3: Any, days: list[str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    expire_partitions([connection], s3, BUCKET, RETENTION)
    exports.main([BUCKET])
    assert capfdbinary.readouterr().out.decode().split() == days[:-1]
    exports.main([BUCKET, days[0]])
    assert json.loads(capfdbinary.readouterr().out)["streamer_name"] == "ana"
    with pytest.raises(SystemExit, match=f"{days[-1]}: .*NoSuchKey"):
        exports.main([BUCKET, days[-1]])
