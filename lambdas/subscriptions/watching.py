"""A viewer watches a channel: note it, and ask for the subscriptions that the channel lacks."""

import dataclasses
from collections.abc import Callable, Mapping

from lambdas.common.observability import logger
from lambdas.subscriptions.channels import ChannelsTable, Resolution
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.model import Grant
from lambdas.subscriptions.plan import apply_consent, needs_verification, to_create
from lambdas.subscriptions.requests import Request, Requests
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES, SubscriptionState


@dataclasses.dataclass(frozen=True, slots=True)
class WatchResult:
    """The states of a channel's subscriptions, by type key, as they are since ``revision``."""

    states: Mapping[str, SubscriptionState]
    revision: int


@dataclasses.dataclass(frozen=True, slots=True)
class Watching:
    """Notes who watches, in ``table``, and asks for subscriptions. Twitch is not called here."""

    table: ChannelsTable
    grants: GrantsTable
    requests: Requests

    def watch(
        self, resolution: Resolution, grant: Grant | None, may_try: Callable[[], bool], now: int
    ) -> WatchResult:
        """Note the watch (``now`` is in epoch seconds), and return what is known of the channel.

        ``grant`` is what the viewer, having signed in as a streamer, has granted. On a channel of their own
        that is proven, and kept. Elsewhere they may be a moderator: that is tried, if ``may_try`` says so,
        and kept if it works.
        """
        streamer_id = resolution.channel.id
        record = self.table.record_watch(resolution, now)
        is_own = grant is not None and grant.grantor_id == streamer_id
        if grant is not None and is_own and self.grants.record(streamer_id, grant):
            logger.info("A grant was given", extra={"channel": streamer_id, "grantor": grant.grantor_id})
        grants = self.grants.for_channel(streamer_id)
        states = apply_consent(record.states, streamer_id, grants)
        request = Request(streamer_id)
        if needs_verification(record.states, record.verified_at, now) or any(
            to_create(states, streamer_id, grants, now)
        ):
            self.requests.ask(record, request, now)
        if grant is not None and not is_own and _lacks_a_moderator(states) and may_try():
            self.requests.send(dataclasses.replace(request, moderator=grant))
        return WatchResult(states, record.revision)


def _lacks_a_moderator(states: Mapping[str, SubscriptionState]) -> bool:
    return any(not states[row.key].live for row in SUBSCRIPTION_TYPES if row.consent == "moderator")
