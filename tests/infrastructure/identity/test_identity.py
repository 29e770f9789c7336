"""Identity: viewers sign in with Twitch only."""

from tests.infrastructure.template import Stage


def test_nobody_signs_up_by_themselves(prod: Stage) -> None:
    pool = prod.resources["Users"].properties
    assert pool["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}
    assert "Schema" not in pool


def details(authorize_scopes: str) -> dict[str, str]:
    """What is said of Twitch in each of the two providers."""
    # With the version, since CloudFormation reads a secret again only when the reference to it changes.
    secret = (
        "{{{{resolve:secretsmanager:fanfare/prod/twitch:SecretString:{}::{{TwitchCredentialsVersion}}}}}}"
    )
    return {
        "client_id": secret.format("client_id"),
        "client_secret": secret.format("client_secret"),
        "authorize_scopes": authorize_scopes,
        "attributes_request_method": "GET",
        "oidc_issuer": "https://id.twitch.tv/oauth2",
        "authorize_url": "https://id.twitch.tv/oauth2/authorize",
        "token_url": "https://id.twitch.tv/oauth2/token",
        "attributes_url": "https://id.twitch.tv/oauth2/userinfo",
        "jwks_uri": "https://id.twitch.tv/oauth2/keys",
    }


def test_a_plain_viewer_is_asked_for_nothing_but_who_they_are(prod: Stage) -> None:
    provider = prod.resources["Identity/Twitch"].properties
    assert (provider["ProviderName"], provider["ProviderType"]) == ("Twitch", "OIDC")
    assert provider["ProviderDetails"] == details("openid")


def test_a_streamer_is_asked_by_the_same_app_for_what_the_topics_need(prod: Stage) -> None:
    provider = prod.resources["Identity/TwitchStreamer"].properties
    assert (provider["ProviderName"], provider["ProviderType"]) == ("TwitchStreamer", "OIDC")
    scopes = (
        "openid bits:read channel:read:ads channel:read:charity channel:read:goals "
        "channel:read:hype_train channel:read:polls "
        "channel:read:predictions channel:read:redemptions channel:read:subscriptions "
        "moderator:read:followers moderator:read:shoutouts"
    )
    assert provider["ProviderDetails"] == details(scopes)


def test_the_site_is_a_public_client_that_goes_through_twitch(prod: Stage) -> None:
    client = prod.resources["Identity/Site"].properties
    assert client["GenerateSecret"] is False
    assert client["SupportedIdentityProviders"] == ["Twitch", "TwitchStreamer"]
    assert client["AllowedOAuthFlows"] == ["code"]
    assert client["AllowedOAuthScopes"] == ["openid"]
    assert client["ExplicitAuthFlows"] == ["ALLOW_REFRESH_TOKEN_AUTH"]
    assert client["CallbackURLs"] == ["https://{Site/Distribution.DomainName}/callback"]
    assert client["LogoutURLs"] == ["https://{Site/Distribution.DomainName}/"]
    assert client["PreventUserExistenceErrors"] == "ENABLED"
    assert client["EnableTokenRevocation"] is True


def test_tokens_end(prod: Stage) -> None:
    client = prod.resources["Identity/Site"].properties
    assert set(client["TokenValidityUnits"].values()) == {"minutes"}
    assert client["AccessTokenValidity"] == client["IdTokenValidity"] == 60
    assert client["RefreshTokenValidity"] == 30 * 24 * 60


def test_the_client_waits_for_its_providers(prod: Stage) -> None:
    assert {"Identity/Twitch", "Identity/TwitchStreamer"} <= set(prod.resources["Identity/Site"].depends_on)


def test_the_sign_in_has_a_domain_that_no_other_account_claims(prod: Stage) -> None:
    assert prod.resources["Identity/Domain"].properties["Domain"] == "fanfare-prod-{AccountId}"
