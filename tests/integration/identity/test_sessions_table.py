"""How long a session lasts, and whose requests have one."""

from typing import TYPE_CHECKING, Any

import pytest

from lambdas.common.aws import Client
from lambdas.common.sessions import COOKIE, SessionsTable, SignIn, token_of
from tests.integration.identity.conftest import SITE

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

DAY = 86_400
NOW = 1_800_000_000


@pytest.fixture
def table(dynamodb: "DynamoDBClient") -> SessionsTable:
    return SessionsTable(Client("dynamodb"), "sessions")


def test_a_session_ends_thirty_days_after_it_was_used_last(table: SessionsTable) -> None:
    sign_in = SignIn("1234", NOW, frozenset({"bits:read"}))
    token = table.begin(sign_in)
    assert table.find(token, NOW + 30 * DAY - 1) == sign_in
    assert table.find(token, NOW + 59 * DAY) == sign_in
    unused = table.begin(sign_in)
    assert table.find(unused, NOW + 30 * DAY) is None


def test_a_session_ends_after_ninety_days_however_often_it_is_used(table: SessionsTable) -> None:
    token = table.begin(SignIn("1234", NOW))
    for day in range(1, 90):
        assert table.find(token, NOW + day * DAY) is not None
    assert table.find(token, NOW + 90 * DAY) is None


def test_a_session_that_is_used_often_is_written_once_a_day(
    table: SessionsTable, dynamodb: "DynamoDBClient"
) -> None:
    def expires_at() -> str:
        (item,) = dynamodb.scan(TableName="sessions")["Items"]
        return item["expires_at"]["N"]

    token = table.begin(SignIn("1234", NOW))
    before = expires_at()
    for hour in range(24):
        table.find(token, NOW + hour * 3600)
    assert expires_at() == before
    table.find(token, NOW + DAY)
    assert int(expires_at()) == NOW + 31 * DAY


def test_a_session_that_was_ended_meanwhile_does_not_come_back(
    table: SessionsTable, dynamodb: "DynamoDBClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    token = table.begin(SignIn("1234", NOW))
    prolong = SessionsTable._prolong

    def end_first(self: SessionsTable, *arguments: Any) -> None:
        table.end(token, NOW)
        prolong(self, *arguments)

    monkeypatch.setattr(SessionsTable, "_prolong", end_first)
    table.find(token, NOW + 2 * DAY)
    assert dynamodb.scan(TableName="sessions")["Items"] == []


@pytest.mark.parametrize("token", [None, "", ".", "1234", "1234.", "x.y", "1234.x", "\ud800.x", "9" * 5000])
def test_what_is_no_token_finds_and_ends_nothing(table: SessionsTable, token: str | None) -> None:
    table.begin(SignIn("1234", NOW))
    assert table.find(token, NOW) is None
    assert table.end(token, NOW) is None


def test_only_a_page_of_the_site_has_its_session() -> None:
    def request(origin: str | None, *cookies: str) -> dict[str, Any]:
        return {"headers": {} if origin is None else {"origin": origin}, "cookies": list(cookies)}

    cookie = f"{COOKIE}=12.ab"
    assert token_of(request(SITE, "theme=dark", cookie), SITE) == "12.ab"
    for origin in (None, "null", "https://evil.example", SITE.upper(), f"{SITE}:8443"):
        assert token_of(request(origin, cookie), SITE) is None
    assert token_of({"headers": {"origin": SITE}}, SITE) is None
    assert token_of(request(SITE, "session=12.ab"), SITE) is None
