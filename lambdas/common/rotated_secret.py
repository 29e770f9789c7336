"""A secret of Secrets Manager that may be rotated: its current and its previous version.

https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html#term_version
"""

import dataclasses
import math
import time

from lambdas.common.aws import AwsError, Client


@dataclasses.dataclass(frozen=True, slots=True)
class RotatedSecret:
    """``previous`` is None before the first rotation; ``version`` is the id of the current one."""

    current: str = dataclasses.field(repr=False)
    previous: str | None = dataclasses.field(repr=False)
    version: str

    @property
    def accepted(self) -> tuple[bytes, ...]:
        """The versions that a request may know."""
        versions = (self.current, self.previous)
        return tuple(version.encode() for version in versions if version is not None)


class RotatedSecretSource:
    """Reads the secret ``arn`` from Secrets Manager and keeps it. A failure raises AwsError."""

    def __init__(self, client: Client, arn: str) -> None:
        self._client = client
        self._arn = arn
        self._kept: tuple[RotatedSecret, float] | None = None

    def get(self, max_age_seconds: float = math.inf) -> RotatedSecret:
        """The secret, read at most so long ago."""
        now = time.monotonic()
        if self._kept is None or now - self._kept[1] > max_age_seconds:
            self._kept = self._load(), now
        return self._kept[0]

    def _load(self) -> RotatedSecret:
        current = self._client.call("GetSecretValue", {"SecretId": self._arn})
        try:
            previous = self._client.call(
                "GetSecretValue", {"SecretId": self._arn, "VersionStage": "AWSPREVIOUS"}
            )
        except AwsError as error:
            if error.code != "ResourceNotFoundException":
                raise
            return RotatedSecret(current["SecretString"], None, current["VersionId"])
        return RotatedSecret(current["SecretString"], previous["SecretString"], current["VersionId"])
