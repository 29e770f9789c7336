"""Which channel has a login or an id: Twitch is asked once a day, and by one of all who want to know.

Who asks has a claim: an item of the table ``twitch`` with ``name`` "login/<login>" or "id/<id>",
``expires_at`` (epoch seconds) and ``nobody``, which is there once Twitch has said that there is no such
channel.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

from lambdas.common import dynamodb
from lambdas.common.aws import Client
from lambdas.subscriptions.channels import ChannelsTable, Resolution
from lambdas.subscriptions.helix import Helix, HelixError, TransientError, TwitchUnavailableError
from lambdas.subscriptions.model import Channel
from lambdas.subscriptions.points import URGENT

# Twitch does not give a login to somebody else until half a year after it was given up.
RESOLVED_SECONDS = 24 * 60 * 60
# Nobody else asks for so long after somebody began to, or after Twitch said that there is no such channel.
CLAIM_SECONDS, NOBODY_SECONDS = 5, 60
# How long, and how often, whoever does not ask looks for the answer.
WAIT_SECONDS, LOOK_SECONDS = 1.8, 0.2


class NoSuchChannelError(HelixError):
    """Twitch knows no channel with this login or id."""

    reason = "no_such_channel"

    def __init__(self) -> None:
        super().__init__("Twitch knows no such channel.")


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
        find = functools.partial(self._channels.find_by_login, login)
        return self._resolve(f"login/{login}", find, lambda: self._helix.get_user(login), now)

    def resolve_id(self, streamer_id: str, now: int) -> Resolution:
        """The channel with this id, whatever its login is now; otherwise as ``resolve``."""
        find = functools.partial(self._channels.find_by_id, streamer_id)
        return self._resolve(
            f"id/{streamer_id}", find, lambda: self._helix.get_user_by_id(streamer_id, rank=URGENT), now
        )

    def _resolve(
        self,
        name: str,
        find: Callable[[], Resolution | None],
        ask: Callable[[], Channel | None],
        now: int,
    ) -> Resolution:
        """What ``find`` finds in the table; if it is not of today, what ``ask`` hears from Twitch."""
        known = find()
        if known is not None and now - known.resolved_at < RESOLVED_SECONDS:
            return known
        if not self._claim(name, now):
            return known or self._wait(name, find)
        try:
            channel = ask()
        except TransientError:
            if known is None:
                raise
            return known
        if channel is None:
            self._nobody_has(name, now)
            raise NoSuchChannelError
        found = Resolution(channel, now)
        self._channels.record_watch(found, now)
        return found

    def _wait(self, name: str, find: Callable[[], Resolution | None]) -> Resolution:
        """Wait for the answer that somebody else has asked for."""
        for _ in range(round(WAIT_SECONDS / LOOK_SECONDS)):
            self._sleep(LOOK_SECONDS)
            if known := find():
                return known
            if self._has_nobody(name):
                raise NoSuchChannelError
        raise TwitchUnavailableError("Twitch has not been asked yet, or has not answered")

    def _claim(self, name: str, now: int) -> bool:
        """Whether nobody else has asked lately."""
        request = {
            **self._put(name, now + CLAIM_SECONDS),
            "ConditionExpression": "attribute_not_exists(expires_at) OR expires_at <= :now",
            "ExpressionAttributeValues": {":now": {"N": str(now)}},
        }
        return dynamodb.write_if(self._client, "PutItem", request)

    def _nobody_has(self, name: str, now: int) -> None:
        request = self._put(name, now + NOBODY_SECONDS)
        request["Item"]["nobody"] = {"BOOL": True}
        self._client.call("PutItem", request)

    def _has_nobody(self, name: str) -> bool:
        request = {"TableName": self._table, "Key": _key(name), "ConsistentRead": True}
        return "nobody" in self._client.call("GetItem", request).get("Item", {})

    def _put(self, name: str, expires_at: int) -> dict[str, Any]:
        return {"TableName": self._table, "Item": {**_key(name), "expires_at": {"N": str(expires_at)}}}


def _key(name: str) -> dict[str, dict[str, str]]:
    return {"name": {"S": name}}
