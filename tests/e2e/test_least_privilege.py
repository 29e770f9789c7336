"""Every function may do what it does only because the app grants it: the emulator enforces IAM.

Each case takes one grant away from the deployed role, sees its path fail, gives it back and sees it work.
"""

import contextlib
import json
from collections.abc import Callable

import pytest
from websockets.exceptions import InvalidStatus

from tests.e2e.clients import Cloud, Viewer, connect_with_ticket, eventually
from tests.e2e.grants import without_grant


def webhook_publishes(cloud: Cloud, viewer: Viewer) -> bool:
    (delivery,) = cloud.simulate("channel.update", "granted_channel")
    return bool(delivery["status"] == 204)


def watch_issues_tickets(cloud: Cloud, viewer: Viewer) -> bool:
    return viewer.watch("granted_channel").status == 200


def a_ticket_opens_a_connection(cloud: Cloud, viewer: Viewer) -> bool:
    watched = viewer.watch("granted_channel").json()
    try:
        with connect_with_ticket(watched["websocket_url"], watched["ticket"]):
            return True
    except InvalidStatus:
        return False


def the_oldest_connection_gives_way(cloud: Cloud, viewer: Viewer) -> bool:
    with contextlib.ExitStack() as stack:
        oldest, *_ = [stack.enter_context(viewer.connect("granted_channel")) for _ in range(6)]
        with contextlib.suppress(TimeoutError):
            while json.loads(oldest.recv(2)).get("code") != "too_many_connections":
                pass
            return True
    return False


def an_event_reaches_its_viewer(cloud: Cloud, viewer: Viewer) -> bool:
    with viewer.connect("granted_channel") as connection:
        sent = cloud.simulate("channel.update", "granted_channel")[0]["message_id"]
        with contextlib.suppress(TimeoutError):
            while True:
                frame = json.loads(connection.recv(2))
                if sent in [event["id"] for event in frame.get("events", [])]:
                    return True
    return False


@pytest.mark.parametrize(
    ("function", "action", "works"),
    [
        ("webhook", "sns:Publish", webhook_publishes),
        ("watch", "dynamodb:PutItem", watch_issues_tickets),
        ("watch", "dynamodb:UpdateItem", watch_issues_tickets),
        ("authorizer", "dynamodb:DeleteItem", a_ticket_opens_a_connection),
        ("connection", "dynamodb:PutItem", a_ticket_opens_a_connection),
        ("connection", "execute-api:ManageConnections", the_oldest_connection_gives_way),
        ("broadcaster", "dynamodb:Query", an_event_reaches_its_viewer),
        ("broadcaster", "execute-api:ManageConnections", an_event_reaches_its_viewer),
    ],
)
def test_without_its_grant_a_function_fails(
    cloud: Cloud, viewer: Viewer, function: str, action: str, works: Callable[[Cloud, Viewer], bool]
) -> None:
    assert viewer.watch("granted_channel").status == 200
    cloud.until_subscribed("granted_channel")
    assert works(cloud, viewer), "with the grant it works"
    with without_grant(cloud, function, action):
        assert not works(cloud, viewer), "without it, it does not"
    eventually("given back, it works again", lambda: works(cloud, viewer))
