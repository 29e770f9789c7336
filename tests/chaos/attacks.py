"""The attacks that `make chaos` makes: each input is refused or answered as it should be, never with 5xx."""

import base64
import contextlib
import functools
import json
import secrets
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlencode, urljoin, urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.chaos.deliveries import hostile_deliveries
from tests.chaos.laboratory import Check, Laboratory
from tests.chaos.overload import ramp_of_deliveries, ramp_of_viewers
from tests.chaos.pages import a_page_that_was_away, stored_markup
from tests.e2e.clients import (
    Response,
    Viewer,
    connect_with_new_ticket,
    connect_with_ticket,
    eventually,
    request,
)

#: How many answers each route gives to generated requests of each kind.
EXAMPLES = 20
#: Of schemathesis: that the answers are those of the document, and that nothing is open to nobody.
CHECKS = ",".join(
    (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "ignored_auth",
    )
)


def bad_tickets(laboratory: Laboratory) -> None:
    """Tickets that are used, expired, made up, cut or missing open no WebSocket."""
    channel = laboratory.traffic.channels[0]
    answer, connection = connect_with_new_ticket(lambda: laboratory.viewer.until_watched(channel.login))
    with connection:
        url, used = answer["websocket_url"], answer["ticket"]
    expired = secrets.token_urlsafe(32)
    laboratory.write_ticket(expired, channel, -1)
    made_up = (
        "",
        used,
        expired,
        used[:-1],
        used + "x",
        secrets.token_urlsafe(32),
        "'",
        "../" * 20,
        "é" * 50,
        "x" * 4000,
    )
    for ticket in made_up:
        status = _handshake(laboratory, url, ticket)
        if status == 500:  # a busy machine's
            status = _handshake(laboratory, url, ticket)
        if status not in (401, 403):
            laboratory.problems.append(f"{status} for the ticket {ticket[:60]!r}")
    with ThreadPoolExecutor(20) as pool:

        def one_of_twenty_opens() -> bool:
            """False if not even one opens: a busy machine may answer 500 to the first, too."""
            tickets = [laboratory.viewer.until_watched(channel.login)["ticket"]] * 20
            at_once = Counter(pool.map(functools.partial(_handshake, laboratory, url), tickets))
            if at_once[101] > 1 or at_once.keys() - {101, 403, 500}:
                laboratory.problems.append(f"one ticket, 20 times at once: {dict(at_once)}")
            return at_once[101] > 0

        eventually("one ticket opens a connection", one_of_twenty_opens)


def _handshake(laboratory: Laboratory, url: str, ticket: str) -> int:
    """Try to open a WebSocket; returns the status, 101 if it opens."""
    laboratory.tries += 1
    try:
        with connect_with_ticket(url, ticket):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def bad_tokens(laboratory: Laboratory) -> None:
    """Tokens that are made up, changed, unsigned or for another purpose watch nothing."""
    token = laboratory.viewer.headers["Authorization"].partition(" ")[2]
    head, body, signature = token.split(".")
    none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"
    tokens = (
        "",
        "x",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{none}.{body}.",
        f"{none}.{body}.{signature}",
        f"{head}.{body}.{signature[::-1]}",
        f"{head}.{body[:-4]}AAAA.{signature}",
        "x" * 9000,
        laboratory.viewer.tokens["id_token"],
        laboratory.viewer.tokens["refresh_token"],
    )
    for value in tokens:
        status = _send(
            laboratory, "POST", "api/channels/chaos_0/watch", Authorization=f"Bearer {value}"
        ).status
        if status not in (401, 403):
            laboratory.problems.append(f"{status} for the token {value[:60]!r}")


def _send(laboratory: Laboratory, method: str, path: str, **headers: str) -> Response:
    laboratory.tries += 1
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return request(method, urljoin(laboratory.cloud.site, path), headers=named)


def bad_keys(laboratory: Laboratory) -> None:
    """Overlay keys that are changed, mixed or ended open nothing; what an ended one has opened is closed."""
    login = laboratory.traffic.channels[0].login

    def change(method: str, viewer: Viewer) -> Response:
        return _send(laboratory, method, f"api/overlays/{login}/key", **viewer.headers)

    def watch(key: str) -> Response:
        return _send(laboratory, "POST", f"api/overlays/{login}/watch", Authorization=f"Bearer {key}")

    other = Viewer.sign_in(laboratory.cloud, "other_streamer")
    ended, key, others = (
        change("POST", viewer).json()["key"] for viewer in (laboratory.viewer, laboratory.viewer, other)
    )
    overlay, _, secret = key.partition(".")
    token = laboratory.viewer.tokens["access_token"]
    made_up = (
        "",
        ended,
        overlay,
        f"{overlay}.",
        f".{secret}",
        key[:-1],
        key + "x",
        key.upper(),
        f"{overlay}.{secret[::-1]}",
        f"{others.partition('.')[0]}.{secret}",
        f"{overlay}.{secrets.token_urlsafe(32)}",
        f"{'0' * 32}.{secret}",
        token,
        "x" * 4000,
    )
    for value in made_up:
        if (status := watch(value).status) != 401:
            laboratory.problems.append(f"{status} for the key {value[:60]!r}")
    if (
        status := _send(
            laboratory, "POST", f"api/channels/{login}/watch", Authorization=f"Bearer {key}"
        ).status
    ) != 401:
        laboratory.problems.append(f"{status} for a key in a token's place")

    unused = watch(key).json()
    _, socket = connect_with_new_ticket(lambda: watch(key).json())
    with socket:
        change("DELETE", laboratory.viewer)
        if not _is_closed(socket):
            laboratory.problems.append("an ended key's connection is open after 10 s")
    if (status := watch(key).status) != 401:
        laboratory.problems.append(f"{status} for an ended key")
    # The handshake may succeed; then the connection finds its key ended.
    with (
        contextlib.suppress(InvalidStatus),
        connect_with_ticket(unused["websocket_url"], unused["ticket"]) as socket,
    ):
        if not _is_closed(socket):
            laboratory.problems.append("an ended key's ticket opens a connection that stays")


def _is_closed(socket: ClientConnection) -> bool:
    """Whether the server closes the connection within 10 s."""
    until = time.monotonic() + 10
    try:
        while True:
            socket.recv(max(until - time.monotonic(), 0))
    except ConnectionClosed:
        return True
    except TimeoutError:
        return False


def bad_cursors(laboratory: Laboratory) -> None:
    """Cursors that are changed, cut or made up: 200 or 400; no event is on two pages."""
    laboratory.rest()
    path = f"api/channels/{laboratory.traffic.channels[0].login}/events?limit=5"
    first = _send(laboratory, "GET", path).json()
    cursor = first["next"]
    second = _send(laboratory, "GET", f"{path}&before={cursor}").json()
    if {event["id"] for event in first["events"]} & {event["id"] for event in second["events"]}:
        laboratory.problems.append("an event is on two pages")
    texts = (
        "0:",
        ":",
        "x:y",
        "-1:a",
        f"{10**30}:a",
        "1:\0",
        "1:'; drop table events; --",
        "1:" + "é" * 200,
        "\ud800",
    )
    made_up = [
        base64.urlsafe_b64encode(text.encode(errors="surrogatepass")).decode().rstrip("=") for text in texts
    ]
    made_up += [cursor[:at] + "A" + cursor[at + 1 :] for at in range(len(cursor))]
    made_up += [cursor[:at] for at in range(1, len(cursor))]
    made_up += [cursor + "=", cursor + "A", cursor * 20, "%00", "%ff", "é", "null", "x" * 4000]
    for value in made_up:
        answer = _send(laboratory, "GET", f"{path}&before={quote(value, '%')}")
        if answer.status not in (200, 400) or (answer.status == 400 and "error" not in answer.json()):
            laboratory.problems.append(f"{answer.status} for the cursor {value[:60]!r}")


ODD_NAMES = (
    "..",
    "%2e%2e",
    "a" * 26,
    "a b",
    "é",
    "'",
    "%00",
    "%F0%9F%98%80",
    "a/b",
    "a%2Fb",
    "<b>",
    "${a}",
    "nosuch_one",
)
ODD_VALUES = (
    "",
    "0",
    "-1",
    "101",
    "1e9",
    "x",
    "%00",
    "%ff",
    "9" * 400,
    "é",
    "[]",
    "null",
    "eyJhIjoxfQ",
    "x" * 4000,
)


def odd_requests(laboratory: Laboratory) -> None:
    """Every route with odd names and parameters: an answer that is JSON, never 5xx."""
    paths = [
        f"api/channels/{name}/{what}" for name in ODD_NAMES for what in ("events", "counts", "counts/daily")
    ]
    paths += [
        f"api/channels/chaos_0/events?{key}={value}" for key in ("limit", "before") for value in ODD_VALUES
    ]
    paths += [f"api/channels/chaos_0/counts/daily?days={value}" for value in ODD_VALUES]
    paths += [
        f"api/leaderboard?{key}={value}" for key in ("days", "limit", "event_type") for value in ODD_VALUES
    ]
    for method, path in [("GET", path) for path in paths] + [
        ("POST", f"api/channels/{name}/watch") for name in ODD_NAMES
    ]:
        laboratory.tries += 1
        answer = request(
            method, urljoin(laboratory.cloud.site, quote(path, "%/?=&")), headers=laboratory.viewer.headers
        )
        if answer.status >= 500:
            laboratory.problems.append(f"{answer.status} for {method} {path[:120]}")


def other_sites(laboratory: Laboratory) -> None:
    """Pages of other sites can neither send a token nor do anything without one.

    With Cognito a browser adds nothing to a request by itself. What a cookie is good for without Cognito is
    tested in ``tests/e2e/test_sessions.py``.
    """
    origins = ("https://evil.example", "null", laboratory.cloud.site.replace("://", "://evil."))
    acts = [
        (method, f"api/{path}")
        for method, path in (
            ("POST", "channels/chaos_0/watch"),
            ("POST", "overlays/chaos_0/watch"),
            ("POST", "overlays/chaos_0/key"),
            ("DELETE", "overlays/chaos_0/key"),
        )
    ]
    for origin in origins:
        for method, path in acts:
            asked = _send(
                laboratory,
                "OPTIONS",
                path,
                Origin=origin,
                Access_Control_Request_Method=method,
                Access_Control_Request_Headers="authorization",
            )
            if asked.headers.get("Access-Control-Allow-Origin") in (origin, "*"):
                laboratory.problems.append(f"{origin} may send tokens to {path}")
            for content in ("text/plain", "application/x-www-form-urlencoded"):
                status = _send(laboratory, method, path, Origin=origin, Content_Type=content).status
                if status != 401:
                    laboratory.problems.append(f"{status} for {method} {path} from {origin}")
        read = _send(laboratory, "GET", "api/channels/chaos_0/events", Origin=origin)
        if "Access-Control-Allow-Credentials" in read.headers:
            laboratory.problems.append(f"{origin} may read with credentials")


def redirects(laboratory: Laboratory) -> None:
    """No address of the site or of the sign-in leads to another site."""
    site, evil = laboratory.cloud.site, "evil.example"
    paths = (
        "//evil.example",
        "/\\evil.example",
        "%2f%2fevil.example",
        "%5cevil.example",
        ".evil.example",
        "@evil.example",
        "watch/%0d%0aLocation:%20https://evil.example",
        "callback?next=https://evil.example",
        "watch/..%2f..%2fevil.example",
    )
    addresses = [f"{site}{path}" for path in (*paths, *(f"api/{path}" for path in paths))]
    identity = laboratory.cloud.get("config.json").json()["identity"]
    client = {"client_id": identity["client_id"], "response_type": "code", "scope": "openid"}
    client |= {"identity_provider": identity["provider"], "state": "s"}
    for target in (
        f"https://{evil}/callback",
        f"{site}callback.{evil}",
        f"{site}callback@{evil}",
        f"{site}callback/../x",
        f"//{evil}",
    ):
        for way, name in (("oauth2/authorize", "redirect_uri"), ("logout", "logout_uri")):
            addresses.append(f"{identity['domain']}/{way}?{urlencode({**client, name: target})}")
    for address in addresses:
        laboratory.tries += 1
        location = request("GET", address).headers.get("Location", "")
        while location.startswith(laboratory.cloud.twitch):
            answer = request("GET", f"{location}&auto=misled_viewer")
            location = urljoin(location, answer.headers.get("Location", ""))
        host = urlsplit(location.replace("\\", "/")).hostname or ""
        if evil in host or evil in location.partition("?")[0]:
            laboratory.problems.append(f"{address} leads to {location}")


def generated_requests(laboratory: Laboratory) -> None:
    """Requests to every route of the OpenAPI document, right and wrong ones: each is answered as it says.

    A run with a viewer's token, and one with an overlay's key.
    """
    login = laboratory.traffic.channels[0].login
    # Follows as many channels as a viewer may, afterwards.
    curious = Viewer.sign_in(laboratory.cloud, "curious")
    key = _send(laboratory, "POST", f"api/overlays/{login}/key", **curious.headers).json()["key"]
    host = urlsplit(laboratory.cloud.site)
    content = laboratory.cloud.get("api/openapi.json").json()
    # Viewers of this cloud sign in with Cognito, so it does not have these routes.
    del content["paths"]["/api/session"]
    document = laboratory.folder / "openapi.json"
    document.write_text(json.dumps(content))
    for choice, authorization in (
        ("--exclude-path", curious.headers["Authorization"]),
        ("--include-path", f"Bearer {key}"),
    ):
        report = laboratory.folder / f"schemathesis{choice}.json"
        command = [sys.executable, "-m", "schemathesis.cli", "run", str(document)]
        command += ["--url", f"http://127.0.0.1:{host.port}", choice, "/api/overlays/{login}/watch"]
        command += ["--header", f"Host: {host.netloc}", "--header", f"Authorization: {authorization}"]
        command += ["--checks", CHECKS, "--max-examples", str(EXAMPLES), "--seed", "1"]
        command += ["--report", "json", "--report-json-path", str(report)]
        ran = subprocess.run(command, cwd=laboratory.local.state, check=False, capture_output=True, text=True)
        report.with_suffix(".log").write_text(ran.stdout + ran.stderr)
        result = json.loads(report.read_text())
        laboratory.tries += result["test_cases"]["generated"]
        found = [f"{failure['title']}: {failure['operations']}" for failure in result["failures"]]
        if ran.returncode != 0:
            laboratory.problems.append(
                f"schemathesis ({report.with_suffix('.log')}): {found or ran.returncode}"
            )


def a_greedy_viewer(laboratory: Laboratory) -> None:
    """One viewer asks for ever more channels: refused with 429 at the limit, and others still watch."""
    greedy = Viewer.sign_in(laboratory.cloud, "greedy")
    statuses = Counter(greedy.watch(f"greedy_{number}").status for number in range(30))
    laboratory.tries += 30
    if set(statuses) != {200, 429} or statuses[200] > 20:
        laboratory.problems.append(f"answers: {dict(statuses)}")
    if (status := laboratory.viewer.watch("chaos_0").status) != 200:
        laboratory.problems.append(f"another viewer got {status}")


ATTACKS = (
    Check("hostile deliveries", hostile_deliveries(50_000)),
    Check("hostile deliveries, a sample", hostile_deliveries(400), short=True),
    Check("bad tickets", bad_tickets, short=True),
    Check("bad tokens", bad_tokens, short=True),
    Check("bad overlay keys", bad_keys, short=True),
    Check("bad cursors", bad_cursors, short=True),
    Check("odd requests", odd_requests),
    Check("generated requests to every route", generated_requests),
    Check("pages of other sites", other_sites, short=True),
    Check("redirects", redirects, short=True),
    Check("stored markup", stored_markup),
    Check("a page that was away", a_page_that_was_away),
    Check("a greedy viewer", a_greedy_viewer),
    Check("a ramp of deliveries", ramp_of_deliveries, delivered_within=30),
    Check("a ramp of viewers", ramp_of_viewers, delivered_within=30),
)
