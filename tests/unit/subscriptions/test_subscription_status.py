"""Changed states reach those who are connected, and those who are about to connect."""

from lambdas.common import tickets
from lambdas.subscriptions.subscription_status import DELAYS_SECONDS

# What the function behind $connect may take.
HANDSHAKE_SECONDS = 5


def test_a_frame_comes_again_when_nobody_can_connect_any_more_with_a_ticket_from_before_it() -> None:
    soon, late = DELAYS_SECONDS
    assert soon <= 2
    assert late > tickets.LIFETIME.total_seconds() + HANDSHAKE_SECONDS
