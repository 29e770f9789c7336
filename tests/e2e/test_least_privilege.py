"""The functions need their grants: the emulator enforces IAM.

Each case removes one grant from a deployed role, expects the function to fail, and puts the grant back.
"""

import contextlib
import secrets
from collections.abc import Callable

import pytest
from websockets.exceptions import InvalidStatus

from tests.e2e.clients import Cloud, Viewer, connect_with_ticket, eventually, receive
from tests.e2e.grants import without_grant


def webhook_publishes(cloud: Cloud, viewer: Viewer) -> bool:
    (delivery,) = cloud.simulate("channel.update", "granted_channel")
    return bool(delivery["status"] == 204)


def watch_issues_tickets(cloud: Cloud, viewer: Viewer) -> bool:
    return viewer.watch("granted_channel").status == 200


def watch_begins_a_channel(cloud: Cloud, viewer: Viewer) -> bool:
    """A channel that was watched within the last minute is not written again."""
    return viewer.watch(f"begun_{secrets.token_hex(4)}").status == 200


def a_ticket_opens_a_connection(cloud: Cloud, viewer: Viewer) -> bool:
    watched = viewer.until_watched("granted_channel")
    try:
        with connect_with_ticket(watched["websocket_url"], watched["ticket"]):
            return True
    except InvalidStatus:
        return False


def the_oldest_connection_gives_way(cloud: Cloud, viewer: Viewer) -> bool:
    with contextlib.ExitStack() as stack:
        oldest, *_ = [stack.enter_context(viewer.connect("granted_channel")) for _ in range(6)]
        with contextlib.suppress(TimeoutError):
            while receive(oldest, 2).get("code") != "too_many_connections":
                pass
            return True
    return False


def an_event_reaches_its_viewer(cloud: Cloud, viewer: Viewer) -> bool:
    """Wait until the event arrives, or the broadcaster logs an error."""
    errors = broadcaster_errors(cloud)
    with viewer.connect("granted_channel") as connection:
        sent = cloud.simulate("channel.update", "granted_channel")[0]["message_id"]
        received: list[str] = []

        def arrived_or_failed() -> bool:
            with contextlib.suppress(TimeoutError):
                received.extend(event["id"] for event in receive(connection, 0.5).get("events", []))
            return sent in received or broadcaster_errors(cloud) > errors

        eventually("the event arrives or the broadcaster fails", arrived_or_failed)
    return sent in received


def broadcaster_errors(cloud: Cloud) -> int:
    """How many errors the broadcaster has logged."""
    logs = cloud.aws("logs").get_paginator("filter_log_events")
    pages = logs.paginate(logGroupName="/aws/lambda/fanfare-local-broadcaster")
    return sum('"level":"ERROR"' in event["message"] for page in pages for event in page["events"])


@pytest.mark.parametrize(
    ("function", "action", "works"),
    [
        ("webhook", "sns:Publish", webhook_publishes),
        ("watch", "dynamodb:PutItem", watch_issues_tickets),
        ("watch", "dynamodb:UpdateItem", watch_begins_a_channel),
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
    viewer.until_watched("granted_channel")
    cloud.until_subscribed("granted_channel")
    eventually("it works with the grant", lambda: works(cloud, viewer))
    with without_grant(cloud, function, action):
        assert not works(cloud, viewer)
    eventually("it works again", lambda: works(cloud, viewer))
