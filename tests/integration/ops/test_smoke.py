"""`make smoke` waits for a database that was paused, not for one that is away; and tries both sign-ins."""

from http import HTTPStatus
from typing import Any

import pytest

from ops.checks import Failure
from ops.deployed_stage import DeployedStage
from ops.smoke import RESUMED_WITHIN_SECONDS, Smoke
from tests.integration.ops.conftest import Answer, Serve


class Clock:
    """A clock that only sleeping moves."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def smoke_of(serve: Serve, clock: Clock, *, resumed_at: float, headers: dict[str, str]) -> Smoke:
    """A run against a stand-in whose reads of the database fail until ``resumed_at`` seconds have passed."""

    def answer(method: str, path: str, asked: dict[str, str]) -> Answer:
        if path == "/api/openapi.json":
            return 200, {}, {}
        if "not%20a%20name" in path:
            return 400, {}, {}
        if clock.now < resumed_at:
            return HTTPStatus.SERVICE_UNAVAILABLE, headers, {"error": {"code": "unavailable"}}
        return 200, {}, {"total": 0}

    session: Any = None
    return Smoke(DeployedStage("dev", {"SiteUrl": serve(answer)}, session), clock=clock)


def test_it_waits_for_a_database_that_resumes(serve: Serve) -> None:
    clock = Clock()
    run = smoke_of(serve, clock, resumed_at=15, headers={"Retry-After": "5"})
    assert run.reads() == "answered through the site after 15.0 s"


def test_it_gives_up_after_a_minute(serve: Serve) -> None:
    clock = Clock()
    run = smoke_of(serve, clock, resumed_at=1000, headers={"Retry-After": "5"})
    with pytest.raises(Failure, match="answers 503 instead of 200"):
        run.reads()
    assert clock.now == RESUMED_WITHIN_SECONDS


def test_it_does_not_wait_for_other_failures(serve: Serve) -> None:
    clock = Clock()
    run = smoke_of(serve, clock, resumed_at=15, headers={})
    with pytest.raises(Failure, match="answers 503"):
        run.reads()
    assert clock.now == 0


AUTHORIZE = "https://id.twitch.tv/oauth2/authorize?client_id=client"


@pytest.mark.parametrize("kind", ["cognito", "twitch"])
@pytest.mark.parametrize(
    ("leads_to", "watched", "finding"),
    [
        (AUTHORIZE, 401, None),
        ("https://fanfare.example/error", 401, "does not lead to Twitch"),
        (AUTHORIZE, 200, "answered 200 instead of 401"),
        (AUTHORIZE, 500, "answered 500 instead of 401"),
    ],
)
def test_a_sign_in_leads_to_twitch_and_is_needed(
    serve: Serve, kind: str, leads_to: str, watched: int, finding: str | None
) -> None:
    def answer(method: str, path: str, asked: dict[str, str]) -> Answer:
        if path == "/config.json":
            domain = f"http://{asked['Host']}"
            cognito = {"domain": domain, "client_id": "site", "provider": "Twitch"}
            return 200, {}, {"identity": {"kind": kind, **cognito}}
        if path.startswith("/oauth2/authorize"):
            return 302, {"Location": leads_to}, {}
        if path == "/api/session":
            return 200, {}, {"url": leads_to}
        return watched, {}, {}

    session: Any = None
    run = Smoke(DeployedStage("dev", {"SiteUrl": serve(answer)}, session))
    if finding is None:
        assert run.sign_in() == "leads to id.twitch.tv"
    else:
        with pytest.raises(Failure, match=finding):
            run.sign_in()
