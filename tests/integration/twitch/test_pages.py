"""The pages of the simulated Twitch: the stand-ins that are embedded, and the control page."""

import pytest

from tests.integration.twitch.support import Twitch


@pytest.mark.parametrize("path", ["/player/?channel=alice&", "/embed/alice/chat?"])
async def test_a_stand_in_may_be_framed_by_its_parent_only(twitch: Twitch, path: str) -> None:
    page = await twitch.request("GET", f"{path}parent=abc.cloudfront.localhost")
    assert page.status == 200
    assert page.headers["Content-Security-Policy"] == (
        "frame-ancestors http://abc.cloudfront.localhost:* https://abc.cloudfront.localhost:*"
    )
    assert "X-Frame-Options" not in page.headers
    assert "alice" in page.text
    assert "stand-in" in page.text


@pytest.mark.parametrize(
    "path",
    [
        "/player/?channel=alice",
        "/player/?channel=alice&parent=a%0d%0aSet-Cookie:x",
        "/player/?parent=localhost",
        "/player/?channel=%3Cscript%3E&parent=localhost",
        "/embed/%3Cscript%3E/chat?parent=localhost",
        "/embed/alice/chat",
    ],
)
async def test_a_stand_in_needs_a_channel_and_a_parent(twitch: Twitch, path: str) -> None:
    answer = await twitch.request("GET", path)
    assert answer.status == 400
    assert "<script>" not in answer.text


async def test_the_control_page_is_served(twitch: Twitch) -> None:
    page = await twitch.request("GET", "/")
    assert page.status == 200
    assert "/simulator/state" in page.text
