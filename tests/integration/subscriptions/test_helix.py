"""The Helix client on the wire: tokens, statuses, limits, pages and time-outs."""

import json
import threading
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs

import pytest
import urllib3

from lambdas.subscriptions.helix import (
    DEFAULT_RETRY_SECONDS,
    LONGEST_RETRY_SECONDS,
    RENEWAL_MARGIN_SECONDS,
    BudgetExceededError,
    ConflictError,
    Credentials,
    CredentialsRefusedError,
    ForbiddenError,
    Helix,
    HelixError,
    InvalidRequestError,
    LimitExceededError,
    PointsUsedUpError,
    RateLimitedError,
    TwitchUnavailableError,
    connection_pool,
)
from lambdas.subscriptions.model import Channel, Subscription
from lambdas.subscriptions.points import URGENT
from tests.integration.subscriptions.servers import Answer, Request, Server, serve

NOW = 1_800_000_000.0
TOKEN_LIFETIME = 5_000_000
CALLBACK = "https://fanfare.example/webhooks/twitch"
SUBSCRIPTION = {
    "id": "an-id",
    "status": "webhook_callback_verification_pending",
    "type": "channel.update",
    "version": "2",
    "condition": {"broadcaster_user_id": "1234"},
    "transport": {"method": "webhook", "callback": CALLBACK},
    "created_at": "2026-11-10T14:32:18.730260295Z",
    "cost": 1,
}
USER = {
    "id": "1234",
    "login": "ninja",
    "display_name": "Ninja",
    "profile_image_url": "https://static-cdn.jtvnw.net/ninja.png",
}

Create = Callable[[Helix], Subscription]


def create(helix: Helix) -> Subscription:
    return helix.create_subscription(
        "channel.update", "2", {"broadcaster_user_id": "1234"}, CALLBACK, "a-webhook-secret"
    )


def always(_rank: int) -> bool:
    """There is a point."""
    return True


def refusal(status: int, message: str, **headers: str) -> Answer:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"error": "An error", "status": status, "message": message}, names)


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(lambda request: Answer(500)) as server:
        yield server


@pytest.fixture
def clock() -> list[float]:
    """The time, to be changed in place."""
    return [NOW]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may be busy: no request ends because the server is slow."""
    monkeypatch.setattr("lambdas.subscriptions.helix.PATIENCE_SECONDS", 60)
    monkeypatch.setattr("lambdas.subscriptions.helix.CONNECT_SECONDS", 60)


@pytest.fixture
def helix(server: Server, pool: urllib3.PoolManager, clock: list[float]) -> Helix:
    return Helix(
        pool,
        lambda: Credentials("the-client-id", "the-client-secret"),
        api_url=f"{server.url}/helix",
        auth_url=f"{server.url}/oauth2",
        take_point=lambda _rank: True,
        clock=lambda: clock[0],
    )


def twitch(server: Server, *answers: Answer) -> None:
    """Let the server hand out numbered tokens, and give Helix's answers one after the other."""
    helix_answers = iter(answers)

    def script(request: Request) -> Answer:
        if request.path == "/oauth2/token":
            number = sum(earlier.path == "/oauth2/token" for earlier in server.requests)
            return Answer(
                200,
                {"access_token": f"token-{number}", "expires_in": TOKEN_LIFETIME, "token_type": "bearer"},
            )
        return next(helix_answers)

    server.script = script


def tokens_used(server: Server) -> list[str]:
    return [
        request.headers["authorization"] for request in server.requests if request.path != "/oauth2/token"
    ]


class TestTokens:
    def test_the_application_gets_one_with_its_own_credentials(self, helix: Helix, server: Server) -> None:
        twitch(server, Answer(200, {"data": [USER]}))
        helix.get_user("ninja")
        token_request, request = server.requests
        assert (token_request.method, token_request.path) == ("POST", "/oauth2/token")
        assert token_request.headers["content-type"] == "application/x-www-form-urlencoded"
        assert parse_qs(token_request.body) == {
            "client_id": ["the-client-id"],
            "client_secret": ["the-client-secret"],
            "grant_type": ["client_credentials"],
        }
        assert request.headers["authorization"] == "Bearer token-1"
        assert request.headers["client-id"] == "the-client-id"

    def test_one_serves_until_shortly_before_it_expires(
        self, helix: Helix, server: Server, clock: list[float]
    ) -> None:
        twitch(server, *[Answer(200, {"data": [USER]})] * 3)
        helix.get_user("ninja")
        clock[0] = NOW + TOKEN_LIFETIME - RENEWAL_MARGIN_SECONDS - 1
        helix.get_user("ninja")
        clock[0] += 1
        helix.get_user("ninja")
        assert tokens_used(server) == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]

    def test_one_that_twitch_refuses_is_replaced(self, helix: Helix, server: Server) -> None:
        twitch(server, refusal(401, "Invalid OAuth token"), Answer(200, {"data": [USER]}))
        assert helix.get_user("ninja") is not None
        assert tokens_used(server) == ["Bearer token-1", "Bearer token-2"]

    def test_but_only_once(self, helix: Helix, server: Server) -> None:
        twitch(server, *[refusal(401, "Client ID and OAuth token do not match")] * 2)
        with pytest.raises(HelixError, match="do not match"):
            helix.get_user("ninja")
        assert tokens_used(server) == ["Bearer token-1", "Bearer token-2"]

    def test_threads_whose_token_is_refused_share_the_next_one(self, helix: Helix, server: Server) -> None:
        twitch(server, Answer(200, {"data": [USER]}))
        helix.get_user("ninja")
        both_refused = threading.Barrier(2, timeout=60)

        def script(request: Request) -> Answer:
            if request.path == "/oauth2/token":
                return Answer(200, {"access_token": "token-2", "expires_in": TOKEN_LIFETIME})
            if request.headers["authorization"] == "Bearer token-1":
                both_refused.wait()
                return refusal(401, "Invalid OAuth token")
            return Answer(200, {"data": [USER]})

        server.script = script
        threads = [threading.Thread(target=helix.get_user, args=("ninja",)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [request.path for request in server.requests].count("/oauth2/token") == 2
        assert tokens_used(server)[-2:] == ["Bearer token-2"] * 2

    @pytest.mark.parametrize("status", [400, 403])
    def test_wrong_credentials_are_not_taken_for_a_refused_request(
        self, helix: Helix, server: Server, status: int
    ) -> None:
        server.script = lambda request: refusal(status, "invalid client secret")
        with pytest.raises(CredentialsRefusedError, match="invalid client secret"):
            create(helix)

    def test_a_token_endpoint_that_fails_makes_twitch_unavailable(self, helix: Helix, server: Server) -> None:
        server.script = lambda request: Answer(503)
        with pytest.raises(TwitchUnavailableError):
            helix.get_user("ninja")

    def test_secrets_do_not_show_in_what_may_be_logged(self) -> None:
        assert "the-client-secret" not in repr(Credentials("the-client-id", "the-client-secret"))


class TestUsers:
    def test_a_channel_is_found_by_its_login(self, helix: Helix, server: Server) -> None:
        twitch(server, Answer(200, {"data": [USER]}))
        assert helix.get_user("ninja") == Channel("1234", "ninja", "Ninja", USER["profile_image_url"])
        assert (server.requests[-1].path, server.requests[-1].query) == ("/helix/users", {"login": ["ninja"]})

    @pytest.mark.parametrize(
        ("field", "value"), [("id", None), ("id", ""), ("login", 7), ("display_name", None)]
    )
    def test_a_user_that_cannot_be_read_makes_twitch_unavailable(
        self, helix: Helix, server: Server, field: str, value: object
    ) -> None:
        """It could not be stored."""
        twitch(server, Answer(200, {"data": [USER | {field: value}]}))
        with pytest.raises(TwitchUnavailableError):
            helix.get_user("ninja")

    @pytest.mark.parametrize(
        "answer",
        [Answer(200, {"data": []}), refusal(400, "Invalid login names, emails or IDs in request")],
        ids=["nobody", "a login that Twitch would not give today"],
    )
    def test_a_login_that_nobody_has_is_no_channel(
        self, helix: Helix, server: Server, answer: Answer
    ) -> None:
        twitch(server, answer)
        assert helix.get_user("nosuchchannel") is None


class TestCreation:
    def test_twitch_is_asked_to_deliver_to_the_callback(self, helix: Helix, server: Server) -> None:
        twitch(server, Answer(202, {"data": [SUBSCRIPTION], "total": 1, "total_cost": 1}))
        assert create(helix) == Subscription(
            "an-id",
            "webhook_callback_verification_pending",
            "channel.update",
            "2",
            {"broadcaster_user_id": "1234"},
            CALLBACK,
            1,
            "2026-11-10T14:32:18.730260295Z",
        )
        request = server.requests[-1]
        assert (request.method, request.path) == ("POST", "/helix/eventsub/subscriptions")
        assert request.headers["content-type"] == "application/json"
        assert json.loads(request.body) == {
            "type": "channel.update",
            "version": "2",
            "condition": {"broadcaster_user_id": "1234"},
            "transport": {"method": "webhook", "callback": CALLBACK, "secret": "a-webhook-secret"},
        }

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, InvalidRequestError),
            (403, ForbiddenError),
            (409, ConflictError),
            (410, InvalidRequestError),
            (302, TwitchUnavailableError),
            (404, TwitchUnavailableError),
            (418, TwitchUnavailableError),
            (500, TwitchUnavailableError),
            (503, TwitchUnavailableError),
        ],
    )
    def test_a_refusal_has_a_type_and_twitchs_message(
        self, helix: Helix, server: Server, status: int, error: type[HelixError]
    ) -> None:
        twitch(server, refusal(status, "Twitch says why"))
        with pytest.raises(error, match=f"{status}: Twitch says why") as caught:
            create(helix)
        assert type(caught.value) is error

    def test_an_empty_bucket_says_when_to_come_back(self, helix: Helix, server: Server) -> None:
        twitch(server, refusal(429, "Slow down", Ratelimit_Remaining="0", Ratelimit_Reset=str(int(NOW) + 17)))
        with pytest.raises(RateLimitedError) as caught:
            create(helix)
        assert caught.value.retry_after == 17

    @pytest.mark.parametrize(
        ("reset", "seconds"),
        [(str(int(NOW) - 3), 1), ("soon", DEFAULT_RETRY_SECONDS), ("9" * 12, LONGEST_RETRY_SECONDS)],
        ids=["past", "unreadable", "far off"],
    )
    def test_coming_back_takes_a_second_to_a_minute(
        self, helix: Helix, server: Server, reset: str, seconds: int
    ) -> None:
        twitch(server, refusal(429, "Slow down", Ratelimit_Reset=reset))
        with pytest.raises(RateLimitedError) as caught:
            helix.get_user("ninja")
        assert caught.value.retry_after == seconds

    def test_a_full_budget_is_not_taken_for_an_empty_bucket(self, helix: Helix, server: Server) -> None:
        twitch(server, refusal(429, "total cost of subscriptions exceeded", Ratelimit_Remaining="799"))
        with pytest.raises(BudgetExceededError, match="cost of subscriptions exceeded"):
            create(helix)

    def test_nor_are_three_with_the_same_condition(self, helix: Helix, server: Server) -> None:
        message = "maximum subscriptions with type and condition exceeded"
        twitch(server, refusal(429, message, Ratelimit_Remaining="799"))
        with pytest.raises(LimitExceededError, match=message):
            create(helix)


class TestDeletion:
    @pytest.mark.parametrize(
        "answer", [Answer(204), refusal(404, "not found")], ids=["deleted", "gone already"]
    )
    def test_afterwards_the_subscription_is_gone(self, helix: Helix, server: Server, answer: Answer) -> None:
        twitch(server, answer)
        helix.delete_subscription("an-id")
        request = server.requests[-1]
        assert (request.method, request.path, request.query) == (
            "DELETE",
            "/helix/eventsub/subscriptions",
            {"id": ["an-id"]},
        )

    def test_a_failure_is_raised(self, helix: Helix, server: Server) -> None:
        twitch(server, Answer(502, "<html>"))
        with pytest.raises(TwitchUnavailableError):
            helix.delete_subscription("an-id")


class TestListing:
    def test_every_page_is_fetched(self, helix: Helix, server: Server) -> None:
        totals = {"total": 2, "total_cost": 2, "max_total_cost": 10000}
        first = {"data": [SUBSCRIPTION], **totals, "pagination": {"cursor": "the-next"}}
        second = {"data": [SUBSCRIPTION | {"id": "another-id"}], **totals, "pagination": {}}
        twitch(server, Answer(200, first), Answer(200, second))
        assert [entry.id for entry in helix.list_subscriptions("1234")] == ["an-id", "another-id"]
        assert [request.query for request in server.requests[1:]] == [
            {"user_id": ["1234"]},
            {"user_id": ["1234"], "after": ["the-next"]},
        ]

    def test_a_subscription_without_a_callback_is_listed_too(self, helix: Helix, server: Server) -> None:
        websocket = SUBSCRIPTION | {"transport": {"method": "websocket", "session_id": "a-session"}}
        twitch(
            server, Answer(200, {"data": [websocket], "total": 1, "total_cost": 0, "max_total_cost": 10000})
        )
        page = helix.read_page()
        assert page.subscriptions[0].callback == ""
        assert (page.total_cost, page.max_total_cost, page.cursor) == (0, 10000, None)

    def test_pages_that_repeat_come_to_an_end(self, helix: Helix, server: Server) -> None:
        page = {
            "data": [],
            "total": 0,
            "total_cost": 0,
            "max_total_cost": 1,
            "pagination": {"cursor": "same"},
        }
        twitch(server, *[Answer(200, page)] * 3)
        with pytest.raises(TwitchUnavailableError, match="does not end"):
            helix.list_subscriptions("1234")
        assert len(server.requests) == 3

    @pytest.mark.parametrize(
        "broken",
        [None, {}, SUBSCRIPTION | {"condition": None}, SUBSCRIPTION | {"cost": 1e999}],
        ids=["null", "empty", "without a condition", "of infinite cost"],
    )
    def test_a_subscription_that_cannot_be_read_hides_no_others(
        self, helix: Helix, server: Server, broken: object
    ) -> None:
        page = {"data": [broken, SUBSCRIPTION], "total": 2, "total_cost": 0, "max_total_cost": 1}
        twitch(server, Answer(200, page))
        assert [one.id for one in helix.list_subscriptions("1234")] == ["an-id"]

    @pytest.mark.parametrize("cost", [None, "much", 1e999])
    def test_a_page_whose_cost_is_no_number_is_unavailable(
        self, helix: Helix, server: Server, cost: object
    ) -> None:
        twitch(server, Answer(200, {"data": [], "total": 0, "total_cost": cost, "max_total_cost": 1}))
        with pytest.raises(TwitchUnavailableError):
            helix.read_page()

    @pytest.mark.parametrize("pagination", [None, {}, {"cursor": None}, {"cursor": ""}])
    def test_a_last_page_may_say_so_in_several_ways(
        self, helix: Helix, server: Server, pagination: object
    ) -> None:
        page = {"data": [], "total": 0, "total_cost": 0, "max_total_cost": 1, "pagination": pagination}
        twitch(server, Answer(200, page))
        assert helix.list_subscriptions("1234") == []


class TestNoAnswer:
    def test_an_answer_that_does_not_come_is_not_waited_for(
        self, server: Server, pool: urllib3.PoolManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        over = threading.Event()

        def script(request: Request) -> Answer:
            over.wait()
            return Answer(200)

        server.script = script
        monkeypatch.setattr("lambdas.subscriptions.helix.PATIENCE_SECONDS", 0.05)
        helix = Helix(pool, lambda: Credentials("id", "secret"), server.url, server.url, take_point=always)
        try:
            with pytest.raises(TwitchUnavailableError, match="Timeout"):
                helix.get_user("ninja")
        finally:
            over.set()

    def test_an_address_where_nobody_listens_is_unavailable(self, pool: urllib3.PoolManager) -> None:
        with serve(lambda request: Answer(200)) as gone:
            pass
        helix = Helix(pool, lambda: Credentials("id", "secret"), gone.url, gone.url, take_point=always)
        with pytest.raises(TwitchUnavailableError):
            helix.get_user("ninja")

    @pytest.mark.parametrize(
        "body",
        ["<html>", "[]", "{}", '{"data": null}', '{"data": [{}]}', '{"data": [null]}', '{"data": {"0": 1}}'],
    )
    def test_an_answer_that_cannot_be_read_is_unavailable(
        self, helix: Helix, server: Server, body: str
    ) -> None:
        twitch(server, *[Answer(200, body)] * 3)
        with pytest.raises(TwitchUnavailableError):
            helix.get_user("ninja")
        with pytest.raises(TwitchUnavailableError):
            create(helix)
        with pytest.raises(TwitchUnavailableError):
            helix.read_page()

    def test_without_a_point_nothing_is_asked(self, server: Server, pool: urllib3.PoolManager) -> None:
        twitch(server)
        credentials = Credentials("id", "secret")
        ranks: list[int] = []

        def refuse(rank: int) -> bool:
            ranks.append(rank)
            return False

        helix = Helix(
            pool,
            lambda: credentials,
            f"{server.url}/helix",
            f"{server.url}/oauth2",
            take_point=refuse,
        )
        with pytest.raises(PointsUsedUpError):
            helix.get_user("ninja")
        assert [request.path for request in server.requests] == ["/oauth2/token"]
        assert ranks == [URGENT]

    def test_a_connection_that_breaks_is_tried_once_more(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also for a POST: what may have happened already shows as a conflict, which is handled."""
        broken: list[Request] = []

        def script(request: Request) -> Answer:
            if request.path == "/token":
                return Answer(200, {"access_token": "token", "expires_in": TOKEN_LIFETIME})
            if not broken:
                broken.append(request)
                return Answer(202, "{}", {"Content-Length": "999", "Connection": "close"})
            return Answer(202, {"data": [SUBSCRIPTION]})

        server.script = script
        monkeypatch.setattr("lambdas.subscriptions.helix.PATIENCE_SECONDS", 60)
        pool = connection_pool()
        helix = Helix(pool, lambda: Credentials("id", "secret"), server.url, server.url, take_point=always)
        assert create(helix).id == "an-id"
        assert len(server.requests) == 3
        pool.clear()
