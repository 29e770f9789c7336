"""The function ``session``: what a sign-in gives, what is refused, and how a session ends."""

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lambdas.common.aws import Client
from lambdas.common.sessions import SessionsTable, SignIn
from tests.integration.identity.conftest import CREDENTIALS, SITE, VERIFIER, VIEWER, Site, TwitchScript
from tests.integration.subscriptions.servers import Answer, Server

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

COOKIE = "__Host-session"


def sessions(dynamodb: "DynamoDBClient") -> list[Any]:
    return dynamodb.scan(TableName="sessions")["Items"]


def code(answer: dict[str, Any]) -> str:
    assert "cookies" not in answer
    return str(json.loads(answer["body"])["error"]["code"])


class TestBeginning:
    @pytest.mark.parametrize(
        ("query", "scope"), [({}, "openid"), ({"as": "streamer"}, "openid bits:read channel:read:polls")]
    )
    def test_leads_to_twitch_with_the_scopes_that_are_needed(
        self, site: Site, twitch_server: Server, query: dict[str, str], scope: str
    ) -> None:
        answer = site.send("GET", origin=None, **query)
        url = urlsplit(json.loads(answer["body"])["url"])
        assert f"{url.scheme}://{url.netloc}{url.path}" == f"{twitch_server.url}/authorize"
        assert parse_qs(url.query) == {
            "client_id": [CREDENTIALS["client_id"]],
            "redirect_uri": [f"{SITE}/callback"],
            "response_type": ["code"],
            "scope": [scope],
        }
        assert answer["headers"]["Cache-Control"] == "no-store"


class TestFinishing:
    def test_gives_a_cookie_that_only_the_site_gets_and_no_script_reads(self, site: Site) -> None:
        answer = site.sign_in()
        assert answer["statusCode"] == 204
        (cookie,) = answer["cookies"]
        value, *attributes = cookie.split("; ")
        assert attributes == ["Max-Age=7776000", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"]
        name, _, token = value.partition("=")
        assert name == COOKIE
        viewer_id, _, secret = token.partition(".")
        assert viewer_id == VIEWER
        assert len(secret) * 6 >= 256

    def test_stores_a_hash_of_the_token_only(self, site: Site, dynamodb: "DynamoDBClient") -> None:
        begin = int(time.time())
        site.sign_in()
        (item,) = sessions(dynamodb)
        assert item.keys() == {"viewer_id", "token_hash", "signed_in_at", "expires_at"}
        assert item["token_hash"]["S"] == hashlib.sha256(site.cookies[COOKIE].encode()).hexdigest()
        lives = int(item["expires_at"]["N"]) - begin
        assert 30 * 86_400 <= lives <= 30 * 86_400 + 60

    def test_gives_twitchs_tokens_up_at_once(self, site: Site, twitch: TwitchScript) -> None:
        site.sign_in()
        (_, exchanged), revoked = twitch.asked
        assert exchanged == {
            **CREDENTIALS,
            "code": "a-code",
            "grant_type": "authorization_code",
            "redirect_uri": f"{SITE}/callback",
        }
        assert revoked == ("/revoke", {"client_id": CREDENTIALS["client_id"], "token": "an-access-token"})

    @pytest.mark.parametrize("scope", [["openid", "bits:read"], "openid bits:read"])
    def test_remembers_what_a_streamer_granted(
        self, site: Site, twitch: TwitchScript, dynamodb: "DynamoDBClient", scope: object
    ) -> None:
        """Twitch sends a list, the standard says a text."""
        twitch.scope = scope
        site.sign_in()
        found = SessionsTable(Client("dynamodb"), "sessions").find(site.cookies[COOKIE], int(time.time()))
        assert found is not None
        assert (found.viewer_id, found.scopes) == (VIEWER, frozenset({"bits:read"}))

    def test_ends_the_session_that_the_browser_had(
        self, site: Site, twitch: TwitchScript, dynamodb: "DynamoDBClient"
    ) -> None:
        site.sign_in()
        (before,) = sessions(dynamodb)
        twitch.codes.add("a-code")
        site.sign_in()
        (after,) = sessions(dynamodb)
        assert before["token_hash"] != after["token_hash"]

    def test_logs_no_secret(self, site: Site) -> None:
        site.sign_in()
        secrets = [site.cookies[COOKIE].split(".")[1], "a-code", VERIFIER, "access-token", "client-secret"]
        logged = site.function.logs.getvalue()
        assert VIEWER in logged
        assert not [secret for secret in secrets if secret in logged]


class TestAttacks:
    @pytest.mark.parametrize("origin", [None, "null", "https://evil.example", f"{SITE}.evil.example"])
    @pytest.mark.parametrize("method", ["POST", "DELETE"])
    def test_another_sites_page_signs_nobody_in_or_out(
        self, site: Site, dynamodb: "DynamoDBClient", method: str, origin: str | None
    ) -> None:
        """Login CSRF, and signing a viewer out: the browser adds the cookie, and says whose page asks."""
        site.sign_in()
        before = sessions(dynamodb)
        answer = site.sign_in(origin=origin) if method == "POST" else site.send("DELETE", origin=origin)
        assert (answer["statusCode"], code(answer)) == (403, "foreign_origin")
        assert sessions(dynamodb) == before

    def test_a_code_works_once(self, site: Site, dynamodb: "DynamoDBClient") -> None:
        site.sign_in()
        site.cookies.clear()
        replayed = site.sign_in()
        assert (replayed["statusCode"], code(replayed)) == (400, "invalid_code")
        assert len(sessions(dynamodb)) == 1

    def test_a_code_that_another_browser_began_with_is_refused(
        self, site: Site, twitch: TwitchScript, dynamodb: "DynamoDBClient"
    ) -> None:
        """A stolen code, or one that an attacker slips into a victim's browser."""
        answer = site.sign_in(verifier="the-thief's-own")
        assert (answer["statusCode"], code(answer)) == (400, "other_browser")
        assert sessions(dynamodb) == []
        assert [path for path, _ in twitch.asked] == ["/token", "/revoke"]

    @pytest.mark.parametrize("redirect_uri", ["https://evil.example/callback", f"{SITE}/callback/", SITE, 1])
    def test_a_foreign_redirect_uri_is_refused_before_twitch_is_asked(
        self, site: Site, twitch: TwitchScript, redirect_uri: object
    ) -> None:
        answer = site.sign_in(redirect_uri=redirect_uri)
        assert (answer["statusCode"], code(answer)) == (400, "foreign_redirect_uri")
        assert twitch.asked == []

    @pytest.mark.parametrize(
        "wrong",
        [
            {"iss": "https://evil.example"},
            {"iss": None},
            {"aud": "another-application"},
            {"aud": ["another-application"]},
            {"aud": None},
            {"exp": 1},
            {"exp": "9999999999"},
            {"exp": None},
            {"sub": ""},
            {"sub": "somebody"},
            {"sub": None},
        ],
    )
    def test_a_token_that_is_not_twitchs_for_us_and_now_is_refused(
        self, site: Site, twitch: TwitchScript, dynamodb: "DynamoDBClient", wrong: dict[str, object]
    ) -> None:
        twitch.claims |= wrong
        answer = site.sign_in()
        assert (answer["statusCode"], code(answer)) == (400, "invalid_token")
        assert sessions(dynamodb) == []

    @pytest.mark.parametrize("nonce", ["", None, "another"])
    def test_a_token_without_this_browsers_nonce_is_refused(
        self, site: Site, twitch: TwitchScript, nonce: str | None
    ) -> None:
        twitch.claims["nonce"] = nonce
        assert code(site.sign_in()) == "other_browser"

    @pytest.mark.parametrize(
        "body",
        [None, "", "{", "[]", "7", '"text"', "{}", "[" * 100_000, '{"code": "a", "verifier": "b"}'],
    )
    def test_what_is_no_sign_in_gets_a_clear_answer(self, site: Site, body: str | None) -> None:
        answer = site.send("POST", body)
        assert (answer["statusCode"], code(answer)) == (400, "invalid_request")

    @pytest.mark.parametrize("wrong", ["", 7, None, ["a"], "\ud800", "é"])
    @pytest.mark.parametrize("name", ["code", "verifier"])
    def test_an_odd_code_or_verifier_is_refused(self, site: Site, name: str, wrong: object) -> None:
        assert code(site.sign_in(origin=SITE, **{name: wrong})) == "invalid_request"

    @pytest.mark.parametrize("token", ["", ".", "made.up", "1234.x", "\ud800.x", "9" * 3000])
    def test_what_is_no_token_ends_nothing(self, site: Site, dynamodb: "DynamoDBClient", token: str) -> None:
        site.sign_in()
        site.cookies[COOKIE] = token
        assert site.send("DELETE", devices="all")["statusCode"] == 204
        assert len(sessions(dynamodb)) == 1


class TestTwitchsTroubles:
    @pytest.mark.parametrize(
        "instead",
        [
            Answer(500),
            Answer(503, "<html>"),
            Answer(429, {}),
            Answer(200, "garbage"),
            Answer(200, []),
            Answer(200, {"access_token": "only"}),
        ],
    )
    def test_an_unavailable_twitch_is_to_be_asked_later(
        self, site: Site, twitch: TwitchScript, instead: Answer
    ) -> None:
        twitch.instead = instead
        answer = site.sign_in()
        assert (answer["statusCode"], code(answer)) == (503, "twitch_unavailable")
        assert answer["headers"]["Retry-After"] == "5"

    def test_a_refused_secret_is_logged_for_the_operator(self, site: Site, twitch: TwitchScript) -> None:
        twitch.instead = Answer(403, {"status": 403, "message": "invalid client secret"})
        answer = site.sign_in()
        assert (answer["statusCode"], code(answer)) == (500, "internal_error")
        (line,) = (line for line in site.function.log_lines() if line["level"] == "ERROR")
        assert line["exception_name"] == "CredentialsRefusedError"


class TestEnding:
    def test_this_devices_session_ends_and_others_go_on(self, site: Site, dynamodb: "DynamoDBClient") -> None:
        other = SessionsTable(Client("dynamodb"), "sessions").begin(SignIn(VIEWER, int(time.time())))
        site.sign_in()
        token = site.cookies[COOKIE]
        answer = site.send("DELETE")
        assert answer["statusCode"] == 204
        assert answer["cookies"] == [f"{COOKIE}=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax"]
        table = SessionsTable(Client("dynamodb"), "sessions")
        assert table.find(token, int(time.time())) is None
        assert table.find(other, int(time.time())) is not None

    def test_a_viewer_can_end_all_of_theirs(self, site: Site, dynamodb: "DynamoDBClient") -> None:
        table = SessionsTable(Client("dynamodb"), "sessions")
        for _ in range(3):
            table.begin(SignIn(VIEWER, int(time.time())))
        stranger = table.begin(SignIn("99", int(time.time())))
        site.sign_in()
        site.send("DELETE", devices="all")
        (left,) = sessions(dynamodb)
        assert left["viewer_id"]["S"] == "99"
        assert table.find(stranger, int(time.time()))

    def test_a_session_that_has_ended_ends_no_other(self, site: Site, dynamodb: "DynamoDBClient") -> None:
        """DynamoDB may be days late in deleting it."""
        table = SessionsTable(Client("dynamodb"), "sessions")
        table.begin(SignIn(VIEWER, int(time.time())))
        site.cookies[COOKIE] = table.begin(SignIn(VIEWER, int(time.time()) - 90 * 86_400))
        assert site.send("DELETE", devices="all")["statusCode"] == 204
        assert len(sessions(dynamodb)) == 1

    def test_somebody_elses_id_in_the_token_ends_nothing(
        self, site: Site, dynamodb: "DynamoDBClient"
    ) -> None:
        SessionsTable(Client("dynamodb"), "sessions").begin(SignIn("99", int(time.time())))
        site.sign_in()
        site.cookies[COOKIE] = "99." + site.cookies[COOKIE].split(".")[1]
        site.send("DELETE", devices="all")
        assert len(sessions(dynamodb)) == 2
