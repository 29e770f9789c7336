"""Who consents: a viewer who signed in through the provider that asks for a streamer's scopes."""

from collections.abc import Mapping

from lambdas.subscriptions.model import Grant
from lambdas.subscriptions.topics import SCOPES, TOPICS


def grant_of(claims: Mapping[str, str], provider: str, streamer_id: str) -> Grant | None:
    """What the token's owner has granted for the streamer's channel; None if they only came to watch.

    ``claims`` are those of Cognito's ID or access token, ``provider`` is the streamers' identity provider. A
    federated user's name is ``<provider>_<sub>``, where ``sub`` is the Twitch user id: both tokens have it,
    and API Gateway hands it over unchanged, unlike the ID token's list ``identities``.
    https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-identity-federation.html

    For somebody else's channel only a moderator's consent is worth trying.
    """
    name = claims.get("cognito:username") or claims.get("username", "")
    prefix, _, grantor_id = name.rpartition("_")
    # Pools that ignore case keep names in lower case.
    if prefix.lower() != provider.lower() or not grantor_id.isdecimal():
        return None
    moderated = frozenset(topic.scope for topic in TOPICS if topic.consent == "moderator" and topic.scope)
    scopes = SCOPES if grantor_id == streamer_id else moderated
    return Grant(grantor_id, int(claims["auth_time"]), scopes)
