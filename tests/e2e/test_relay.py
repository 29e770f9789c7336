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

    # Twitch does not count an event whose connection was cut before it knew that the relay had read it.
    def recorded() -> list[str]:
        ids: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            found = cloud.get(f"api/channels/{channel}/events?limit=100{cursor}").json()
            ids += [each["id"] for each in found["events"] if each["event_type"] == "channel.raid"]
            cursor = f"&before={found['next']}" if found["next"] else None
        return ids

    eventually("all are recorded", lambda: delivered <= set(recorded()))
    assert len(recorded()) == len(set(recorded()))
    eventually("the newest are shown", lambda: len(shown(page)) >= 10 and set(shown(page)) <= set(recorded()))
    assert len(shown(page)) == len(set(shown(page)))
