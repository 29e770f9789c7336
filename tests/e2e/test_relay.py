"""TWITCH=real: what Twitch delivers to the relay is recorded once and shown once, whatever fails."""

import dataclasses
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
from playwright.sync_api import Page, expect

from tests.e2e.clients import LIMIT, Cloud, Viewer, eventually
from tests.e2e.conftest import real_twitch
from tests.e2e.local_cloud import LocalCloud, send
from tests.e2e.test_journey import EVENTS, shown, watch


def recorded(cloud: Cloud, channel: str) -> list[str]:
    """The ids of the channel's recorded raids."""
    ids: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        found = cloud.get(f"api/channels/{channel}/events?limit=100{cursor}").json()
        ids += [each["id"] for each in found["events"] if each["event_type"] == "channel.raid"]
        cursor = f"&before={found['next']}" if found["next"] else None
    return ids


def delivered(cloud: Cloud, channel: str, count: int, per_second: int = 0) -> set[str]:
    """Let Twitch send raids; the ids of those that it counts as delivered."""
    sent = cloud.simulate("channel.raid", channel, count=count, per_second=per_second)
    return {each["message_id"] for each in sent if each["status"] == 200}


def each_once(ids: list[str], found: set[str]) -> bool:
    """Whether these are at least ten of the events that were found, each once."""
    return len(ids) >= 10 and len(ids) == len(set(ids)) and set(ids) <= found


@real_twitch
def test_each_event_is_recorded_and_shown_once_while_connections_fail(
    page: Page, cloud: Cloud, channel: str
) -> None:
    assert cloud.site.startswith("http://localhost:")
    watch(page, cloud, channel, "rita_relay")
    expect(page.get_by_test_id("notice")).to_contain_text("real people's")
    with ThreadPoolExecutor() as background:
        sending = background.submit(delivered, cloud, channel, 150, 15)
        reconnecting = background.submit(cloud.control, "sockets", do="reconnect")
        eventually("some are shown", lambda: page.locator(EVENTS).count() >= 5)
        cloud.control("faults", path="/helix/eventsub/conduits", status=503, count=3)
        cloud.control("sockets", do="cut")
        ids = sending.result()
        reconnecting.result()
    ids |= eventually("Twitch delivers again", lambda: delivered(cloud, channel, 1))
    for _ in range(10):
        ids |= delivered(cloud, channel, 1)

    # Twitch does not count an event whose connection was cut before it knew that the relay had read it.
    eventually("all are recorded", lambda: ids <= set(recorded(cloud, channel)))
    found = recorded(cloud, channel)
    assert len(found) == len(set(found))
    eventually("the newest are shown, and once", lambda: each_once(shown(page), set(found)))


# It restarts the cloud, which then has other addresses: no other test with this cloud comes after it.
@real_twitch
def test_each_event_is_recorded_and_shown_once_although_the_relay_is_killed(
    page: Page, cloud: Cloud, start_cloud: Callable[[str], LocalCloud], channel: str
) -> None:
    local_cloud = start_cloud("real")
    assert local_cloud.runner is not None
    viewer = Viewer.sign_in(cloud, "rita_relay")
    viewer.until_watched(channel)
    cloud.until_subscribed(channel)
    ids = delivered(cloud, channel, 5)
    eventually("they are recorded", lambda: ids <= set(recorded(cloud, channel)))
    with closing(psycopg.connect(cloud.database)) as database, ThreadPoolExecutor() as background:
        # What the webhook takes from now on is in the emulator, which ends with the relay.
        database.execute("lock table events in exclusive mode")
        taken = delivered(cloud, channel, 20)
        assert len(taken) == 20
        sending = background.submit(delivered, cloud, channel, 100, 50)
        eventually("more is on its way", lambda: len(cloud.twitch_state()["deliveries"]) > 40)
        send(signal.SIGKILL, [local_cloud.relay()])
        ids |= taken | sending.result()
    assert local_cloud.runner.wait(LIMIT) != 0, "the local cloud says that the relay has ended"

    again = dataclasses.replace(local_cloud.start(), twitch=cloud.twitch)
    watch(page, again, channel, "rita_relay")
    eventually("all are recorded", lambda: ids <= set(recorded(again, channel)))
    ids |= delivered(again, channel, 10)
    eventually("all are recorded", lambda: ids <= set(recorded(again, channel)))
    found = recorded(again, channel)
    assert len(found) == len(set(found))
    eventually("the newest are shown, and once", lambda: each_once(shown(page), set(found)))
