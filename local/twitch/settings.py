"""The settings of the simulated Twitch."""

import dataclasses
from collections.abc import Callable

# Nanoseconds since the epoch, like time.time_ns: Twitch's timestamps have nanoseconds.
Clock = Callable[[], int]
# The environment variable with the client secret. Every user of the machine can read command lines.
CLIENT_SECRET = "FANFARE_TWITCH_CLIENT_SECRET"  # noqa: S105 (the variable's name)


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """One registered application, and the limits that Twitch would apply to it.

    ``base_url`` is the simulator's address without a trailing slash. ``cognito_callback_base`` replaces the
    domain of a Cognito user pool in redirect URIs, because an emulated pool has none. Times are in seconds.
    Twitch retries for longer than these delays. ``keepalive_seconds`` is the shortest interval, which clients
    of the WebSocket get that ask for none.
    """

    base_url: str
    client_id: str
    client_secret: str = dataclasses.field(repr=False)
    cognito_callback_base: str
    retry_delays: tuple[float, ...] = (0.5, 1.0, 2.0)
    delivery_timeout: float = 10.0
    failures_before_revocation: int = 10
    max_total_cost: int = 10_000
    rate_limit: int = 800
    keepalive_seconds: int = 10
    reconnect_seconds: float = 30.0

    @property
    def issuer(self) -> str:
        """The OIDC issuer, as it appears in ID tokens."""
        return f"{self.base_url}/oauth2"

    @property
    def socket_url(self) -> str:
        """The EventSub WebSocket."""
        return f"{self.base_url.replace('http', 'ws', 1)}/ws"
