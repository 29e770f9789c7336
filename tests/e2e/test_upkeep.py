"""The scheduled functions do what they find to do; they are invoked as their schedules do it."""

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from lambdas.history import exports
from tests.e2e.clients import Cloud, Viewer, eventually

CHANNELS = "fanfare-local-channels"
DAY = timedelta(days=1)


def channel_item(cloud: Cloud, login: str) -> dict[str, Any]:
    items = cloud.aws("dynamodb").scan(TableName=CHANNELS)["Items"]
    (item,) = (item for item in items if item["login"]["S"] == login)
    return dict(item)


def test_the_reconciler_unsubscribes_a_channel_that_nobody_watches(cloud: Cloud, viewer: Viewer) -> None:
    left, watched = f"left_{secrets.token_hex(4)}", f"watched_{secrets.token_hex(4)}"
    viewer.until_watched(left)
    with viewer.connect(watched):
        for login in (left, watched):
            cloud.until_subscribed(login)
            # Both were last watched an hour ago; one of them still has a viewer.
            cloud.aws("dynamodb").update_item(
                TableName=CHANNELS,
                Key={"streamer_id": channel_item(cloud, login)["streamer_id"]},
                UpdateExpression="SET watched_at = watched_at - :hour",
                ExpressionAttributeValues={":hour": {"N": "3600"}},
            )
        cloud.invoke("reconciler")
        assert cloud.subscriptions(left) == []
        assert len(cloud.subscriptions(watched)) == 6


def test_the_archiver_makes_the_next_partitions(cloud: Cloud) -> None:
    with psycopg.connect(cloud.database, autocommit=True) as connection:

        def partitions() -> list[str]:
            rows = connection.execute(
                "select inhrelid::regclass::text from pg_inherits "
                "where inhparent = 'events'::regclass order by 1"
            )
            return [row[0] for row in rows]

        before = partitions()
        assert len(before) >= 3, "today's and two ahead"
        connection.execute(f"drop table {before[-1]}")
        cloud.invoke("archiver")
        assert partitions() == before


def test_the_archiver_exports_and_drops_what_is_old(cloud: Cloud) -> None:
    login, event_id = f"old_timer_{secrets.token_hex(4)}", secrets.token_hex(16)
    bucket = cloud.outputs["ExportsBucketName"]
    with psycopg.connect(cloud.database, autocommit=True) as connection:
        # A day long ago, with what the recorder has written; counted.
        start = datetime(2000, 1, 1, tzinfo=UTC) + secrets.randbelow(3000) * DAY
        end = start + DAY
        partition = f"events_{int(end.timestamp())}"
        connection.execute("select create_events_partition(%s, %s)", [start, end])
        connection.execute(
            sql.SQL("insert into {} values (%s, %s, %s, 'channel.raid', now(), %s, '{{}}')").format(
                sql.Identifier(partition)
            ),
            [event_id, login, login, start],
        )
        connection.execute("insert into streamers values (%s, %s, %s)", [login, login, start])
        connection.execute(
            "insert into archived_events values (%s, %s, 'channel.raid', 1, %s, %s)",
            [login, login, start, end],
        )
        connection.execute(
            "insert into archived_totals (streamer_id, event_type, event_count) "
            "select %s, unnest(array['channel.raid', '']), 1",
            [login],
        )
        cloud.invoke("archiver")
        assert connection.execute("select to_regclass(%s)", [partition]).fetchone() == (None,)
    exported = [json.loads(line) for line in exports.read_export(cloud.aws("s3"), bucket, partition)]
    assert [event["id"] for event in exported] == [event_id]
    counted = json.loads(cloud.get(f"/api/channels/{login}/counts").data)
    assert (counted["total"], counted["counts"]) == (1, {"channel.raid": 1})


def test_a_revoked_subscription_is_made_again_by_the_next_watch(cloud: Cloud, viewer: Viewer) -> None:
    login = f"revoked_{secrets.token_hex(4)}"
    viewer.until_watched(login)
    cloud.until_subscribed(login)
    cloud.control("revoke", login=login, event_type="stream.online", reason="notification_failures_exceeded")
    eventually(
        "the revocation is known",
        lambda: (
            channel_item(cloud, login)["subscriptions"]["M"]["stream.online"]["M"]["status"]["S"] == "revoked"
        ),
    )
    viewer.until_watched(login)
    eventually(
        "subscribed again",
        lambda: (
            "enabled" in {s["status"] for s in cloud.subscriptions(login) if s["type"] == "stream.online"}
        ),
    )
