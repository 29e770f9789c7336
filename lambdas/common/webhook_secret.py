"""The secret that signs Twitch's deliveries, in its current and its previous version.

The secret of a subscription cannot be read from Twitch or changed. So after a rotation every subscription is
replaced, and until then the previous version is accepted, too. To see which version a subscription was made
with, the callback contains the version once there has been a rotation.
https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html#term_version
"""

import dataclasses
import math
import time

from lambdas.common.aws import AwsError, Client


@dataclasses.dataclass(frozen=True, slots=True)
class WebhookSecret:
    """``current`` signs new subscriptions; ``previous`` is None before the first rotation."""

    current: str = dataclasses.field(repr=False)
    previous: str | None = dataclasses.field(repr=False)
    version: str

    @property
    def accepted(self) -> tuple[bytes, ...]:
        """The versions that a delivery may be signed with."""
        versions = (self.current, self.previous)
        return tuple(version.encode() for version in versions if version is not None)

    def callback(self, webhook_url: str) -> str:
        """The callback of subscriptions that are made with the current version."""
        return webhook_url if self.previous is None else f"{webhook_url}?secret={self.version}"


class WebhookSecretSource:
    """Reads the secret ``arn`` from Secrets Manager and keeps it. A failure raises AwsError."""

    def __init__(self, client: Client, arn: str) -> None:
        self._client = client
        self._arn = arn
        self._kept: tuple[WebhookSecret, float] | None = None

    def get(self, max_age_seconds: float = math.inf) -> WebhookSecret:
        """The secret, read at most so long ago."""
        now = time.monotonic()
        if self._kept is None or now - self._kept[1] > max_age_seconds:
            self._kept = self._load(), now
        return self._kept[0]

    def _load(self) -> WebhookSecret:
        current = self._client.call("GetSecretValue", {"SecretId": self._arn})
        try:
            previous = self._client.call(
                "GetSecretValue", {"SecretId": self._arn, "VersionStage": "AWSPREVIOUS"}
            )
        except AwsError as error:
            if error.code != "ResourceNotFoundException":
                raise
            return WebhookSecret(current["SecretString"], None, current["VersionId"])
        return WebhookSecret(current["SecretString"], previous["SecretString"], current["VersionId"])
