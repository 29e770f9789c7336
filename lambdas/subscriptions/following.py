"""Which channel a viewer asks for, if they may follow one more."""

import dataclasses
import math
from datetime import datetime, timedelta

from lambdas.common import tickets
from lambdas.common.aws import Client
from lambdas.common.observability import logger
from lambdas.common.viewers import ViewersTable
from lambdas.subscriptions.channels import ChannelsTable, Resolution
from lambdas.subscriptions.logins import NOBODY_SECONDS, Logins, NoSuchChannelError
from lambdas.subscriptions.subscriber_factory import TwitchSettings, make_helix


class TooManyChannelsError(Exception):
    """The viewer follows as many channels as they may; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class FollowingSettings(TwitchSettings):
    """The environment variables, with what the infrastructure calls them in capitals."""

    channels_table: str
    viewers_table: str
    channels_per_viewer: int
    grace_period_seconds: int


class Following:
    """Finds channels for viewers, each of whom may follow ``channels_per_viewer`` at once.

    What a viewer asks for counts before Twitch is asked: nobody can make Twitch be asked for many.
    """

    def __init__(self, settings: FollowingSettings, client: Client) -> None:
        self._viewers = ViewersTable(client, settings.viewers_table)
        channels = ChannelsTable(client, settings.channels_table)
        self._logins = Logins(make_helix(settings, client), channels, client, settings.twitch_table)
        self._most = settings.channels_per_viewer
        # A channel stays subscribed for so long after a watch, and a ticket opens a connection.
        self._keep = max(timedelta(seconds=settings.grace_period_seconds), tickets.LIFETIME)

    def find(
        self, viewer_id: str, login: str, now: datetime, *, streamer_id: str | None = None
    ) -> Resolution:
        """The channel that has this login, or that has ``streamer_id``, whatever its login is now.

        It counts as followed, under ``login``. Raises TooManyChannelsError, NoSuchChannelError,
        TransientError.
        """
        if not self._viewers.follow(viewer_id, login, most=self._most, now=now, keep=self._keep):
            logger.warning("The viewer follows too many channels", extra={"viewer": viewer_id})
            minutes = math.ceil(self._keep / timedelta(minutes=1))
            raise TooManyChannelsError(
                f"You follow {self._most} channels already, which is the most. Close one, and wait: "
                f"a channel counts for {minutes} minutes after it was opened."
            )
        seconds = int(now.timestamp())
        try:
            if streamer_id is not None:
                return self._logins.resolve_id(streamer_id, seconds)
            return self._logins.resolve(login, seconds)
        except NoSuchChannelError:
            # It counts for as long as Twitch is not asked again.
            self._viewers.follow_until(viewer_id, login, now + timedelta(seconds=NOBODY_SECONDS))
            raise
