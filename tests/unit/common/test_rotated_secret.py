"""The webhook's secret while it is rotated."""

from collections.abc import Mapping
from typing import Any

import pytest

from lambdas.common.aws import AwsError, Client
from lambdas.common.rotated_secret import RotatedSecret, RotatedSecretSource


class SecretsManager(Client):
    """A secret's versions, the oldest first; it is rotated ``before_read`` number so much, counted from 0."""

    def __init__(self, *versions: str, before_read: int | None = None) -> None:
        self.versions = [*versions]
        self.reads = 0
        self._before_read = before_read

    def call(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Answer GetSecretValue."""
        assert (action, parameters["SecretId"]) == ("GetSecretValue", "an-arn")
        if self.reads == self._before_read:
            self.versions.append("new")
        self.reads += 1
        number = 2 if parameters.get("VersionStage") == "AWSPREVIOUS" else 1
        if len(self.versions) < number:
            raise AwsError(action, "ResourceNotFoundException", "there is no such version")
        version = self.versions[-number]
        return {"SecretString": f"the-{version}-secret", "VersionId": version}


NEW = RotatedSecret("the-new-secret", "the-old-secret", "new")


@pytest.mark.parametrize("before", [("old",), ("older", "old")], ids=["the first", "a later one"])
def test_a_rotation_between_the_two_reads_shows_both_versions(before: tuple[str, ...]) -> None:
    """Else, for as long as the answer is kept, subscriptions are made with the secret that is replaced."""
    assert RotatedSecretSource(SecretsManager(*before, before_read=1), "an-arn").get() == NEW


def test_a_secret_that_was_never_rotated_has_no_previous_version() -> None:
    secret = RotatedSecretSource(SecretsManager("old"), "an-arn").get()
    assert (secret, secret.accepted) == (RotatedSecret("the-old-secret", None, "old"), (b"the-old-secret",))


def test_a_secret_is_read_again_when_it_was_kept_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("lambdas.common.rotated_secret.time.monotonic", lambda: now[0])
    manager = SecretsManager("old")
    source = RotatedSecretSource(manager, "an-arn")
    source.get(60)
    manager.versions.append("new")
    now[0] = 60.0
    assert source.get(60).version == "old"
    now[0] = 60.1
    assert source.get(60) == NEW
