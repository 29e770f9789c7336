"""With partitions of a minute: one ends, is counted, exported and dropped; the site's counts stay right."""

import json
import secrets
import time
from collections import deque

import psycopg
import pytest

from lambdas.history import exports
from tests.e2e.clients import Cloud, Viewer, eventually

pytestmark = pytest.mark.measured  # `make rollover`, which starts a cloud with partitions of a minute

# Normally three seconds: the queue's window is one, the cache's time is two.
LAG_SECONDS = 30
DROP_SECONDS = 420


def test_counts_stay_right_while_partitions_end_and_go(cloud: Cloud, viewer: Viewer) -> None:
    login = f"rollover_{secrets.token_hex(4)}"
    viewer.until_watched(login)
    cloud.until_subscribed(login)

    def send() -> None:
        (delivery,) = cloud.simulate("channel.raid", login)
        assert delivery["status"] == 204

    def total() -> int:
        answer = cloud.get(f"/api/channels/{login}/counts")
        assert answer.status == 200, answer.data
        return int(answer.json()["total"])

    with psycopg.connect(cloud.database, autocommit=True) as connection:
        send()
        eventually("the first event is counted", lambda: total() == 1)
        row = connection.execute(
            "select tableoid::regclass::text, id from events where streamer_name = %s", [login]
        ).fetchone()
        assert row is not None
        first_partition, first_event = row

        sent, counted, deadline = 1, 1, time.monotonic() + DROP_SECONDS
        sent_at: deque[tuple[float, int]] = deque([(time.monotonic(), 1)])
        while connection.execute("select to_regclass(%s)", [first_partition]).fetchone() != (None,):
            assert time.monotonic() < deadline, f"{first_partition} is still there"
            send()
            sent += 1
            sent_at.append((time.monotonic(), sent))
            now = total()
            while sent_at and sent_at[0][0] < time.monotonic() - LAG_SECONDS:
                overdue = sent_at.popleft()[1]
                assert now >= overdue, f"{now} counted of {overdue} sent {LAG_SECONDS} s ago"
            assert counted <= now <= sent, f"{now} counted after {counted}, of {sent}"
            counted = now
            time.sleep(1)  # an event a second
        eventually("everything is counted", lambda: total() == sent, LAG_SECONDS)
        names = connection.execute(
            "select distinct tableoid::regclass::text from events where streamer_name = %s", [login]
        ).fetchall()
        assert len(names) >= 2, "the events went over two boundaries"

    bucket = cloud.outputs["ExportsBucketName"]
    exported = [json.loads(line) for line in exports.read_export(cloud.aws("s3"), bucket, first_partition)]
    assert first_event in {event["id"] for event in exported}
    days = cloud.get(f"/api/channels/{login}/counts/daily?days=2").json()["days"]
    assert sum(count for day in days for count in day["counts"].values()) == sent
    leaders = cloud.get("/api/leaderboard?limit=100").json()["channels"]
    assert sent in [leader["event_count"] for leader in leaders if leader["streamer_name"] == login]
