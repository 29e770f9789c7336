"""Hostile deliveries, generated: forged ones, and odd ones with a right signature."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import urllib3
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.chaos.laboratory import Laboratory
from tests.chaos.ledger import Channel, raid, sign, timestamp

#: The channels that they are about. Nothing of the first may ever be published.
FORGED, ODD = Channel("666", "forged"), Channel("667", "odd")
SENDERS = 8
#: Seconds before each try: a busy machine may answer 503 for a while; what the input causes comes again.
PAUSES = (0, 1, 10)
ID, SIGNATURE, STAMP = (f"Twitch-Eventsub-Message-{name}" for name in ("Id", "Signature", "Timestamp"))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=12,
)
TYPES = st.sampled_from(("notification", "revocation", "webhook_callback_verification", "", "other"))
PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200)
NO_TIMES = ("now", "0", "1700000000", "2026-13-01T00:00:00Z", "2026-01-01", "T", "NaN", "9" * 400)
MARKUP = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "'; drop table events; --",
    "${jndi:x}",
)

Request = tuple[bytes, dict[str, str]]
Make = Callable[[st.DrawFn, str], Request]
#: By kind, what makes a delivery with the secret that Twitch signs with.
forged: dict[str, Make] = {}
odd: dict[str, Make] = {}


def _whole(secret: str) -> Request:
    delivery = raid(FORGED, secret, 1)
    return delivery.body, dict(delivery.headers)


# -- forged: to be answered 403 ------------------------------------------------------------------------------


def _changed_body(change: Callable[[st.DrawFn, bytes], bytes]) -> Make:
    def make(draw: st.DrawFn, secret: str) -> Request:
        body, headers = _whole(secret)
        return change(draw, body), headers

    return make


def _flip(draw: st.DrawFn, body: bytes) -> bytes:
    at = draw(st.integers(0, len(body) - 1))
    return body[:at] + bytes([body[at] ^ draw(st.integers(1, 255))]) + body[at + 1 :]


forged["a byte of the body is changed"] = _changed_body(_flip)
forged["the body is cut"] = _changed_body(lambda draw, body: body[: draw(st.integers(0, len(body) - 1))])
forged["the body goes on"] = _changed_body(lambda draw, body: body + draw(st.binary(min_size=1, max_size=50)))


def _changed_header(name: str, change: Callable[[st.DrawFn, str], str | None]) -> Make:
    def make(draw: st.DrawFn, secret: str) -> Request:
        body, headers = _whole(secret)
        value = change(draw, headers.pop(name))
        return body, headers if value is None else {**headers, name: value}

    return make


def _other_text(draw: st.DrawFn, value: str) -> str:
    return draw(PRINTABLE.filter(lambda text: text != value))


for _name in (ID, SIGNATURE, STAMP):
    forged[f"another {_name}"] = _changed_header(_name, _other_text)
    forged[f"no {_name}"] = _changed_header(_name, lambda draw, value: None)
forged["the time is renewed"] = _changed_header(
    STAMP, lambda draw, value: timestamp(timedelta(seconds=-draw(st.integers(1, 500))))
)
forged["the signature is cut"] = _changed_header(
    SIGNATURE, lambda draw, value: value[: draw(st.integers(0, len(value) - 1))]
)
forged["another algorithm"] = _changed_header(
    SIGNATURE, lambda draw, value: value.replace("sha256", draw(st.sampled_from(("sha1", "md5", "none", ""))))
)
forged["another message's signature"] = _changed_header(
    SIGNATURE, lambda draw, value: sign("x" * 20, b"")[SIGNATURE]
)


def _signed_otherwise(
    secret: st.SearchStrategy[str] | None = None,
    id_: st.SearchStrategy[str] | None = None,
    stamp: st.SearchStrategy[str] | None = None,
) -> Make:
    def make(draw: st.DrawFn, right: str) -> Request:
        body, _ = _whole(right)
        given = [None if one is None else draw(one) for one in (secret, id_, stamp)]
        return body, sign(given[0] or right, body, id_=given[1], stamp=given[2])

    return make


def _minutes_ago(minutes: st.SearchStrategy[int]) -> st.SearchStrategy[str]:
    return minutes.map(lambda number: timestamp(timedelta(minutes=number)))


forged["another secret"] = _signed_otherwise(secret=st.text().map(lambda text: text + "x"))
forged["an empty id"] = _signed_otherwise(id_=st.just(""))
forged["too old"] = _signed_otherwise(stamp=_minutes_ago(st.integers(11, 10**6)))
forged["from the future"] = _signed_otherwise(stamp=_minutes_ago(st.integers(-(10**5), -11)))
forged["no time"] = _signed_otherwise(stamp=st.sampled_from(NO_TIMES))


# -- odd: signed, but what Twitch would hardly send; to be answered 2xx or 4xx -------------------------------


def _signed(body: st.SearchStrategy[bytes], types: st.SearchStrategy[str] = TYPES) -> Make:
    def make(draw: st.DrawFn, secret: str) -> Request:
        content = draw(body)
        return content, sign(secret, content, message_type=draw(types))

    return make


def _message(**replaced: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A notification with some of its fields replaced; ``subscription_…`` are those of the subscription."""

    @st.composite
    def make(draw: st.DrawFn) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(raid(ODD, "", 1).body)
        for name, strategy in replaced.items():
            where, _, inner = name.partition("_")
            if inner:
                content[where][inner] = draw(strategy)
            else:
                content[where] = draw(strategy)
        return content

    return make()


def _json(content: st.SearchStrategy[Any], types: st.SearchStrategy[str] = TYPES) -> Make:
    return _signed(content.map(lambda value: json.dumps(value).encode()), types)


def _nested(depth: int) -> bytes:
    return b'{"event": ' + b"[" * depth + b"]" * depth + b"}"


NOTIFICATION = st.just("notification")
LONG = st.builds(
    lambda text, times: text * times,
    st.sampled_from(("é", "😀", "\ud800", "\0", '"', "a")),
    st.sampled_from((1, 50, 2000, 60_000)),
)
IDS = st.text(max_size=20) | LONG | st.integers() | JSON
odd["any JSON"] = _json(JSON)
odd["any bytes"] = _signed(st.binary(max_size=300))
odd["no body"] = _signed(st.just(b""))
odd["deeply nested"] = _signed(st.integers(90, 1200).map(_nested))
odd["large"] = _json(
    _message(event=st.sampled_from((200_000, 250_000, 300_000, 1_100_000)).map(lambda n: {"a": "x" * n}))
)
odd["any subscription"] = _json(_message(subscription=JSON))
odd["any event"] = _json(_message(event=JSON))
odd["any fields of the event"] = _json(
    _message(event=st.dictionaries(st.text(), JSON, max_size=5)), NOTIFICATION
)
odd["any condition"] = _json(_message(subscription_condition=JSON))
odd["any channel"] = _json(
    _message(subscription_condition=st.fixed_dictionaries({"broadcaster_user_id": IDS})), NOTIFICATION
)
odd["any login"] = _json(
    _message(event=st.fixed_dictionaries({"to_broadcaster_user_login": IDS})), NOTIFICATION
)
odd["any type"] = _json(_message(subscription_type=IDS))
odd["any version and status"] = _json(_message(subscription_version=IDS, subscription_status=IDS))
odd["any challenge"] = _json(_message(challenge=IDS), st.just("webhook_callback_verification"))
odd["any revocation"] = _json(_message(subscription_status=IDS, subscription_id=IDS), st.just("revocation"))
odd["who disconnects"] = _json(
    _message(
        subscription_type=st.just("user.authorization.revoke"), event=st.fixed_dictionaries({"user_id": IDS})
    ),
    NOTIFICATION,
)
odd["any message type"] = _json(_message(), PRINTABLE)
odd["markup"] = _json(
    _message(event=st.dictionaries(st.text(max_size=9), st.sampled_from(MARKUP), min_size=1)), NOTIFICATION
)
odd["numbers that no float is"] = _signed(
    st.sampled_from((b"1e999", b"-1e999", b"NaN", b"Infinity", b"9" * 5000, b"0." + b"1" * 5000)).map(
        lambda number: (
            b'{"subscription": {"type": "a", "condition": {"user_id": "667"}}, "event": {"n": '
            + number
            + b"}}"
        )
    ),
    NOTIFICATION,
)
odd["a name twice"] = _signed(
    _message().map(lambda content: json.dumps(content).encode()[:-1] + b', "event": {"a": 1, "a": 2}}'),
    NOTIFICATION,
)
odd["another encoding"] = _signed(
    st.tuples(
        _message(event=st.dictionaries(st.text(), st.text())),
        st.sampled_from(("utf-16", "utf-32", "utf-8-sig", "cp037")),
    ).map(lambda made: json.dumps(made[0]).encode(made[1]))
)


def _odd_id(draw: st.DrawFn, secret: str) -> Request:
    body = raid(ODD, secret, 1).body
    id_ = draw(PRINTABLE.filter(bool) | st.sampled_from(("0", "x" * 2000, "../" * 20)))
    return body, sign(secret, body, id_=id_)


odd["any id"] = _odd_id


# -- all of them ---------------------------------------------------------------------------------------------


def hostile_deliveries(count: int) -> Callable[[Laboratory], None]:
    """Generate ``count`` deliveries, half of them forged, and send them to the webhook."""

    def make(laboratory: Laboratory) -> None:
        statuses = {
            "forged": _send(laboratory, forged, count // 2, lambda status: status == 403),
            "odd": _send(laboratory, odd, count // 2, lambda status: 200 <= status < 500),
        }
        laboratory.rest()
        if published := laboratory.recorded_of(FORGED):
            laboratory.problems.append(f"{published} forged deliveries were recorded")
        for name, counted in statuses.items():
            laboratory.notes.append(f"{name}: {dict(counted.most_common())}")
        laboratory.notes.append(
            f"{len(forged) + len(odd)} kinds; {laboratory.recorded_of(ODD)} odd ones were recorded"
        )

    return make


def _send(
    laboratory: Laboratory, kinds: dict[str, Make], count: int, right: Callable[[int], bool]
) -> Counter[int]:
    """Send so many deliveries, the same ones in every run; returns the statuses, 0 for no answer."""
    statuses: Counter[int] = Counter()
    pool = urllib3.PoolManager(retries=False, timeout=30, maxsize=SENDERS)
    # Otherwise more are made than memory has room for.
    waiting = threading.Semaphore(4 * SENDERS)
    lock = threading.Lock()

    def post(body: bytes, headers: dict[str, str]) -> int:
        try:
            return pool.request("POST", laboratory.cloud.webhook, body=body, headers=headers).status
        except urllib3.exceptions.HTTPError:
            return 0

    def send(kind: str, sent: Request) -> None:
        for pause in PAUSES:
            time.sleep(pause)
            status = post(*sent)
            if 0 < status < 500:
                break
        with lock:
            statuses[status] += 1
            if not right(status) and len(laboratory.problems) < 10:
                laboratory.problems.append(f"{kind}: {status} for {str(sent[1])[:300]} {sent[0][:200]!r}")
        waiting.release()

    @st.composite
    def any_kind(draw: st.DrawFn) -> tuple[str, Request]:
        kind = draw(st.sampled_from(sorted(kinds)))
        return kind, kinds[kind](draw, laboratory.traffic.secret)

    with ThreadPoolExecutor(SENDERS) as senders:

        @seed(count)
        @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))
        @given(any_kind())
        def generate(made: tuple[str, Request]) -> None:
            waiting.acquire()
            senders.submit(send, *made)

        generate()
    laboratory.tries += statuses.total()
    return statuses
