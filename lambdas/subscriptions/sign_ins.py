"""Who asks: a viewer who has signed in, in either of the two ways (the setting ``sign_in``)."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from lambdas.common.aws import Client
from lambdas.common.sessions import SessionsTable, SignIn, token_of
from lambdas.subscriptions.subscription_types import SCOPES


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignInSettings:
    """The environment variables: the first with Cognito, the other two without it."""

    streamer_provider: str = ""
    sessions_table: str = ""
    site_url: str = ""


class SignIns:
    """The sign-ins behind requests to the HTTP API."""

    def __init__(self, settings: SignInSettings, client: Client) -> None:
        self._settings = settings
        self._sessions = SessionsTable(client, settings.sessions_table) if settings.sessions_table else None

    def find(self, request: Mapping[str, Any]) -> SignIn | None:
        """Who has sent the request (payload 2.0), if they have signed in."""
        if self._sessions is None:
            return sign_in_of(
                request["requestContext"]["authorizer"]["jwt"]["claims"], self._settings.streamer_provider
            )
        return self._sessions.find(token_of(request, self._settings.site_url), int(time.time()))


def sign_in_of(claims: Mapping[str, str], streamer_provider: str) -> SignIn:
    """The sign-in that Cognito's access token is about.

    A federated user's name is ``<provider>_<sub>``, where ``sub`` is the Twitch user id. The streamers'
    provider asks for all scopes.
    https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-identity-federation.html
    """
    provider, _, user_id = claims["username"].rpartition("_")
    # Pools that ignore case keep names in lower case.
    scopes = SCOPES if provider.lower() == streamer_provider.lower() else frozenset()
    return SignIn(user_id, int(claims["auth_time"]), scopes)
