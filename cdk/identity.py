"""Identity: viewers sign in with Twitch; Cognito turns that into tokens that the HTTP API checks."""

import json
from typing import Any

from aws_cdk import CfnParameter, Duration, RemovalPolicy, SecretValue, Stack
from aws_cdk import aws_apigatewayv2_authorizers as authorizers
from aws_cdk import aws_cognito as cognito
from constructs import Construct

from cdk.acknowledge import acknowledge
from cdk.output import output
from cdk.packaging import SUBSCRIPTION_TYPES
from cdk.settings import TWITCH_SECRET_VERSION, Settings

# A provider has fixed scopes, and viewers are asked for none. Streamers, whose consent is needed for some
# subscription types, sign in through a second provider. Twitch keeps the consent for the app that both share.
PROVIDER = "Twitch"
STREAMER_PROVIDER = "TwitchStreamer"


def user_pool(scope: Construct, id_: str, settings: Settings) -> cognito.UserPool:
    """The pool of viewers, who can sign up only by signing in with Twitch."""
    pool = cognito.UserPool(
        scope,
        id_,
        user_pool_name=f"fanfare-{settings.stage}",
        self_sign_up_enabled=False,
        account_recovery=cognito.AccountRecovery.NONE,
        mfa=cognito.Mfa.OFF,
        deletion_protection=settings.retain_data,
        removal_policy=RemovalPolicy.RETAIN if settings.retain_data else RemovalPolicy.DESTROY,
    )
    acknowledge(
        pool,
        "COG1",
        "COG2",
        "COG8",
        because="There are no passwords here that could be weak or stolen: viewers sign in at Twitch only.",
    )
    return pool


class Identity(Construct):
    """The sign-in: domain, Twitch as identity provider, the site's public client, the API's authorizer."""

    def __init__(self, scope: Construct, id_: str, settings: Settings, *, pool: cognito.IUserPool) -> None:
        super().__init__(scope, id_)
        self._pool = pool
        stack = Stack.of(self)
        prefix = settings.identity_prefix(stack.account)
        cognito.UserPoolDomain(
            self, "Domain", user_pool=pool, cognito_domain=cognito.CognitoDomainOptions(domain_prefix=prefix)
        )
        self._settings = settings
        # CloudFormation reads a secret again only when the reference to it changes.
        self._secret_version = CfnParameter(
            stack,
            TWITCH_SECRET_VERSION,
            default="",
            description="Version of the secret with Twitch's credentials; the current one if empty",
        )
        self._providers = [
            self._provider(PROVIDER, ["openid"]),
            self._provider(STREAMER_PROVIDER, ["openid", *_consent_scopes()]),
        ]
        self.issuer = settings.addresses.jwt_issuer.format(pool_id=pool.user_pool_id, region=stack.region)
        self.url = settings.addresses.identity.format(prefix=prefix, region=stack.region)
        output(self, "UserPoolId", pool.user_pool_id)
        output(self, "IdentityDomain", self.url)

    def _provider(self, name: str, scopes: list[str]) -> cognito.UserPoolIdentityProviderOidc:
        twitch = self._settings.twitch
        return cognito.UserPoolIdentityProviderOidc(
            self,
            name,
            user_pool=self._pool,
            name=name,
            client_id=self._secret("client_id"),
            client_secret=self._secret("client_secret"),
            issuer_url=twitch.issuer,
            endpoints=cognito.OidcEndpoints(
                authorization=f"{twitch.auth_url}/authorize",
                token=f"{twitch.auth_url}/token",
                user_info=f"{twitch.auth_url}/userinfo",
                jwks_uri=f"{twitch.auth_url}/keys",
            ),
            attribute_request_method=cognito.OidcAttributeRequestMethod.GET,
            scopes=scopes,
        )

    def _secret(self, field: str) -> str:
        """A reference that CloudFormation resolves when it deploys: the value is not in the template."""
        return SecretValue.secrets_manager(
            self._settings.twitch_secret_name,
            json_field=field,
            version_id=self._secret_version.value_as_string,
        ).unsafe_unwrap()

    def add_client(self, site_url: str) -> cognito.UserPoolClient:
        """The public client of the site at ``site_url``: authorization code, through Twitch only."""
        client = cognito.UserPoolClient(
            self,
            "Site",
            user_pool=self._pool,
            generate_secret=False,
            auth_flows=cognito.AuthFlow(user=False),
            o_auth=cognito.OAuthSettings(
                # The site always uses PKCE; Cognito then requires it to the end of the sign-in.
                flows=cognito.OAuthFlows(authorization_code_grant=True),
                scopes=[cognito.OAuthScope.OPENID],
                callback_urls=[f"{site_url}/callback"],
                logout_urls=[f"{site_url}/"],
            ),
            supported_identity_providers=[
                cognito.UserPoolClientIdentityProvider.custom(name) for name in (PROVIDER, STREAMER_PROVIDER)
            ],
            prevent_user_existence_errors=True,
            enable_token_revocation=True,
            id_token_validity=Duration.hours(1),
            access_token_validity=Duration.hours(1),
            refresh_token_validity=Duration.days(30),
        )
        client.node.add_dependency(*self._providers)
        output(self, "UserPoolClientId", client.user_pool_client_id)
        return client

    def viewers(self, client: cognito.UserPoolClient) -> authorizers.HttpJwtAuthorizer:
        """Admits viewers who signed in through ``client``."""
        return authorizers.HttpJwtAuthorizer(
            "ViewerAuthorizer", self.issuer, jwt_audience=[client.user_pool_client_id]
        )

    def configuration(self, client: cognito.UserPoolClient) -> dict[str, Any]:
        """What the site has to know to sign viewers in through ``client``."""
        return {
            "authority": self.issuer,
            "client_id": client.user_pool_client_id,
            "domain": self.url,
            "provider": PROVIDER,
            "streamer_provider": STREAMER_PROVIDER,
        }


def _consent_scopes() -> list[str]:
    """The scopes that the subscription types need, each once."""
    return sorted({found["scope"] for found in json.loads(SUBSCRIPTION_TYPES.read_text()) if found["scope"]})
