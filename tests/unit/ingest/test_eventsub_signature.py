"""Only what Twitch signed, unchanged and within ten minutes, is believed."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lambdas.ingest.eventsub_signature import (
    MESSAGE_ID,
    MESSAGE_SIGNATURE,
    MESSAGE_TIMESTAMP,
    sign,
    verify,
)
from lambdas.ingest.refusal import RefusedError

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
SECRET = b"a secret of at least ten characters"
ID = "befa7b53-d79d-478f-86b9-120f112b044e"
TIMESTAMP = "2026-01-31T11:59:58.123456789Z"
BODY = b'{"event":{}}'


@dataclasses.dataclass(frozen=True)
class Delivery:
    """A good delivery, of which a test changes a part."""

    message_id: str = ID
    timestamp: str = TIMESTAMP
    body: bytes = BODY
    signature: str = sign(ID, TIMESTAMP, BODY, SECRET)

    def verify(self, secret: bytes = SECRET, now: datetime = NOW) -> datetime:
        headers = {
            MESSAGE_ID: self.message_id,
            MESSAGE_TIMESTAMP: self.timestamp,
            MESSAGE_SIGNATURE: self.signature,
        }
        return verify(headers, self.body, (b"another secret", secret), now)


def signed(message_id: str = ID, timestamp: str = TIMESTAMP) -> Delivery:
    return Delivery(message_id, timestamp, BODY, sign(message_id, timestamp, BODY, SECRET))


def reason(delivery: Delivery, secret: bytes = SECRET, now: datetime = NOW) -> str:
    with pytest.raises(RefusedError) as refusal:
        delivery.verify(secret, now)
    assert refusal.value.status == 403
    assert secret.decode("latin-1") not in str(refusal.value)
    assert sign(delivery.message_id, delivery.timestamp, delivery.body, secret) not in str(refusal.value)
    return refusal.value.reason


def test_the_signature_is_the_one_that_twitch_documents() -> None:
    """Computed with `openssl dgst -sha256 -hmac` over id + timestamp + body."""
    assert sign("an-id", "2026-01-31T12:00:00Z", b"{}", b"0123456789") == (
        "sha256=aa10553a51eb427f72031cdd32ca3d0eb0b5e0801fa310a0035ea1071d0589da"
    )


def test_a_signed_and_fresh_message_is_accepted_with_its_time() -> None:
    assert Delivery().verify() == datetime(2026, 1, 31, 11, 59, 58, 123456, tzinfo=UTC)


@given(message_id=st.text(min_size=1), body=st.binary(), secret=st.binary(min_size=10, max_size=100))
def test_whatever_is_signed_is_accepted(message_id: str, body: bytes, secret: bytes) -> None:
    signature = sign(message_id, TIMESTAMP, body, secret)
    Delivery(message_id, TIMESTAMP, body, signature).verify(secret)


@given(message_id=st.text(min_size=1))
def test_another_message_id_is_refused(message_id: str) -> None:
    assume(message_id != ID)
    assert reason(dataclasses.replace(Delivery(), message_id=message_id)) == "bad_signature"


@given(sent_at=st.datetimes(timezones=st.just(UTC)))
def test_another_timestamp_is_refused(sent_at: datetime) -> None:
    assert reason(dataclasses.replace(Delivery(), timestamp=sent_at.isoformat())) == "bad_signature"


@given(body=st.binary())
def test_another_body_is_refused(body: bytes) -> None:
    assume(body != BODY)
    assert reason(dataclasses.replace(Delivery(), body=body)) == "bad_signature"


@given(position=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_one_flipped_bit_of_the_body_is_refused(position: int, bit: int) -> None:
    body = bytearray(BODY)
    body[position] ^= 1 << bit
    assert reason(dataclasses.replace(Delivery(), body=bytes(body))) == "bad_signature"


@given(secret=st.binary(min_size=10, max_size=100))
def test_another_secret_is_refused(secret: bytes) -> None:
    assume(secret != SECRET)
    assert reason(Delivery(), secret=secret) == "bad_signature"


@given(signature=st.text())
def test_another_signature_is_refused(signature: str) -> None:
    assume(signature != Delivery().signature)
    assert reason(dataclasses.replace(Delivery(), signature=signature)) == "bad_signature"


@pytest.mark.parametrize("change", [str.upper, lambda s: s.removeprefix("sha256="), lambda s: f"{s} "])
def test_a_signature_that_is_written_differently_is_refused(change: object) -> None:
    assert callable(change)
    assert reason(dataclasses.replace(Delivery(), signature=change(Delivery().signature))) == "bad_signature"


@pytest.mark.parametrize("name", [MESSAGE_ID, MESSAGE_TIMESTAMP, MESSAGE_SIGNATURE])
def test_each_header_is_needed(name: str) -> None:
    headers = {MESSAGE_ID: ID, MESSAGE_TIMESTAMP: TIMESTAMP, MESSAGE_SIGNATURE: Delivery().signature}
    del headers[name]
    with pytest.raises(RefusedError, match=name) as refusal:
        verify(headers, BODY, (SECRET,), NOW)
    assert (refusal.value.status, refusal.value.reason) == (403, "missing_header")


def test_an_empty_message_id_is_refused() -> None:
    assert reason(signed(message_id="")) == "missing_header"


@pytest.mark.parametrize("age", [timedelta(minutes=-10), timedelta(), timedelta(minutes=10)])
def test_ten_minutes_either_way_are_fresh(age: timedelta) -> None:
    assert signed(timestamp=(NOW - age).isoformat()).verify() == NOW - age


@pytest.mark.parametrize("age", [timedelta(minutes=-10, seconds=-1), timedelta(minutes=10, seconds=1)])
def test_more_than_ten_minutes_either_way_are_refused(age: timedelta) -> None:
    assert reason(signed(timestamp=(NOW - age).isoformat())) == "stale"


@pytest.mark.parametrize("timestamp", ["", "yesterday", "2026-01-31T12:00:00", "1769860800"])
def test_a_signed_timestamp_that_is_no_time_is_refused(timestamp: str) -> None:
    assert reason(signed(timestamp=timestamp)) == "bad_timestamp"
