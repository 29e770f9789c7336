"""The attacks that `make chaos` makes: each input is refused or answered as it should be, never with 5xx."""

import hashlib
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urljoin

import urllib3
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus

from tests.chaos.laboratory import Check, Laboratory
from tests.chaos.ledger import Channel, raid, sign
from tests.e2e.clients import Viewer, connect_with_ticket, request

SENDERS = 8


# -- hostile deliveries --------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("subscription", "event", "challenge")
HEADERS = (
    "Twitch-Eventsub-Message-Id",
    "Twitch-Eventsub-Message-Type",
    "Twitch-Eventsub-Message-Signature",
    "Twitch-Eventsub-Message-Timestamp",
)
TYPES = ("notification", "revocation", "webhook_callback_verification", "", "other")
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)
Request = tuple[bytes, dict[str, str]]


@st.composite
def forged(draw: st.DrawFn, channel: Channel, secret: str) -> Request:
    """A delivery that nobody with the secret has sent, or not now: it must be answered 403."""
    delivery = raid(channel, secret, draw(st.integers(0, 10**6)))
    body, headers = delivery.body, dict(delivery.headers)
    kind = draw(st.sampled_from(("other secret", "body", "header", "no header", "age", "no signature")))
    match kind:
        case "other secret":
            headers = sign(draw(st.text(min_size=1)) + "x", body)
        case "body":
            at = draw(st.integers(0, len(body) - 1))
            body = body[:at] + bytes([body[at] ^ draw(st.integers(1, 255))]) + body[at + 1 :]
        case "header":
            name = draw(st.sampled_from((HEADERS[0], *HEADERS[2:])))
            headers[name] = draw(PRINTABLE.filter(lambda text: text.strip() != headers[name]))
        case "no header":
            del headers[draw(st.sampled_from((HEADERS[0], *HEADERS[2:])))]
        case "age":
            minutes = draw(st.integers(11, 10**6) | st.integers(-(10**5), -11))
            headers = sign(secret, body, sent_at=datetime.now(UTC) - timedelta(minutes=minutes))
        case "no signature":
            headers[HEADERS[2]] = draw(st.sampled_from(("", "sha256=", "sha1=00", "sha256=" + "0" * 64)))
    return body, headers


@st.composite
def odd(draw: st.DrawFn, channel: Channel, secret: str) -> Request:
    """A delivery with a right signature and a body that Twitch would hardly send: 2xx or 4xx."""
    content: Any = json.loads(raid(channel, secret, 1).body)
    match draw(st.sampled_from(("anything", "field", "condition", "deep", "bytes", "long"))):
        case "anything":
            content = draw(JSON)
        case "field":
            content[draw(st.sampled_from(FIELDS))] = draw(JSON)
        case "condition":
            content["subscription"]["condition"] = draw(JSON)
        case "deep":
            depth = draw(st.integers(90, 1200))
            body = b'{"event": ' + b"[" * depth + b"]" * depth + b"}"
            return body, sign(secret, body, message_type=draw(st.sampled_from(TYPES)))
        case "bytes":
            body = draw(st.binary(max_size=300))
            return body, sign(secret, body, message_type=draw(st.sampled_from(TYPES)))
        case "long":
            field = draw(st.sampled_from(("type", "version", "status")))
            content["subscription"][field] = draw(st.sampled_from(("é", "😀", "\ud800", "\0", '"'))) * draw(
                st.sampled_from((1, 2000, 60_000))
            )
    body = json.dumps(content).encode()
    return body, sign(secret, body, message_type=draw(st.sampled_from(TYPES)))


def _generate(strategy: st.SearchStrategy[Request], count: int, use: Callable[[Request], object]) -> None:
    """Call ``use`` with so many requests, the same ones in every run."""

    @seed(count)
    @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def generate(sent: Request) -> None:
        use(sent)

    generate()


def hostile_deliveries(count: int) -> Callable[[Laboratory], None]:
    """Generate ``count`` deliveries, half of them forged, and send them to the webhook."""

    def make(laboratory: Laboratory) -> None:
        traffic = laboratory.traffic
        victim = Channel("666", "victim")
        statuses: dict[bool, Counter[int | None]] = {True: Counter(), False: Counter()}
        pool = urllib3.PoolManager(retries=False, timeout=30, maxsize=SENDERS)

        def send(is_forged: bool, sent: Request) -> None:
            body, headers = sent
            try:
                status = pool.request("POST", laboratory.cloud.webhook, body=body, headers=headers).status
            except urllib3.exceptions.HTTPError:
                status = None
            statuses[is_forged][status] += 1
            right = status == 403 if is_forged else status is not None and 200 <= status < 500
            if not right and len(laboratory.problems) < 10:
                laboratory.problems.append(f"{status} for {headers} {body[:200]!r}")

        with ThreadPoolExecutor(SENDERS) as senders:
            _generate(
                forged(victim, traffic.secret), count // 2, lambda sent: senders.submit(send, True, sent)
            )
            _generate(odd(victim, traffic.secret), count // 2, lambda sent: senders.submit(send, False, sent))
        laboratory.tries += sum(each.total() for each in statuses.values())
        published = laboratory.recorded_of(victim) if statuses[True][204] == 0 else -1
        print(
            f"  forged: {dict(statuses[True])}, odd: {dict(statuses[False])}, odd ones recorded: {published}"
        )

    return make


# -- the API -------------------------------------------------------------------------------------------------


def bad_tickets(laboratory: Laboratory) -> None:
    """Tickets that are used, expired, made up, cut or missing open no WebSocket."""
    channel = laboratory.traffic.channels[0]
    answer = laboratory.viewer.watch(channel.login).json()
    url, used = answer["websocket_url"], answer["ticket"]
    with connect_with_ticket(url, used):
        pass
    expired = secrets.token_urlsafe(32)
    laboratory.cloud.aws("dynamodb").put_item(
        TableName="fanfare-local-tickets",
        Item={
            "ticket_hash": {"S": hashlib.sha256(expired.encode()).hexdigest()},
            "viewer_id": {"S": "somebody"},
            "streamer_id": {"S": channel.id},
            "streamer_name": {"S": channel.login},
            "expires_at": {"N": str(int(time.time()) - 1)},
        },
    )
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
        laboratory.tries += 1
        try:
            with connect_with_ticket(url, ticket):
                pass
            laboratory.problems.append(f"the ticket {ticket[:60]!r} opened a connection")
        except InvalidStatus as refused:
            if refused.response.status_code not in (401, 403):
                laboratory.problems.append(f"{refused.response.status_code} for the ticket {ticket[:60]!r}")


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
    )
    url = urljoin(laboratory.cloud.site, "api/channels/chaos_0/watch")
    for value in tokens:
        laboratory.tries += 1
        status = request("POST", url, headers={"Authorization": f"Bearer {value}"}).status
        if status not in (401, 403):
            laboratory.problems.append(f"{status} for the token {value[:60]!r}")


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


def origins(laboratory: Laboratory) -> None:
    """A foreign page can neither read answers with somebody's token nor be allowed to send one."""
    for origin in ("https://evil.example", "null", laboratory.cloud.site.replace("://", "://evil.")):
        laboratory.tries += 1
        answer = request(
            "OPTIONS",
            urljoin(laboratory.cloud.site, "api/channels/chaos_0/watch"),
            headers={
                "Origin": origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization",
            },
        )
        if answer.headers.get("Access-Control-Allow-Origin") in (origin, "*"):
            laboratory.problems.append(f"{origin} may send tokens")


def a_greedy_viewer(laboratory: Laboratory) -> None:
    """One viewer asks for ever more channels: refused with 429 at the limit, and others still watch."""
    greedy = Viewer.sign_in(laboratory.cloud, "greedy")
    statuses = Counter(greedy.watch(f"greedy_{number}").status for number in range(30))
    laboratory.tries += 30
    if set(statuses) != {200, 429} or statuses[200] > 20:
        laboratory.problems.append(f"answers: {dict(statuses)}")
    if (status := laboratory.viewer.watch("chaos_0").status) != 200:
        laboratory.problems.append(f"another viewer got {status}")


def bursts(laboratory: Laboratory) -> None:
    """Many deliveries at once: what is too much is refused clearly, and all is accepted in the end."""
    traffic = laboratory.traffic
    for at_once in (50, 100, 200):
        deliveries = [raid(traffic.channels[0], traffic.secret, number) for number in range(2 * at_once)]
        with ThreadPoolExecutor(at_once) as pool:
            statuses = Counter(pool.map(traffic.send, deliveries))
        print(f"  {at_once} at once: {dict(statuses)}", flush=True)
        deadline = time.monotonic() + 60
        left = [each for each in deliveries if each.id not in traffic.accepted]
        while left and time.monotonic() < deadline:
            left = [each for each in left if traffic.send(each) != 204]
        if left:
            laboratory.problems.append(f"{len(left)} of {len(deliveries)} were not accepted within a minute")


ATTACKS = (
    Check("hostile deliveries", hostile_deliveries(50_000)),
    Check("hostile deliveries, a sample", hostile_deliveries(400), short=True),
    Check("bad tickets", bad_tickets, short=True),
    Check("bad tokens", bad_tokens, short=True),
    Check("odd requests", odd_requests),
    Check("foreign origins", origins, short=True),
    Check("a greedy viewer", a_greedy_viewer),
    Check("bursts of deliveries", bursts),
)
