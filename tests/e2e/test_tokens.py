"""A page that stays open for longer than its token is good for, with Cognito; the tokens here end soon."""

import contextlib
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.e2e.clients import Cloud, Viewer, eventually
from tests.e2e.test_journey import watch

# Long enough for a request with a token that was just renewed, on a busy machine, too.
GOOD_FOR_SECONDS = 20


@contextlib.contextmanager
def tokens_that_end(cloud: Cloud, seconds: int) -> Iterator[None]:
    """Let the user pool give access tokens that are good for so long; at the end as they were."""
    cognito = cloud.aws("cognito-idp")
    client = {"UserPoolId": cloud.outputs["UserPoolId"], "ClientId": cloud.outputs["UserPoolClientId"]}
    described = cognito.describe_user_pool_client(**client)["UserPoolClient"]
    units = {**described["TokenValidityUnits"], "AccessToken": "seconds"}
    cognito.update_user_pool_client(**client, AccessTokenValidity=seconds, TokenValidityUnits=units)
    try:
        yield
    finally:
        before = {name: described[name] for name in ("AccessTokenValidity", "TokenValidityUnits")}
        cognito.update_user_pool_client(**client, **before)


class Requests:
    """What a page asks the user pool and the API for."""

    def __init__(self, page: Page) -> None:
        self.renewals = 0
        #: The headers with which the page asked to watch.
        self.watched: list[dict[str, str]] = []
        page.on("request", self._take)

    def _take(self, request: Request) -> None:
        if "grant_type=refresh_token" in (request.post_data or ""):
            self.renewals += 1
        if request.method == "POST" and request.url.endswith("/watch"):
            self.watched.append({"Authorization": request.headers["authorization"]})


@pytest.fixture
def requests(page: Page) -> Requests:
    page.route("**/oauth2/token", answer_as_cognito)
    return Requests(page)


def answer_as_cognito(route: Route) -> None:
    """Say how long the token is good for: the emulator says an hour of each that was renewed."""
    answer = route.fetch()
    tokens = answer.json()
    route.fulfill(response=answer, json=tokens | ({"expires_in": GOOD_FOR_SECONDS} if answer.ok else {}))


def expect_live(page: Page, cloud: Cloud, channel: str) -> None:
    """A new event reaches the page."""
    sent = cloud.simulate("channel.raid", channel)[0]["message_id"]
    page.locator(f"[data-event-id='{sent}']").wait_for()
    expect(page.get_by_test_id("connection-state")).to_have_attribute("data-state", "live")


def outlive_the_token(page: Page, cloud: Cloud, channel: str, requests: Requests) -> None:
    """Wait until the page's token has ended; then the page, which has to connect again, has another."""
    token = requests.watched[-1]
    ended = Viewer(cloud, "patient_viewer", token)
    eventually("the token has ended", lambda: ended.watch(channel).status == 401)
    with page.expect_request("**/watch"):
        cloud.close_connections(channel)
    expect_live(page, cloud, channel)
    assert requests.watched[-1] != token


def test_a_page_goes_on_when_its_tokens_have_ended(
    page: Page, requests: Requests, cloud: Cloud, channel: str
) -> None:
    with tokens_that_end(cloud, GOOD_FOR_SECONDS):
        watch(page, cloud, channel, "patient_viewer")
        before = requests.renewals
        # The user pool is in trouble for a moment: that is tried again.
        page.route("**/oauth2/token", lambda route: route.fulfill(status=503), times=1)
        outlive_the_token(page, cloud, channel, requests)
        assert requests.renewals >= before + 2


def test_a_page_whose_renewal_is_refused_leads_to_the_sign_in(
    page: Page, requests: Requests, cloud: Cloud, channel: str
) -> None:
    with tokens_that_end(cloud, GOOD_FOR_SECONDS):
        watch(page, cloud, channel, "leaving_viewer")
        grants = cloud.twitch_state()["grants"]
        (user_id,) = (grant["user_id"] for grant in grants if grant["login"] == "leaving_viewer")
        cloud.aws("cognito-idp").admin_user_global_sign_out(
            UserPoolId=cloud.outputs["UserPoolId"], Username=f"Twitch_{user_id}"
        )
        renewals, watched = requests.renewals, len(requests.watched)
        cloud.close_connections(channel)
        expect(page.get_by_test_id("signed-out")).to_be_visible()
        assert (requests.renewals, len(requests.watched)) == (renewals + 1, watched)
        assert page.evaluate("sessionStorage.length") == 0

        page.get_by_test_id("sign-in").click()
        page.locator("#login").fill("leaving_viewer")
        page.locator("#sign-in").click()
        expect_live(page, cloud, channel)
