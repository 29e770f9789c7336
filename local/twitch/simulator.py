"""The simulated Twitch without a network: its answers, its messages, and what can be made to happen.

``local.twitch.server`` serves it. Tests with many requests or a clock of their own use it directly, through
``benchmarks.in_process_twitch``.
"""

import collections
import time
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from multidict import CIMultiDict
from yarl import URL

from local.twitch.eventsub import EventSub
from local.twitch.example_events import Event, Scene
from local.twitch.helix import Helix
from local.twitch.messages import Message
from local.twitch.responses import RefusedError, Response, oauth_error
from local.twitch.settings import Clock, Settings
from local.twitch.state import (
    AUTHORIZATION_REVOKED,
    ENABLED,
    FAILURES_EXCEEDED,
    MODERATOR_REMOVED,
    PENDING,
    USER_REMOVED,
    VERIFICATION_FAILED,
    Lost,
    State,
    Subscription,
)
from local.twitch.subscription_types import MODERATOR, SUBSCRIPTION_TYPE_BY_NAME, SubscriptionType
from local.twitch.tokens import Tokens
from local.twitch.users import User

# The users who raid, follow and cheer, unless others are given.
VIEWERS = ("nightowl_nina", "pixelpaul", "chessmaster_cleo", "speedy_sam", "cozy_kim")
LOST_AS: Mapping[str, Lost] = {
    "webhook_callback_verification": "challenge",
    "notification": "notification",
    "revocation": "revocation",
}


class Simulator:
    """Twitch. Nothing happens by itself.

    Messages to callbacks wait until ``take_messages`` is called; the callbacks' answers are given to
    ``answered``. It must not be used from several threads at once.
    """

    def __init__(self, settings: Settings, clock: Clock = time.time_ns) -> None:
        self.settings = settings
        self.state = State(settings.max_total_cost)
        self.tokens = Tokens(settings, self.state, clock)
        self._clock = clock
        eventsub = EventSub(settings.client_id, self.state, clock, self._send)
        self._helix = Helix(settings, self.state, self.tokens, eventsub, clock)
        self._outbox: collections.deque[Message] = collections.deque()
        self._events_made = 0

    def answer(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> Response:
        """Answer a request to Helix or the token endpoint, without faults."""
        if url.path.startswith("/helix/"):
            path = url.path.removeprefix("/helix")
            return self._helix.answer(method, path, url.query, CIMultiDict(headers), body)
        if (method, url.path) == ("POST", "/oauth2/token"):
            # Twitch accepts the parameters in the body or in the query.
            given = {**url.query, **dict(parse_qsl(body.decode(errors="replace")))}
            try:
                return Response(200, self.tokens.issue(given))
            except RefusedError as error:
                return oauth_error(error)
        return Response(404)

    def refusal(self, status: int) -> Response:
        """The answer of a fault with this status."""
        body = {"error": "Injected fault", "status": status, "message": "added with /simulator/faults"}
        if status != 429:
            return Response(status, body)
        headers = {
            "Ratelimit-Limit": str(self.settings.rate_limit),
            "Ratelimit-Remaining": "0",
            "Ratelimit-Reset": str(self._clock() // 10**9 + 1),
        }
        return Response(status, body, headers)

    # -- messages to callbacks ---------------------------------------------------------------------

    def take_messages(self) -> list[Message]:
        """The messages to send, oldest first; each is returned once."""
        messages = list(self._outbox)
        self._outbox.clear()
        return messages

    def answered(self, message: Message, status: int | None, text: str = "", content_type: str = "") -> None:
        """Handle a callback's last answer to a message; ``status`` None is no answer.

        After too many failed notifications in a row, the subscription is revoked. Answers for a deleted
        subscription are ignored.
        """
        subscription = message.subscription
        if subscription.id not in self.state.subscriptions:
            return
        if message.challenge is not None:
            if subscription.status == PENDING:
                if message.is_confirmed_by(status, text, content_type):
                    subscription.status = ENABLED
                else:
                    self.state.end(subscription, VERIFICATION_FAILED, self._clock())
        elif message.type == "notification":
            failed = status is None or not 200 <= status < 300
            subscription.failures = subscription.failures + 1 if failed else 0
            too_many = subscription.failures >= self.settings.failures_before_revocation
            if subscription.status == ENABLED and too_many:
                self.revoke([subscription], FAILURES_EXCEEDED)

    def _send(self, message: Message) -> None:
        if not self.state.loses(LOST_AS[message.type]):
            self._outbox.append(message)

    # -- what can be made to happen ------------------------------------------------------------------

    def notify(
        self,
        subscription_type: SubscriptionType,
        channel: User,
        overrides: Mapping[str, Any],
        message_id: str | None = None,
    ) -> None:
        """Send an example event, with ``overrides``, to every enabled, matching subscription.

        A login in the overrides also sets the id and the name of that user. The channel of a raid is its
        target, or its source if the overrides name a target.
        """
        event = self._make_event(subscription_type, channel, overrides)
        named = {
            value for name, value in event.items() if name.endswith(("user_id", "broadcaster_id")) and value
        }
        naming = {entry.id: entry for user_id in named for entry in self.state.of_user(user_id)}
        for subscription in sorted(naming.values(), key=lambda entry: entry.number):
            if _matches(subscription, subscription_type, event):
                message = Message.notification(subscription, event, self._clock(), message_id)
                for _ in range(1 + self.state.duplicates()):
                    self._send(message)

    def revoke(self, subscriptions: Iterable[Subscription], reason: str) -> None:
        """End live subscriptions with the reason as their status, and send revocations."""
        for subscription in subscriptions:
            if subscription.live:
                self.state.end(subscription, reason, self._clock())
                self._send(Message.revocation(subscription, self._clock()))

    def disconnect(self, user: User) -> None:
        """The user disconnects the application, which is told; subscriptions that need their grant end.

        https://dev.twitch.tv/docs/eventsub/handling-webhook-events/#revoking-your-subscription
        """
        for subscription in self.state.of_user(self.settings.client_id):
            if subscription.status == "enabled":
                event = {"client_id": self.settings.client_id, **user.fields()}
                self._send(Message.notification(subscription, event, self._clock()))
        self.state.withdraw_grant(user.id)
        granted = [entry for entry in self.state.of_user(user.id) if entry.granted_by == user.id]
        self.revoke(granted, AUTHORIZATION_REVOKED)

    def set_moderators(self, channel: User, moderators: Collection[User]) -> None:
        """Set a channel's moderators; subscriptions that need the grant of a former moderator end."""
        ids = {moderator.id for moderator in moderators}
        self.state.moderators[channel.id] = ids
        self.revoke(
            [
                entry
                for entry in self.state.of_user(channel.id)
                if entry.condition.get(MODERATOR) not in (None, channel.id, *ids)
            ],
            MODERATOR_REMOVED,
        )

    def rename(self, user: User, login: str) -> User:
        """Change a user's login and send ``user.update``. Raises ValueError if it is malformed or taken."""
        renamed = self.state.users.rename(user, login)
        self.notify(SUBSCRIPTION_TYPE_BY_NAME["user.update"], renamed, {})
        return renamed

    def delete_user(self, user: User) -> None:
        """Delete a user: every subscription that names the user ends."""
        self.state.users.delete(user)
        self.state.withdraw_grant(user.id)
        self.revoke(self.state.of_user(user.id), USER_REMOVED)

    def _make_event(
        self, subscription_type: SubscriptionType, channel: User, overrides: Mapping[str, Any]
    ) -> Event:
        self._events_made += 1
        viewer = self.state.users.by_login(VIEWERS[self._events_made % len(VIEWERS)]) or channel
        now = datetime.fromtimestamp(self._clock() / 10**9, tz=UTC)
        target = {"to_broadcaster_user_login", "to_broadcaster_user_id"}
        if subscription_type.name == "channel.raid" and target & overrides.keys():
            scene = Scene(channel=viewer, viewer=channel, now=now)
        else:
            scene = Scene(channel=channel, viewer=viewer, now=now)
        event = subscription_type.make_event(scene)
        for name, value in overrides.items():
            prefix, is_login, _ = name.rpartition("user_login")
            user = self.state.users.by_login(value) if is_login and isinstance(value, str) else None
            if user is not None:
                event |= user.fields(prefix)
        if overrides.get("is_anonymous") is True:
            event |= dict.fromkeys(("user_id", "user_login", "user_name"))
        return event | dict(overrides)


def _matches(subscription: Subscription, subscription_type: SubscriptionType, event: Event) -> bool:
    """Whether the event matches the condition; the moderator in it is not part of the event.

    Some events of charity campaigns call the channel ``broadcaster_id``.
    """
    return (
        subscription.subscription_type is subscription_type
        and subscription.status == ENABLED
        and all(
            event.get(field, event.get(field.replace("_user", ""))) == value
            for field, value in subscription.condition.items()
            if value and field != MODERATOR
        )
    )
