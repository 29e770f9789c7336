"""TWITCH=real: what Twitch delivers to the relay is recorded once and shown once, whatever fails."""

from concurrent.futures import ThreadPoolExecutor

from playwright.sync_api import Page, expect

from tests.e2e.clients import Cloud, eventually
from tests.e2e.conftest import real_twitch
from tests.e2e.test_journey import EVENTS, shown, watch


@real_twitch
def test_each_event_is_recorded_and_shown_once_while_connections_fail(
    page: Page, cloud: Cloud, channel: str
) -> None:
    assert cloud.site.startswith("http://localhost:")
    watch(page, cloud, channel, "rita_relay")
    expect(page.get_by_test_id("notice")).to_contain_text("real people's")
    delivered: set[str] = set()

    def send(count: int, per_second: int = 0) -> bool:
        """Send events; whether Twitch delivered one of them."""
        sent = cloud.simulate("channel.raid", channel, count=count, per_second=per_second)
        ids = {each["message_id"] for each in sent if each["status"] == 200}
        delivered.update(ids)
        return bool(ids)

    with ThreadPoolExecutor() as background:
        sending = background.submit(send, 150, 15)
        reconnecting = background.submit(cloud.control, "sockets", do="reconnect")
        eventually("some are shown", lambda: page.locator(EVENTS).count() >= 5)
        cloud.control("faults", path="/helix/eventsub/conduits", status=503, count=3)
        cloud.control("sockets", do="cut")
        sending.result()
        reconnecting.result()
    eventually("Twitch delivers again", lambda: send(1))
    for _ in range(10):
        send(1)

    def counts() -> int:
        total: int = cloud.get(f"api/channels/{channel}/counts").json()["counts"].get("channel.raid", 0)
        return total

    eventually("all are recorded", lambda: counts() == len(delivered))
    recorded = cloud.get(f"api/channels/{channel}/events?limit=100").json()["events"]
    assert {each["id"] for each in recorded} <= delivered
    eventually("the newest are shown", lambda: set(shown(page)) <= delivered and len(shown(page)) >= 10)
    assert len(shown(page)) == len(set(shown(page)))
    assert counts() == len(delivered)
