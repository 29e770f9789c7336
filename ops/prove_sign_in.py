"""``make prove-sign-in STAGE=…``: does Cognito take Twitch's answers? Asked before anything is deployed.

Twitch answers with ``scope`` as a JSON array, where RFC 6749 wants a string. A user pool with Twitch as its
provider is made, somebody signs in to it, and it is deleted again.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from cdk.settings import DEFAULT_STAGE, Settings, SettingsError
from ops.account import Account
from ops.checks import Failure
from ops.stage_settings import session, settings_of
from ops.twitch_secret import twitch_secret

PROVIDER = "Twitch"
WITHIN_SECONDS = 600.0
REFUSED = (
    "Cognito does not take Twitch's answer: {reason}. Nobody could sign in, so do not deploy the stage as it "
    "is: see docs/deploying.md, *If Cognito refuses Twitch's answer*."
)


class Proof(NamedTuple):
    """A user pool that exists for one sign-in."""

    pool: str
    authorize: str
    """Where the sign-in begins."""
    redirect: str
    """What the application at Twitch must list as a redirect URL."""


class Callback(HTTPServer):
    """Where Cognito sends the browser after the sign-in, with a code or with an error."""

    answer: dict[str, str] | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Callback)
        self.timeout = 1
        # Of all addresses without TLS Cognito allows this name only.
        self.url = f"http://localhost:{self.server_port}/"


class _Callback(BaseHTTPRequestHandler):
    server: Callback

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        if {"code", "error"} & query.keys():
            self.server.answer = query
        body = b"The result is in the terminal; this page can be closed.\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: the terminal is for the result."""


def main(arguments: list[str]) -> int:
    """Prove it for a stage, with a settings file if one is named; returns the exit code."""
    stage, *files = arguments or [DEFAULT_STAGE]
    try:
        settings = settings_of(stage, next(iter(files), None))
        print(f"✓ {prove(Account(session(settings.region)), settings)}")
    except (SettingsError, Failure, BotoCoreError, ClientError) as error:
        print(f"✗ {error}")
        return 1
    return 0


def prove(
    account: Account,
    settings: Settings,
    *,
    within: float = WITHIN_SECONDS,
    say: Callable[[str], None] = print,
) -> str:
    """Make the pool, tell by ``say`` what to open, wait for the sign-in, and delete the pool.

    Returns what was proven. Raises Failure if Cognito refused, or if nobody signed in ``within`` seconds.
    """
    with Callback() as callback, _pool(account, settings, callback.url) as proof:
        say(f"1. At Twitch, add this to the application's redirect URLs:\n     {proof.redirect}")
        say(f"2. Open this and sign in at Twitch:\n     {proof.authorize}")
        say(f"Waiting for {within / 60:.0f} minutes; Ctrl-C ends it, and everything is deleted again.")
        ends = time.monotonic() + within
        while time.monotonic() < ends:
            # Also without the browser's answer, which may be on another machine.
            if user := _user(account, proof.pool):
                return f"Cognito takes Twitch's answer: it has made the user {user}"
            callback.handle_request()
            if callback.answer and (error := callback.answer.get("error")):
                reason = callback.answer.get("error_description", error)
                raise Failure(REFUSED.format(reason=reason))
    raise Failure(
        f"nobody has signed in within {within / 60:.0f} minutes. If the browser shows an error of Twitch's, "
        "compare the redirect URL; if it shows one of Cognito's, it says what Cognito does not take."
    )


@contextmanager
def _pool(account: Account, settings: Settings, callback: str) -> Iterator[Proof]:
    """A pool with Twitch as its provider, set up as the stage's own will be; deleted at the end."""
    cognito, secret = account.client("cognito-idp"), twitch_secret(account, settings)
    prefix = f"{settings.identity_prefix(account.identity()['Account'])}-proof"
    base = settings.addresses.identity.format(prefix=prefix, region=account.region)
    twitch = settings.twitch
    pool = cognito.create_user_pool(
        PoolName=prefix, AdminCreateUserConfig={"AllowAdminCreateUserOnly": True}
    )["UserPool"]["Id"]
    try:
        cognito.create_user_pool_domain(UserPoolId=pool, Domain=prefix)
        cognito.create_identity_provider(
            UserPoolId=pool,
            ProviderName=PROVIDER,
            ProviderType="OIDC",
            ProviderDetails={
                **secret,
                "authorize_scopes": "openid",
                "attributes_request_method": "GET",
                "oidc_issuer": twitch.issuer,
                "authorize_url": f"{twitch.auth_url}/authorize",
                "token_url": f"{twitch.auth_url}/token",
                "attributes_url": f"{twitch.auth_url}/userinfo",
                "jwks_uri": f"{twitch.auth_url}/keys",
            },
        )
        client = cognito.create_user_pool_client(
            UserPoolId=pool,
            ClientName="proof",
            SupportedIdentityProviders=[PROVIDER],
            AllowedOAuthFlows=["code"],
            AllowedOAuthScopes=["openid"],
            AllowedOAuthFlowsUserPoolClient=True,
            CallbackURLs=[callback],
        )["UserPoolClient"]["ClientId"]
        query = {
            "identity_provider": PROVIDER,
            "client_id": client,
            "response_type": "code",
            "scope": "openid",
            "redirect_uri": callback,
        }
        yield Proof(pool, f"{base}/oauth2/authorize?{urlencode(query)}", f"{base}/oauth2/idpresponse")
    finally:
        # A pool with a domain cannot be deleted.
        with suppress(ClientError):
            cognito.delete_user_pool_domain(UserPoolId=pool, Domain=prefix)
        cognito.delete_user_pool(UserPoolId=pool)


def _user(account: Account, pool: str) -> str | None:
    users = account.client("cognito-idp").list_users(UserPoolId=pool, Limit=1)["Users"]
    return str(users[0]["Username"]) if users else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
