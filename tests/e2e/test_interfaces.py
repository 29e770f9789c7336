"""The deployed interfaces: the webhook, the reads and the WebSocket, with what they accept and refuse."""

import contextlib
import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urljoin

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.e2e.clients import (
    LIMIT,
    Cloud,
    Viewer,
    connect_with_new_ticket,
    eventually,
    receive,
    request,
    signed_headers,
)

STREAMER = {"broadcaster_user_id": "424242", "broadcaster_user_login": "contract_channel"}


@pytest.fixture(scope="module")
def secret(cloud: Cloud) -> str:
    """The webhook secret, read as an operator would."""
    manager = cloud.aws("secretsmanager")
    names = [s["Name"] for s in manager.list_secrets()["SecretList"] if "ebhook" in s["Name"]]
    return str(manager.get_secret_value(SecretId=names[0])["SecretString"])


def notification(**event: Any) -> bytes:
    subscription = {
        "id": "a-subscription",
        "type": "channel.update",
        "version": "2",
        "status": "enabled",
        "condition": {"broadcaster_user_id": STREAMER["broadcaster_user_id"]},
    }
    return json.dumps({"subscription": subscription, "event": {**STREAMER, **event}}).encode()


def deliver(cloud: Cloud, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    answer = request("POST", cloud.webhook, body=body, headers=headers)
    return answer.status, answer.data


def events(cloud: Cloud) -> list[dict[str, Any]]:
    answer = request("GET", f"{cloud.api.rstrip('/')}/api/channels/contract_channel/events?limit=100")
    listed: list[dict[str, Any]] = answer.json()["events"]
    return listed


def test_the_challenge_is_answered_as_plain_text(cloud: Cloud, secret: str) -> None:
    body = json.dumps({"challenge": "pogchamp-kappa-360noscope", "subscription": {"id": "x"}}).encode()
    headers = signed_headers(secret, body, message_type="webhook_callback_verification")
    answer = request("POST", cloud.webhook, body=body, headers=headers)
    assert (answer.status, answer.data) == (200, b"pogchamp-kappa-360noscope")
    assert answer.headers["Content-Type"].split(";")[0] == "text/plain"


def test_messages_that_are_not_verified_are_refused_and_not_published(cloud: Cloud, secret: str) -> None:
    body = notification(title="a good one")
    good = signed_headers(secret, body)
    before = len(events(cloud))
    stale = datetime.now(UTC) - timedelta(minutes=11)
    assert deliver(cloud, body, signed_headers("another secret", body))[0] == 403
    assert deliver(cloud, body + b" ", good)[0] == 403
    assert deliver(cloud, body, signed_headers(secret, body, timestamp=stale))[0] == 403
    assert deliver(cloud, body, {"Content-Type": "application/json"})[0] == 403
    large = notification(title="x" * 257 * 1024)
    assert deliver(cloud, large, signed_headers(secret, large))[0] == 413
    assert deliver(cloud, b"{", signed_headers(secret, b"{"))[0] == 400
    assert deliver(cloud, body, signed_headers(secret, body, message_type="surprise"))[0] == 400

    # Only the accepted one is recorded.
    assert deliver(cloud, body, good) == (204, b"")
    eventually("the good one recorded", lambda: len(events(cloud)) == before + 1)
    assert events(cloud)[0]["id"] == good["Twitch-Eventsub-Message-Id"]


def test_a_redelivery_is_counted_once(cloud: Cloud, secret: str) -> None:
    body = notification(title="again")
    headers = signed_headers(secret, body)
    assert [deliver(cloud, body, headers)[0] for _ in range(3)] == [204, 204, 204]
    marker = signed_headers(secret, body)
    assert deliver(cloud, body, marker)[0] == 204
    eventually(
        "the marker recorded",
        lambda: marker["Twitch-Eventsub-Message-Id"] in [event["id"] for event in events(cloud)],
    )
    ids = [event["id"] for event in events(cloud)]
    assert ids.count(headers["Twitch-Eventsub-Message-Id"]) == 1
    counts = request("GET", f"{cloud.api.rstrip('/')}/api/channels/contract_channel/counts").json()
    assert counts["total"] == len(ids)
    assert counts["counts"] == {"channel.update": len(ids)}


def test_the_site_serves_the_reads_with_cache_headers_and_explains_errors(cloud: Cloud) -> None:
    answer = cloud.get("api/channels/nobody_yet/events")
    assert (answer.status, answer.json()) == (200, {"events": [], "next": None})
    assert answer.headers["Cache-Control"] == "public, s-maxage=2, stale-while-revalidate=10"
    assert cloud.get("api/channels/nobody_yet/counts").json()["total"] == 0
    assert len(cloud.get("api/channels/nobody_yet/counts/daily?days=7").json()["days"]) == 7
    assert "channels" in cloud.get("api/leaderboard").json()
    for path in (
        "api/channels/not-a-login!/events",
        "api/channels/nobody_yet/events?limit=0",
        "api/channels/nobody_yet/events?before=nonsense",
        "api/channels/nobody_yet/counts/daily?days=abc",
    ):
        answer = cloud.get(path)
        assert answer.status == 400, path
        assert set(answer.json()["error"]) == {"code", "message"}
    document = cloud.get("api/openapi.json").json()
    assert "/api/leaderboard" in document["paths"]


def test_the_answers_to_viewers_are_as_the_document_describes_them(cloud: Cloud, viewer: Viewer) -> None:
    schemas = cloud.get("api/openapi.json").json()["components"]["schemas"]
    key = urljoin(cloud.site, "api/overlays/contract_channel/key")
    watched = viewer.until_watched("contract_channel")
    for name, answer in (
        ("Watch", watched),
        ("Channel", watched["channel"]),
        ("Topic", watched["topics"][0]),
        ("OverlayKey", request("POST", key, headers=viewer.headers).json()),
        ("Error", viewer.watch("nosuch_channel").json()),
    ):
        assert answer.keys() == schemas[name]["properties"].keys()
    assert request("DELETE", key, headers=viewer.headers).status == 204


def test_the_site_is_served_with_deep_links_and_security_headers(cloud: Cloud) -> None:
    index = cloud.get("")
    deep = cloud.get("watch/some_channel")
    assert (index.status, deep.status) == (200, 200)
    assert index.data == deep.data
    policy = index.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy or "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert index.headers["X-Content-Type-Options"] == "nosniff"
    assert "Strict-Transport-Security" in index.headers


def test_the_site_is_sent_compressed(cloud: Cloud) -> None:
    (script,) = re.findall(r'src="/(assets/[^"]+\.js)"', cloud.get("").data.decode())
    headers = {"Accept-Encoding": "gzip"}
    compressed = request("GET", urljoin(cloud.site, script), headers=headers, decode_content=False)
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(compressed.data) == cloud.get(script).data


def test_watch_needs_a_sign_in_and_a_channel_that_exists(cloud: Cloud, viewer: Viewer) -> None:
    unsigned = request("POST", urljoin(cloud.site, "api/channels/contract_channel/watch"))
    assert unsigned.status == 401
    assert viewer.watch("nosuch_channel").status == 404
    assert viewer.watch("not-a-login").status == 400
    watched = viewer.until_watched("Contract_Channel")
    assert set(watched) == {"channel", "topics", "topics_version", "ticket", "websocket_url", "expires_at"}
    assert watched["channel"]["login"] == "contract_channel"
    assert sorted(each["event_type"] for each in watched["topics"] if each["status"] != "absent") == [
        "channel.raid",
        "channel.update",
        "stream.offline",
        "stream.online",
        "user.update",
    ]


def test_a_ticket_opens_one_connection_once(cloud: Cloud, viewer: Viewer) -> None:
    watched, connection = connect_with_new_ticket(lambda: viewer.until_watched("ticket_channel"))
    with connection:
        connection.send(json.dumps({"action": "ping"}))
        assert receive(connection) == {"type": "pong"}
        connection.send(json.dumps({"action": "dance"}))
        refused = receive(connection)
        assert (refused["type"], set(refused)) == ("error", {"type", "code", "message"})
    for url in (
        f"{watched['websocket_url']}?ticket={watched['ticket']}",
        f"{watched['websocket_url']}?ticket=made-up",
        watched["websocket_url"],
    ):
        with pytest.raises(InvalidStatus) as refusal, connect(url, proxy=None, open_timeout=LIMIT):
            pass
        assert refusal.value.response.status_code in (401, 403)


def test_the_oldest_of_too_many_connections_is_closed_and_told_why(viewer: Viewer) -> None:
    with contextlib.ExitStack() as stack:
        oldest, *others = [stack.enter_context(viewer.connect("crowded_channel")) for _ in range(6)]
        frames = [json.loads(frame) for frame in oldest]
        assert "too_many_connections" in [frame.get("code") for frame in frames]
        for connection in others:
            connection.send(json.dumps({"action": "ping"}))
            assert receive(connection) == {"type": "pong"}


def test_whoever_follows_too_many_channels_is_asked_to_wait(cloud: Cloud) -> None:
    """A busy minute, of Twitch's rate limit or this machine, may also refuse a watch: the channel counts."""
    greedy = Viewer.sign_in(cloud, "greedy_viewer")

    def refused(channel: str) -> bool:
        answer = greedy.until_answered(channel)
        assert answer.status in (200, 429), answer.data
        return answer.status == 429 and answer.json()["error"]["code"] == "too_many_channels"

    for number in range(20):
        assert not refused(f"one_of_many_{number}")
    answer = greedy.watch("one_too_many")
    assert (answer.status, answer.json()["error"]["code"]) == (429, "too_many_channels")
    assert answer.headers["Retry-After"] == "60"
    assert not refused("one_of_many_0")


def test_every_viewer_of_the_channel_gets_an_event_and_nobody_else(cloud: Cloud, viewer: Viewer) -> None:
    with (
        viewer.connect("shared_channel") as one,
        viewer.connect("shared_channel") as two,
        viewer.connect("lonely_channel") as other,
    ):
        for login in ("shared_channel", "lonely_channel"):
            cloud.until_subscribed(login)
        (delivery,) = cloud.simulate("stream.online", "shared_channel")
        frames = [receive(connection) for connection in (one, two)]
        assert frames[0] == frames[1]
        (event,) = frames[0]["events"]
        assert event["id"] == delivery["message_id"]
        assert set(event) == {
            "id",
            "streamer_id",
            "streamer_name",
            "event_type",
            "occurred_at",
            "created_at",
            "payload",
        }
        other.send(json.dumps({"action": "ping"}))
        assert receive(other) == {"type": "pong"}


def test_a_large_event_in_another_script_reaches_viewers_and_the_record(cloud: Cloud, viewer: Viewer) -> None:
    """12 KB in UTF-8; in ASCII it would be more than a frame may have."""
    title = "я" * 6_000
    with viewer.connect("wordy_channel") as connection:
        cloud.until_subscribed("wordy_channel")
        (delivery,) = cloud.simulate("channel.update", "wordy_channel", event={"title": title})
        assert delivery["status"] == 204
        (event,) = receive(connection)["events"]
        assert event["payload"]["title"] == title

    def is_recorded() -> bool:
        answer = request("GET", f"{cloud.api.rstrip('/')}/api/channels/wordy_channel/events")
        return [event["payload"]["title"] for event in answer.json()["events"]] == [title]

    eventually("it is recorded", is_recorded)


def test_watching_twice_makes_no_second_subscription(cloud: Cloud, viewer: Viewer) -> None:
    viewer.until_watched("twice_channel")
    cloud.until_subscribed("twice_channel")
    viewer.until_watched("twice_channel")
    assert len(cloud.subscriptions("twice_channel")) == 6


def test_one_search_follows_an_event_from_delivery_to_record_and_viewers(
    cloud: Cloud, viewer: Viewer
) -> None:
    with viewer.connect("traced_channel") as connection:
        cloud.until_subscribed("traced_channel")
        (delivery,) = cloud.simulate("stream.online", "traced_channel")
        receive(connection)
    logs = cloud.aws("logs")
    for function in ("webhook", "broadcaster", "recorder"):

        def lines(function: str = function) -> list[str]:
            found = logs.filter_log_events(logGroupName=f"/aws/lambda/fanfare-local-{function}")["events"]
            return [event["message"] for event in found if delivery["message_id"] in event["message"]]

        (line, *_) = eventually(f"{function} logged it", lines)
        assert delivery["message_id"] in json.dumps(json.loads(line)), "structured, one object a line"
