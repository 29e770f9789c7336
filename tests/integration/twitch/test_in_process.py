"""The simulator in the same process, called through urllib3."""

import json
from typing import Any

import pytest
import urllib3

from benchmarks.in_process_twitch import InProcessPool
from local.twitch.messages import Message
from local.twitch.settings import Settings
from local.twitch.simulator import Simulator
from local.twitch.state import Fault
from tests.integration.twitch.support import CLIENT_ID, CLIENT_SECRET, SECRET, Clock

BASE = "https://twitch.example"
FORM = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "grant_type": "client_credentials"}
SUBSCRIPTIONS = f"{BASE}/helix/eventsub/subscriptions"


class Client:
    """An application that is in the same process as Twitch."""

    def __init__(self) -> None:
        self.clock = Clock()
        settings = Settings(BASE, CLIENT_ID, CLIENT_SECRET, BASE, failures_before_revocation=2)
        self.simulator = Simulator(settings, self.clock)
        self.pool = InProcessPool(self.simulator)
        token = self.pool.request("POST", f"{BASE}/oauth2/token", fields=FORM, encode_multipart=False).json()
        self.headers = {"authorization": f"Bearer {token['access_token']}", "client-id": CLIENT_ID}

    def subscribe(self, broadcaster_id: str) -> urllib3.BaseHTTPResponse:
        body = {
            "type": "stream.online",
            "version": "1",
            "condition": {"broadcaster_user_id": broadcaster_id},
            "transport": {"method": "webhook", "callback": "https://callback.example/", "secret": SECRET},
        }
        return self.pool.request("POST", SUBSCRIPTIONS, headers=self.headers, body=json.dumps(body))

    def listed(self) -> list[dict[str, Any]]:
        answer = self.pool.request("GET", SUBSCRIPTIONS, headers=self.headers)
        subscriptions: list[dict[str, Any]] = answer.json()["data"]
        return subscriptions

    def only_message(self) -> Message:
        [message] = self.simulator.take_messages()
        return message


@pytest.fixture
def client() -> Client:
    return Client()


def test_a_subscription_from_creation_to_deletion(client: Client) -> None:
    answer = client.subscribe("7")
    assert (answer.status, answer.headers["ratelimit-remaining"]) == (202, "799")
    challenge = client.only_message()
    assert challenge.headers()["Twitch-Eventsub-Message-Type"] == "webhook_callback_verification"
    client.simulator.answered(challenge, 200, json.loads(challenge.body)["challenge"], "text/plain")
    [subscription] = client.listed()
    assert subscription["status"] == "enabled"

    channel = client.simulator.state.users.by_id("7")
    assert channel is not None
    type_ = client.simulator.state.subscriptions[subscription["id"]].subscription_type
    for _ in range(2):
        client.simulator.notify(type_, channel, {})
        client.simulator.answered(client.only_message(), None)
    assert client.only_message().type == "revocation"
    assert client.listed()[0]["status"] == "notification_failures_exceeded"
    deleted = client.pool.request(
        "DELETE", f"{SUBSCRIPTIONS}?id={subscription['id']}", headers=client.headers
    )
    assert (deleted.status, deleted.data, client.listed()) == (204, b"", [])
    assert client.pool.requests.count(("GET", "/helix/eventsub/subscriptions")) == 3


@pytest.mark.parametrize(
    ("fault", "done"),
    [
        (Fault("/helix", lost="request"), False),
        (Fault("/helix", lost="answer"), True),
        (Fault("/helix", latency_ms=3_001), True),
    ],
)
def test_faults_raise_the_errors_of_urllib3(client: Client, fault: Fault, done: bool) -> None:
    client.simulator.state.faults.append(fault)
    with pytest.raises(urllib3.exceptions.HTTPError):
        client.subscribe("7")
    client.simulator.state.faults.clear()
    assert bool(client.listed()) == done


def test_a_refusal_is_an_answer(client: Client) -> None:
    client.simulator.state.faults.append(Fault("/helix", status=503, remaining=1))
    assert [client.subscribe("7").status for _ in range(2)] == [503, 202]


def test_a_fault_can_answer_any_text_instead(client: Client) -> None:
    client.simulator.state.faults.append(Fault("/helix", body="not JSON", remaining=1))
    answer = client.subscribe("7")
    assert (answer.status, answer.data, client.listed()) == (200, b"not JSON", [])


@pytest.mark.parametrize("status", [200, None])
def test_a_subscription_that_is_deleted_before_its_challenge_is_answered_costs_nothing(
    client: Client, status: int | None
) -> None:
    client.subscribe("7")
    challenge = client.only_message()
    deleted = f"{SUBSCRIPTIONS}?id={challenge.subscription.id}"
    assert client.pool.request("DELETE", deleted, headers=client.headers).status == 204
    client.simulator.answered(challenge, status, challenge.challenge or "", "text/plain")
    assert client.simulator.state.total_cost == 0
    assert client.listed() == []
