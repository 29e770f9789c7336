"""Which channel a login belongs to: Twitch is asked once a day, and by one of all who want to know.

Who asks has a claim: an item of the table ``twitch`` with ``name`` "login/<login>", ``expires_at`` (epoch
seconds) and ``nobody``, which is there once Twitch has said that no channel has this login.
"""

import time
from collections.abc import Callable
from typing import Any

from lambdas.common import dynamodb
from lambdas.common.aws import Client
from lambdas.subscriptions.channels import ChannelsTable, Resolution
from lambdas.subscriptions.helix import Helix, NoSuchChannelError, TransientError, TwitchUnavailableError
from lambdas.subscriptions.points import URGENT

# Twitch does not give a login to somebody else until half a year after it was given up.
RESOLVED_SECONDS = 24 * 60 * 60
# Nobody else asks for so long after somebody began to, or after Twitch said that there is no such channel.
CLAIM_SECONDS, NOBODY_SECONDS = 5, 60
# How long, and how often, whoever does not ask looks for the answer.
WAIT_SECONDS, LOOK_SECONDS = 1.8, 0.2


class Logins:
    """Finds channels in ``channels``, or at Twitch."""

    def __init__(
        self,
        helix: Helix,
        channels: ChannelsTable,
        client: Client,
        table: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._helix = helix
        self._channels = channels
        self._client = client
        self._table = table
        self._sleep = sleep

    def resolve(self, login: str, now: int) -> Resolution:
        """The channel that has this login; from the table if Twitch has said so within a day.

        If Twitch does not answer, an older entry is used. Raises NoSuchChannelError, TransientError.
        """
        known = self._channels.find_by_login(login)
        if known is not None and now - known.resolved_at < RESOLVED_SECONDS:
            return known
        if not self._claim(login, now):
            return known or self._wait(login)
        try:
            found = Resolution(self._helix.get_user(login), now)
        except NoSuchChannelError:
            self._nobody_has(login, now)
            raise
        except TransientError:
            if known is None:
                raise
            return known
        self._channels.record_watch(found, now)
        return found

    def resolve_id(self, streamer_id: str, now: int) -> Resolution:
        """The channel with this id, whatever its login is now; otherwise as ``resolve``."""
        known = self._channels.find_by_id(streamer_id)
        if known is not None and now - known.resolved_at < RESOLVED_SECONDS:
            return known
        try:
            channel = self._helix.get_user_by_id(streamer_id, rank=URGENT)
        except TransientError:
            if known is None:
                raise
            return known
        if channel is None:
            raise NoSuchChannelError("Twitch does not know this channel any more.")
        return Resolution(channel, now)

    def _wait(self, login: str) -> Resolution:
        """Wait for the answer that somebody else has asked for."""
        for _ in range(round(WAIT_SECONDS / LOOK_SECONDS)):
            self._sleep(LOOK_SECONDS)
            if known := self._channels.find_by_login(login):
                return known
            if self._has_nobody(login):
                raise NoSuchChannelError(f"Twitch knows no channel {login!r}.")
        raise TwitchUnavailableError("Twitch has not been asked yet, or has not answered")

    def _claim(self, login: str, now: int) -> bool:
        """Whether nobody else has asked lately."""
        request = {
            **self._put(login, now + CLAIM_SECONDS),
            "ConditionExpression": "attribute_not_exists(expires_at) OR expires_at <= :now",
            "ExpressionAttributeValues": {":now": {"N": str(now)}},
        }
        return dynamodb.write_if(self._client, "PutItem", request)

    def _nobody_has(self, login: str, now: int) -> None:
        request = self._put(login, now + NOBODY_SECONDS)
        request["Item"]["nobody"] = {"BOOL": True}
        self._client.call("PutItem", request)

    def _has_nobody(self, login: str) -> bool:
        request = {"TableName": self._table, "Key": _key(login), "ConsistentRead": True}
        return "nobody" in self._client.call("GetItem", request).get("Item", {})

    def _put(self, login: str, expires_at: int) -> dict[str, Any]:
        return {"TableName": self._table, "Item": {**_key(login), "expires_at": {"N": str(expires_at)}}}


def _key(login: str) -> dict[str, dict[str, str]]:
    return {"name": {"S": f"login/{login}"}}
