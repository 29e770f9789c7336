"""The read routes of the HTTP API, requested as API Gateway requests them."""

import json
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any

import psycopg
import pytest

from lambdas.common.event import Event
from lambdas.history.database import Connection
from lambdas.history.recording import record

MakeEvents = Callable[..., list[Event]]
LoadHandler = Callable[[str], ModuleType]


class Api:
    def __init__(self, module: ModuleType, context: SimpleNamespace) -> None:
        self.module = module
        self.context = context

    def answer(self, path: str, *, method: str = "GET", **parameters: str) -> dict[str, Any]:
        event = {
            "version": "2.0",
            "routeKey": f"{method} /api/{{proxy+}}",
            "rawPath": path,
            "rawQueryString": "&".join(f"{name}={value}" for name, value in parameters.items()),
            "headers": {"accept": "application/json"},
            "requestContext": {
                "http": {"method": method, "path": path},
                "requestId": "request",
                "stage": "$default",
            },
            "isBase64Encoded": False,
        }
        if parameters:  # API Gateway leaves it out when there are none
            event["queryStringParameters"] = parameters
        answer: dict[str, Any] = self.module.handler(event, self.context)
        return answer

    def get(self, path: str, **parameters: str) -> Any:
        answer = self.answer(path, **parameters)
        assert answer["statusCode"] == 200, answer
        assert answer["headers"]["Cache-Control"] == "public, s-maxage=2, stale-while-revalidate=10"
        assert answer["headers"]["Content-Type"] == "application/json"
        return json.loads(answer["body"])

    def refused(self, path: str, **parameters: str) -> tuple[int, str, str]:
        """The status, code and message of an error, which no cache may keep."""
        answer = self.answer(path, **parameters)
        assert answer["headers"]["Cache-Control"] == "no-store"
        assert answer["headers"]["Content-Type"] == "application/json"
        body = json.loads(answer["body"])
        assert body == {"error": {"code": body["error"]["code"], "message": body["error"]["message"]}}
        return answer["statusCode"], body["error"]["code"], body["error"]["message"]


@pytest.fixture
def api(load_handler: LoadHandler, lambda_context: SimpleNamespace) -> Api:
    return Api(load_handler("query"), lambda_context)


class TestEvents:
    def test_an_event_is_told_in_the_form_of_the_contract(
        self, api: Api, connection: Connection, make_events: MakeEvents
    ) -> None:
        whole_second = datetime(2026, 1, 31, 12, tzinfo=UTC)
        (event,) = make_events(occurred_at=whole_second)
        before = datetime.now(UTC)
        record(connection, [event])
        body = api.get("/api/channels/ana/events")
        created_at = body["events"][0].pop("created_at")
        assert body == {
            "events": [
                {
                    "id": event.id,
                    "streamer_id": "1001",
                    "streamer_name": "ana",
                    "event_type": "channel.raid",
                    "occurred_at": "2026-01-31T12:00:00.000000Z",
                    "payload": {"viewers": 120},
                }
            ],
            "next": None,
        }
        assert created_at.endswith("Z")
        assert before <= datetime.fromisoformat(created_at) <= datetime.now(UTC)

    def test_pages_are_followed_by_the_cursor(
        self, api: Api, connection: Connection, make_events: MakeEvents
    ) -> None:
        events = make_events(23)
        record(connection, events)
        page = api.get("/api/channels/ana/events")
        sizes, seen = [len(page["events"])], [event["id"] for event in page["events"]]
        while page["next"]:
            page = api.get("/api/channels/ana/events", before=page["next"])
            sizes.append(len(page["events"]))
            seen += [event["id"] for event in page["events"]]
        assert sizes == [10, 10, 3]
        assert seen == [event.id for event in events][::-1]

    @pytest.mark.parametrize("text", ["🎉" * 60_000, '"' * 120_000])
    def test_pages_of_large_events_are_no_larger_than_a_function_may_answer(
        self, api: Api, connection: Connection, make_events: MakeEvents, text: str
    ) -> None:
        events = make_events(14, payload={"title": text})
        record(connection, events)
        seen, parameters = [], {"limit": "100"}
        while True:
            answer = api.answer("/api/channels/ana/events", **parameters)
            assert len(json.dumps(answer)) < 6_000_000
            page = json.loads(answer["body"])
            seen += [event["id"] for event in page["events"]]
            if page["next"] is None:
                break
            parameters["before"] = page["next"]
        assert seen == [event.id for event in events][::-1]

    def test_a_list_of_some_types_has_no_others(
        self, api: Api, connection: Connection, make_events: MakeEvents
    ) -> None:
        record(connection, [*make_events(3), *make_events(2, event_type="stream.online")])
        record(connection, make_events(4, event_type="channel.update"))
        page = api.get("/api/channels/ana/events", event_type="stream.online,channel.raid", limit="4")
        rest = api.get(
            "/api/channels/ana/events", event_type="stream.online,channel.raid", before=page["next"]
        )
        types = [event["event_type"] for event in page["events"] + rest["events"]]
        assert types == ["stream.online"] * 2 + ["channel.raid"] * 3
        assert rest["next"] is None

    def test_a_login_without_events_has_an_empty_list(self, api: Api) -> None:
        assert api.get("/api/channels/nobody/events") == {"events": [], "next": None}

    def test_logins_are_the_same_in_capitals(
        self, api: Api, connection: Connection, make_events: MakeEvents
    ) -> None:
        record(connection, make_events(1))
        assert len(api.get("/api/channels/ANA/events")["events"]) == 1

    def test_an_empty_parameter_is_as_good_as_none(self, api: Api) -> None:
        assert api.get("/api/channels/ana/events", limit="", before="") == {"events": [], "next": None}

    @pytest.mark.parametrize("limit", ["1", "100"])
    def test_the_limits_of_limit(
        self, api: Api, connection: Connection, make_events: MakeEvents, limit: str
    ) -> None:
        record(connection, make_events(101))
        assert len(api.get("/api/channels/ana/events", limit=limit)["events"]) == int(limit)


class TestCounts:
    def test_counts(self, api: Api, connection: Connection, make_events: MakeEvents) -> None:
        record(connection, [*make_events(2), *make_events(1, event_type="stream.online")])
        assert api.get("/api/channels/ana/counts") == {
            "streamer_id": "1001",
            "streamer_name": "ana",
            "total": 3,
            "counts": {"channel.raid": 2, "stream.online": 1},
        }

    def test_a_login_without_events_has_zero_counts_and_no_id(self, api: Api) -> None:
        assert api.get("/api/channels/Nobody/counts") == {
            "streamer_id": None,
            "streamer_name": "nobody",
            "total": 0,
            "counts": {},
        }

    def test_daily_counts_have_a_day_for_every_day(
        self, api: Api, connection: Connection, make_events: MakeEvents
    ) -> None:
        record(connection, make_events(2))
        days = api.get("/api/channels/ana/counts/daily")["days"]
        assert len(days) == 30
        assert days[-1] == {"date": datetime.now(UTC).date().isoformat(), "counts": {"channel.raid": 2}}
        assert days[0]["counts"] == {"channel.raid": 0}
        assert [day["date"] for day in days] == sorted(day["date"] for day in days)
        assert len(api.get("/api/channels/ana/counts/daily", days="365")["days"]) == 365

    def test_minutely_counts_have_a_minute_for_every_minute(
        self, api: Api, connection: Connection, make_events: MakeEvents
    ) -> None:
        record(connection, make_events(2))
        minutes = api.get("/api/channels/ana/counts/minutely")["minutes"]
        assert len(minutes) == 60
        assert sum(minute["counts"]["channel.raid"] for minute in minutes) == 2
        assert minutes[0]["counts"] == {"channel.raid": 0}
        assert [minute["start"] for minute in minutes] == sorted(minute["start"] for minute in minutes)

    def test_the_leaderboard(self, api: Api, connection: Connection, make_events: MakeEvents) -> None:
        record(connection, [*make_events(1), *make_events(2, streamer_id="2", streamer_name="bo")])
        bo = {"streamer_id": "2", "streamer_name": "bo", "event_count": 2}
        ana = {"streamer_id": "1001", "streamer_name": "ana", "event_count": 1}
        assert api.get("/api/leaderboard") == {"channels": [bo, ana]}
        assert api.get("/api/leaderboard", event_type="", days="1", limit="1") == {"channels": [bo]}
        assert api.get("/api/leaderboard", event_type="channel.cheer") == {"channels": []}
        for days in ("7", "30", "90"):
            assert api.get("/api/leaderboard", days=days) == {"channels": [bo, ana]}

    @pytest.mark.parametrize("days", [{}, {"days": "1"}, {"days": "7"}])
    def test_the_leaderboard_leaves_out_a_channel_whose_name_is_not_known(
        self, api: Api, connection: Connection, make_events: MakeEvents, days: dict[str, str]
    ) -> None:
        record(connection, [*make_events(2, streamer_id="2", streamer_name=""), *make_events(1)])
        ana = {"streamer_id": "1001", "streamer_name": "ana", "event_count": 1}
        assert api.get("/api/leaderboard", **days) == {"channels": [ana]}


class TestErrors:
    @pytest.mark.parametrize("route", ["events", "counts", "counts/daily", "counts/minutely"])
    def test_a_malformed_login(self, api: Api, route: str) -> None:
        for login in ("a" * 26, "_ana", "no-hyphen", "ana.", "añá", "ana%20", 'an"a', "a\\b", " "):
            status, code, message = api.refused(f"/api/channels/{login}/{route}")
            assert (status, code) == (400, "invalid_parameter"), login
            assert message.startswith("login: "), login

    def test_a_malformed_parameter_is_named(self, api: Api) -> None:
        for path, parameters in (
            ("channels/ana/events", {"limit": "0"}),
            ("channels/ana/events", {"limit": "101"}),
            ("channels/ana/events", {"limit": "ten"}),
            ("channels/ana/events", {"before": "nonsense"}),
            ("channels/ana/events", {"before": "a" * 513}),
            ("channels/ana/counts/daily", {"days": "0"}),
            ("channels/ana/counts/daily", {"days": "366"}),
            ("channels/ana/counts/minutely", {"minutes": "181"}),
            ("channels/ana/events", {"event_type": "channel.raid,"}),
            ("leaderboard", {"days": "-1"}),
            ("leaderboard", {"days": "2"}),
            ("leaderboard", {"days": "365"}),
            ("leaderboard", {"days": "seven"}),
            ("leaderboard", {"limit": "1000"}),
            ("leaderboard", {"event_type": "Robert'); drop table events"}),
        ):
            status, code, message = api.refused(f"/api/{path}", **parameters)
            assert (status, code) == (400, "invalid_parameter"), parameters
            assert message.startswith(next(iter(parameters)) + ": "), parameters

    def test_no_such_route(self, api: Api) -> None:
        assert api.refused("/api/channels/ana")[:2] == (404, "not_found")

    def test_a_database_that_cannot_be_reached(
        self, load_handler: LoadHandler, lambda_context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_PORT", "1")
        api = Api(load_handler("query"), lambda_context)
        assert api.refused("/api/leaderboard") == (503, "unavailable", "Try again in a few seconds.")
        assert api.answer("/api/leaderboard")["headers"]["Retry-After"] == "5"

    def test_a_database_that_is_frozen(self, api: Api, connection: Connection) -> None:
        process = api.module.DATABASE.run(lambda kept: kept.info.backend_pid)
        os.kill(process, signal.SIGSTOP)
        try:
            answer = api.answer("/api/leaderboard")
        finally:
            os.kill(process, signal.SIGCONT)
        assert (answer["statusCode"], answer["headers"]["Retry-After"]) == (503, "5")
        assert api.module.DATABASE.deadline_seconds < 5

    def test_a_mistake_of_ours_tells_nothing(
        self, api: Api, connection: Connection, caplog: pytest.LogCaptureFixture
    ) -> None:
        connection.execute("drop table streamers")
        api.module.logger.addHandler(caplog.handler)
        try:
            refused = api.refused("/api/channels/ana/counts")
        finally:
            api.module.logger.removeHandler(caplog.handler)
        assert refused == (500, "internal_error", "Something went wrong.")
        assert 'relation "streamers" does not exist' in caplog.text


def test_head_is_answered_like_get(api: Api) -> None:
    answer = api.answer("/api/channels/ana/counts", method="HEAD")
    assert (answer["statusCode"], answer["headers"]) == (
        200,
        api.answer("/api/channels/ana/counts")["headers"],
    )


def test_the_function_cannot_write(api: Api) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        api.module.DATABASE.run(lambda connection: connection.execute("delete from seen_events"))


class TestOpenApi:
    @pytest.fixture
    def document(self, api: Api) -> dict[str, Any]:
        document: dict[str, Any] = api.get("/api/openapi.json")
        return document

    @pytest.fixture
    def reads(self, document: dict[str, Any]) -> dict[str, Any]:
        """The reads by their paths; another function answers for the session."""
        paths = document["paths"].items()
        return {path: found["get"] for path, found in paths if "get" in found and path != "/api/session"}

    def test_it_describes_every_read_route(self, document: dict[str, Any], reads: dict[str, Any]) -> None:
        assert document["openapi"].startswith("3.")
        parameters = {
            path: [(parameter["in"], parameter["name"]) for parameter in read["parameters"]]
            for path, read in reads.items()
        }
        login = ("path", "login")
        assert parameters == {
            "/api/channels/{login}/events": [
                login,
                ("query", "limit"),
                ("query", "before"),
                ("query", "event_type"),
            ],
            "/api/channels/{login}/counts": [login],
            "/api/channels/{login}/counts/daily": [login, ("query", "days")],
            "/api/channels/{login}/counts/minutely": [login, ("query", "minutes")],
            "/api/leaderboard": [("query", "event_type"), ("query", "days"), ("query", "limit")],
        }

    def test_it_describes_the_windows_that_there_are(self, document: dict[str, Any]) -> None:
        assert document["components"]["schemas"]["Window"]["enum"] == [1, 7, 30, 90]

    def test_it_describes_the_answers_that_are_really_given(self, reads: dict[str, Any]) -> None:
        for read in reads.values():
            assert sorted(read["responses"]) == ["200", "400", "503"]

    def test_every_reference_leads_somewhere(self, document: dict[str, Any]) -> None:
        referenced = {text.split('"')[0] for text in json.dumps(document).split('"#/components/schemas/')[1:]}
        assert referenced == set(document["components"]["schemas"])
