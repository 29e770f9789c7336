"""`make prove-sign-in`: it says whether Cognito takes Twitch's answer, and leaves nothing behind."""

import json
import threading
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import urllib3

from ops.checks import Failure
from ops.prove_sign_in import prove
from ops.stage_settings import settings_of
from tests.integration.ops.fake_account import FakeAccount

ACCOUNT = "123456789012"


@pytest.fixture
def account() -> FakeAccount:
    """One in which a pool can be made, to which nobody has signed in."""
    return FakeAccount(
        {
            "GetCallerIdentity": {"Account": ACCOUNT},
            "GetSecretValue": {
                "SecretString": json.dumps({"client_id": "client", "client_secret": "secret"})
            },
            "CreateUserPool": {"UserPool": {"Id": "pool_1"}},
            "CreateUserPoolDomain": {},
            "CreateIdentityProvider": {},
            "CreateUserPoolClient": {"UserPoolClient": {"ClientId": "site"}},
            "ListUsers": {"Users": []},
            "DeleteUserPoolDomain": {},
            "DeleteUserPool": {},
        }
    )


def deleted(account: FakeAccount) -> list[str]:
    return [name for name, _ in account.calls if name.startswith("Delete")]


def answered_by_cognito(said: list[str], **query: str) -> None:
    """What the browser does at the end of the sign-in: it comes back to the command."""
    (authorize,) = (line for text in said for line in text.split() if "/oauth2/authorize?" in line)
    (callback,) = parse_qs(urlsplit(authorize).query)["redirect_uri"]
    address = urlsplit(callback)._replace(
        netloc=f"127.0.0.1:{urlsplit(callback).port}", query=urlencode(query)
    )
    urllib3.PoolManager().request("GET", address.geturl())


def test_a_user_in_the_pool_is_the_proof(account: FakeAccount) -> None:
    account.answers["ListUsers"] = {"Users": [{"Username": "Twitch_42"}]}
    said: list[str] = []
    assert "it has made the user Twitch_42" in prove(account, settings_of("prod"), say=said.append)
    # To be registered at Twitch: not the stage's own, which may be deployed already.
    assert (
        f"https://fanfare-prod-{ACCOUNT}-proof.auth.us-east-1.amazoncognito.com/oauth2/idpresponse"
        in "".join(said)
    )
    assert deleted(account) == ["DeleteUserPoolDomain", "DeleteUserPool"]


def test_cognitos_refusal_is_told_with_what_to_do(account: FakeAccount) -> None:
    said: list[str] = []
    browsers: list[threading.Thread] = []

    def say(text: str) -> None:
        said.append(text)
        if "/oauth2/authorize?" in text:
            refusal = {"error": "invalid_request", "error_description": "Error in token exchange"}
            browsers.append(threading.Thread(target=answered_by_cognito, args=(said,), kwargs=refusal))
            browsers[0].start()

    with pytest.raises(Failure, match=r"Error in token exchange.*docs/deploying\.md"):
        prove(account, settings_of("prod"), say=say)
    browsers[0].join()
    assert deleted(account) == ["DeleteUserPoolDomain", "DeleteUserPool"]


def test_it_ends_if_nobody_signs_in(account: FakeAccount) -> None:
    with pytest.raises(Failure, match="nobody has signed in"):
        prove(account, settings_of("prod"), within=0, say=lambda text: None)
    assert deleted(account) == ["DeleteUserPoolDomain", "DeleteUserPool"]


def test_what_was_made_is_deleted_if_the_rest_cannot_be_made(account: FakeAccount) -> None:
    account.answers["CreateIdentityProvider"] = "InvalidParameterException"
    with pytest.raises(Exception, match="InvalidParameterException"):
        prove(account, settings_of("prod"), say=lambda text: None)
    assert deleted(account) == ["DeleteUserPoolDomain", "DeleteUserPool"]


def test_the_provider_is_as_the_stages_will_be(account: FakeAccount) -> None:
    account.answers["ListUsers"] = {"Users": [{"Username": "Twitch_42"}]}
    prove(account, settings_of("prod"), say=lambda text: None)
    (request,) = (given for name, given in account.calls if name == "CreateIdentityProvider")
    twitch = "https://id.twitch.tv/oauth2"
    # As in tests/infrastructure/identity.
    assert request["ProviderDetails"] == {
        "client_id": "client",
        "client_secret": "secret",
        "authorize_scopes": "openid",
        "attributes_request_method": "GET",
        "oidc_issuer": twitch,
        "authorize_url": f"{twitch}/authorize",
        "token_url": f"{twitch}/token",
        "attributes_url": f"{twitch}/userinfo",
        "jwks_uri": f"{twitch}/keys",
    }
