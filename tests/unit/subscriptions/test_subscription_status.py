"""Changed states reach those who are connected, and those who are about to connect."""

import json
from collections.abc import Mapping
from typing import Any

from lambdas.common import tickets
from lambdas.common.aws import Client
from lambdas.common.topics_frame import TopicsFrame
from lambdas.subscriptions.subscription_status import send_to_viewers

# What the function behind $connect may take.
HANDSHAKE_SECONDS = 5


class Queue(Client):
    """A queue's client that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []

    def call(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a message."""
        assert action == "SendMessage"
        self.sent.append(parameters)
        return {}


def test_a_frame_comes_again_when_nobody_can_connect_any_more_with_a_ticket_from_before_it() -> None:
    queue = Queue()
    frame = TopicsFrame("1337", [], 7)
    send_to_viewers(queue, "https://queue", frame)
    bodies = [json.loads(sent["MessageBody"]) for sent in queue.sent]
    assert bodies == [{"type": "topics", "streamer_id": "1337", "topics": [], "version": 7}] * 2
    soon, late = (sent["DelaySeconds"] for sent in queue.sent)
    assert soon <= 2
    assert late > tickets.LIFETIME.total_seconds() + HANDSHAKE_SECONDS
