"""The simulated Twitch as an OIDC provider, with Twitch's differences from the standard."""

from urllib.parse import parse_qs, urlsplit

import jwt
import pytest

from local.twitch.settings import Settings
from tests.integration.twitch.support import CLIENT_ID, Answer, Twitch

COGNITO = "https://fanfare.auth.eu-west-1.amazoncognito.com/oauth2/idpresponse"


def returned(answer: Answer) -> dict[str, str]:
    """The parameters with which the browser is redirected."""
    assert answer.status == 302, answer.text
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["Location"]).query).items()}


async def signed_in(twitch: Twitch, login: str, scopes: str = "openid", **parameters: str) -> Answer:
    """The token answer after a sign-in."""
    redirect_uri = "http://127.0.0.1:9/callback"
    back = returned(await twitch.authorize(login, scopes, redirect_uri=redirect_uri, **parameters))
    return await twitch.fetch_token(
        grant_type="authorization_code", code=back["code"], redirect_uri=redirect_uri
    )


async def claims_of(twitch: Twitch, id_token: str) -> dict[str, object]:
    """The claims of an ID token, its signature verified with the published keys."""
    keys = jwt.PyJWKSet.from_dict((await twitch.request("GET", "/oauth2/keys")).json)
    key = keys[jwt.get_unverified_header(id_token)["kid"]]
    claims: dict[str, object] = jwt.decode(
        id_token,
        key,
        algorithms=["RS256"],
        audience=CLIENT_ID,
        issuer=twitch.settings.issuer,
        # The simulator's clock is not the machine's.
        options={"verify_exp": False, "verify_iat": False},
    )
    return claims


async def test_discovery_names_the_issuer_and_its_endpoints(twitch: Twitch) -> None:
    document = (await twitch.request("GET", "/oauth2/.well-known/openid-configuration")).json
    issuer = f"{twitch.settings.base_url}/oauth2"
    assert document["issuer"] == issuer
    assert document["authorization_endpoint"] == f"{issuer}/authorize"
    assert document["token_endpoint"] == f"{issuer}/token"
    assert document["userinfo_endpoint"] == f"{issuer}/userinfo"
    assert document["jwks_uri"] == f"{issuer}/keys"
    assert document["token_endpoint_auth_methods_supported"] == ["client_secret_post"]


async def test_the_id_token_has_only_the_claims_that_are_certain(twitch: Twitch) -> None:
    answer = await signed_in(twitch, "alice")
    claims = await claims_of(twitch, answer.json["id_token"])
    assert claims.keys() == {"aud", "azp", "exp", "iat", "iss", "sub"}
    assert claims["sub"] == await twitch.user_id("alice")


async def test_a_nonce_comes_back_in_the_id_token(twitch: Twitch) -> None:
    answer = await signed_in(twitch, "alice", nonce="n-1")
    assert (await claims_of(twitch, answer.json["id_token"]))["nonce"] == "n-1"


async def test_the_granted_scopes_are_an_array(twitch: Twitch) -> None:
    answer = await signed_in(twitch, "alice", "openid bits:read")
    assert answer.json["scope"] == ["openid", "bits:read"]


async def test_no_id_token_without_the_openid_scope(twitch: Twitch) -> None:
    assert "id_token" not in (await signed_in(twitch, "alice", "bits:read")).json


async def test_userinfo_names_the_user_who_signed_in(twitch: Twitch) -> None:
    token = (await signed_in(twitch, "alice")).json["access_token"]
    answer = await twitch.request("GET", "/oauth2/userinfo", headers={"Authorization": f"Bearer {token}"})
    assert answer.json["sub"] == await twitch.user_id("alice")


async def test_a_token_can_be_validated(twitch: Twitch) -> None:
    async def validate(token: str) -> Answer:
        return await twitch.request("GET", "/oauth2/validate", headers={"Authorization": f"OAuth {token}"})

    apps = (await validate(twitch.token)).json
    assert (apps["client_id"], apps["scopes"], "user_id" in apps) == (CLIENT_ID, [], False)
    users = (await validate((await signed_in(twitch, "alice")).json["access_token"])).json
    assert (users["login"], users["scopes"]) == ("alice", ["openid"])
    assert (await validate("unknown")).status == 401


async def test_a_token_can_be_given_up_and_the_grant_stays(twitch: Twitch) -> None:
    async def revoke(token: str, client_id: str = CLIENT_ID) -> Answer:
        return await twitch.request("POST", "/oauth2/revoke", data={"client_id": client_id, "token": token})

    token = (await signed_in(twitch, "alice", "openid bits:read")).json["access_token"]
    assert (await revoke(token, "nobody")).status == 404
    assert [(await revoke(token)).status for _ in range(2)] == [200, 400]
    answer = await twitch.request("GET", "/oauth2/userinfo", headers={"Authorization": f"Bearer {token}"})
    assert answer.status == 401
    (grant,) = (await twitch.request("GET", "/simulator/state")).json["grants"]
    assert sorted(grant["scopes"]) == ["bits:read", "openid"]


async def test_userinfo_needs_a_users_token(twitch: Twitch) -> None:
    for token in (twitch.token, "unknown"):
        headers = {"Authorization": f"Bearer {token}"}
        assert (await twitch.request("GET", "/oauth2/userinfo", headers=headers)).status == 401


async def test_the_state_comes_back_unchanged(twitch: Twitch) -> None:
    state = "a+b/c=&d é"
    assert returned(await twitch.authorize("alice", state=state))["state"] == state


async def test_a_return_to_a_cognito_domain_goes_to_the_emulator(twitch: Twitch) -> None:
    answer = await twitch.authorize("alice", redirect_uri=COGNITO, state="s")
    target = urlsplit(answer.headers["Location"])
    assert (target.scheme, target.netloc, target.path) == ("http", "127.0.0.1:4566", "/oauth2/idpresponse")
    assert returned(answer)["state"] == "s"


async def test_the_code_is_redeemed_with_the_redirect_uri_that_was_asked_for(twitch: Twitch) -> None:
    code = returned(await twitch.authorize("alice", redirect_uri=COGNITO))["code"]
    answer = await twitch.fetch_token(grant_type="authorization_code", code=code, redirect_uri=COGNITO)
    assert answer.status == 200


async def test_a_code_works_once(twitch: Twitch) -> None:
    code = returned(await twitch.authorize("alice", redirect_uri=COGNITO))["code"]
    redemption = {"grant_type": "authorization_code", "code": code, "redirect_uri": COGNITO}
    await twitch.fetch_token(**redemption)
    answer = await twitch.fetch_token(**redemption)
    assert (answer.status, answer.json) == (400, {"status": 400, "message": "Invalid authorization code"})


async def test_a_code_expires(twitch: Twitch) -> None:
    code = returned(await twitch.authorize("alice", redirect_uri=COGNITO))["code"]
    twitch.clock.advance(601)
    answer = await twitch.fetch_token(grant_type="authorization_code", code=code, redirect_uri=COGNITO)
    assert answer.status == 400


@pytest.mark.parametrize(
    ("parameters", "status", "message"),
    [
        ({"client_id": ""}, 400, "missing client id"),
        ({"client_id": "stranger"}, 400, "invalid client"),
        ({"client_secret": "wrong"}, 403, "invalid client secret"),
        ({"grant_type": "password"}, 400, "invalid grant type"),
    ],
)
async def test_token_errors_have_twitchs_shape(
    twitch: Twitch, parameters: dict[str, str], status: int, message: str
) -> None:
    answer = await twitch.fetch_token(**{"grant_type": "client_credentials", **parameters})
    assert (answer.status, answer.json) == (status, {"status": status, "message": message})


@pytest.mark.parametrize(
    "parameters",
    [
        {"client_id": "stranger"},
        {"response_type": "token"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": "http://[oops"},
    ],
)
async def test_a_wrong_authorization_request_is_not_redirected(
    twitch: Twitch, parameters: dict[str, str]
) -> None:
    assert (await twitch.authorize("alice", **parameters)).status == 400


async def test_the_page_keeps_the_request_and_escapes_it(twitch: Twitch) -> None:
    parameters = {
        "client_id": CLIENT_ID,
        "response_type": "code",
        "redirect_uri": COGNITO,
        "state": '"><script>alert(1)</script>',
    }
    page = await twitch.request("GET", "/oauth2/authorize", params=parameters)
    assert page.status == 200
    assert 'name="auto"' in page.text
    assert f'value="{COGNITO}"' in page.text
    assert "<script>alert" not in page.text


async def test_after_an_unknown_login_the_page_asks_again(twitch: Twitch) -> None:
    page = await twitch.authorize("nosuch_person")
    assert page.status == 400
    assert "There is no user" in page.text


async def test_a_user_who_cancels_is_redirected_with_an_error(twitch: Twitch) -> None:
    assert returned(await twitch.authorize("alice", deny="1", state="s")) == {
        "error": "access_denied",
        "error_description": "The user denied you access",
        "state": "s",
    }


def test_the_client_secret_is_not_shown() -> None:
    settings = Settings("http://twitch", "id", "hush", "http://cognito")
    assert "hush" not in repr(settings)
