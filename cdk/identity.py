"""Identity: viewers sign in at Twitch, through Cognito or by a function of ours (the setting ``sign_in``).

Both constructs offer the same: ``serve`` completes them when the site's address is known, ``protects`` makes
sure that only viewers reach a function's routes, ``configuration`` is what the site has to know. Both are in
the stack that a release replaces: when the setting is changed, one goes and the other comes.
"""

import json

from aws_cdk import CfnParameter, Duration, RemovalPolicy, SecretValue, Stack
from aws_cdk import aws_apigatewayv2_authorizers as authorizers
from aws_cdk import aws_cognito as cognito
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from cdk.acknowledge import acknowledge
from cdk.function import Function
from cdk.http_api import HttpApi
from cdk.output import output
from cdk.packaging import SUBSCRIPTION_TYPES
from cdk.settings import TWITCH_SECRET_VERSION, Settings

# A provider has fixed scopes, and viewers are asked for none. Streamers, whose consent is needed for some
# subscription types, sign in through a second provider. Twitch keeps the consent for the app that both share.
PROVIDER = "Twitch"
STREAMER_PROVIDER = "TwitchStreamer"


class CognitoIdentity(Construct):
    """Cognito: pool and domain, Twitch as identity provider, the site's client, the API's authorizer."""

    paths: tuple[str, ...] = ()

    def __init__(self, scope: Construct, id_: str, settings: Settings) -> None:
        super().__init__(scope, id_)
        # It holds nothing that the next sign-in does not make again.
        pool = cognito.UserPool(
            self,
            "Users",
            user_pool_name=f"fanfare-{settings.stage}",
            self_sign_up_enabled=False,
            account_recovery=cognito.AccountRecovery.NONE,
            mfa=cognito.Mfa.OFF,
            removal_policy=RemovalPolicy.DESTROY,
        )
        acknowledge(
            pool,
            "COG1",
            "COG2",
            "COG8",
            because="There are no passwords that could be weak or stolen: viewers sign in at Twitch only.",
        )
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
        url = settings.addresses.identity.format(prefix=prefix, region=stack.region)
        self.connects_to = [url]
        self.configuration = {
            "kind": "cognito",
            "authority": settings.addresses.jwt_issuer.format(pool_id=pool.user_pool_id, region=stack.region),
            "domain": url,
            "provider": PROVIDER,
            "streamer_provider": STREAMER_PROVIDER,
        }
        output(self, "UserPoolId", pool.user_pool_id)
        output(self, "IdentityDomain", url)

    def serve(self, site_url: str, api: HttpApi) -> None:  # noqa: ARG002 -- as in TwitchIdentity
        """Add the public client of the site: authorization code, through Twitch only."""
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
        self.configuration["client_id"] = client.user_pool_client_id
        self._viewers = authorizers.HttpJwtAuthorizer(
            "ViewerAuthorizer", self.configuration["authority"], jwt_audience=[client.user_pool_client_id]
        )

    def protects(self, function: Function) -> authorizers.HttpJwtAuthorizer:
        """The authorizer of the function's routes, which admits the site's viewers."""
        function.add_environment("STREAMER_PROVIDER", STREAMER_PROVIDER)
        return self._viewers

    def tells_disconnections(self, reconciler: Function) -> None:
        """Nothing: tokens end by themselves, whatever happens at Twitch."""

    def ends_sessions(self, notices: Function) -> None:
        """Nothing, as above."""

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


class TwitchIdentity(Construct):
    """The function ``session`` and its table: a viewer's browser has a cookie (docs/adr/0031)."""

    paths = ("/api/session",)
    connects_to: tuple[str, ...] = ()

    def __init__(self, scope: Construct, id_: str, settings: Settings) -> None:
        super().__init__(scope, id_)
        self._settings = settings
        self._sessions = dynamodb.Table(
            self,
            "Sessions",
            table_name=f"fanfare-{settings.stage}-sessions",
            partition_key=dynamodb.Attribute(name="viewer_id", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="token_hash", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute="expires_at",
            removal_policy=RemovalPolicy.DESTROY,
        )
        acknowledge(self._sessions, "DDB3", because="Without their sessions viewers sign in again.")
        self.configuration = {"kind": "twitch"}

    def serve(self, site_url: str, api: HttpApi) -> None:
        """Add the function and its routes, for pages of the site only."""
        twitch = self._settings.twitch
        secret = secretsmanager.Secret.from_secret_name_v2(
            self, "TwitchSecret", self._settings.twitch_secret_name
        )
        self._site_url = site_url
        session = Function(
            self,
            "Session",
            self._settings,
            environment={
                "SESSIONS_TABLE": self._sessions.table_name,
                "SITE_URL": site_url,
                "STREAMER_SCOPES": " ".join(_consent_scopes()),
                "TWITCH_AUTH_URL": twitch.auth_url,
                "TWITCH_ISSUER": twitch.issuer,
                "TWITCH_SECRET_ARN": secret.secret_arn,
            },
            # Twitch is called twice.
            timeout=Duration.seconds(20),
            memory_mb=512,
        )
        actions = ("dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:Query")
        session.allow(*actions, on=self._sessions.table_arn)
        session.allow_reading(secret)
        self._through_cloudfront = api.through_cloudfront
        routes = (f"{method} {self.paths[0]}" for method in ("GET", "POST", "DELETE"))
        api.route_to(session, dict.fromkeys(routes, api.through_cloudfront))

    def protects(self, function: Function) -> authorizers.HttpLambdaAuthorizer:
        """Let the function see for itself whose session a request has that comes through CloudFront."""
        function.add_environment("SESSIONS_TABLE", self._sessions.table_name)
        function.add_environment("SITE_URL", self._site_url)
        function.allow("dynamodb:GetItem", "dynamodb:UpdateItem", on=self._sessions.table_arn)
        return self._through_cloudfront

    def tells_disconnections(self, reconciler: Function) -> None:
        """Let Twitch say when a viewer disconnects the application."""
        reconciler.add_environment("SESSIONS_TABLE", self._sessions.table_name)

    def ends_sessions(self, notices: Function) -> None:
        """Let the function end the sessions of a viewer who has disconnected the application."""
        notices.add_environment("SESSIONS_TABLE", self._sessions.table_name)
        notices.allow("dynamodb:DeleteItem", "dynamodb:Query", on=self._sessions.table_arn)


Identity = CognitoIdentity | TwitchIdentity
IDENTITIES: dict[str, type[CognitoIdentity | TwitchIdentity]] = {
    "cognito": CognitoIdentity,
    "twitch": TwitchIdentity,
}


def _consent_scopes() -> list[str]:
    """The scopes that the subscription types need, each once."""
    return sorted({found["scope"] for found in json.loads(SUBSCRIPTION_TYPES.read_text()) if found["scope"]})
