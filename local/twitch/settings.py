"""What the simulated Twitch is told when it starts."""

import dataclasses
from collections.abc import Callable

# Nanoseconds since the epoch, like time.time_ns: Twitch's timestamps are that fine.
Clock = Callable[[], int]
# The variable with the client secret: everybody on the machine can read a command line.
CLIENT_SECRET = "FANFARE_TWITCH_CLIENT_SECRET"  # noqa: S105 (the variable's name)


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """One registered application, and the limits that Twitch would apply to it.

    ``base_url`` is where the simulator is reached, without a trailing slash; the OIDC issuer is
    ``<base_url>/oauth2``. Sign-ins that should return to a Cognito pool's domain return to
    ``cognito_callback_base`` instead, because nothing listens at the domain of an emulated pool.
    Times are in seconds; Twitch itself retries for longer than the delays given here.
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

    @property
    def issuer(self) -> str:
        """The OIDC issuer, as it appears in ID tokens."""
        return f"{self.base_url}/oauth2"
