"""Signed calls of AWS services with libcurl instead of the AWS SDK.

libcurl signs a request by itself (Signature Version 4), keeps the connection open and limits the time that a
call takes. It loads in a fraction of the time that boto3 takes (docs/adr/0008-fast-starts.md).
"""

import dataclasses
import json
import os
import random
import re
import threading
import time
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlencode

import pycurl

from lambdas.common.settings import SettingsError

# The services with a JSON protocol: its version, and the prefix of an action's name.
# https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html
_JSON = {
    "dynamodb": ("1.0", "DynamoDB_20120810"),
    "secretsmanager": ("1.1", "secretsmanager"),
    "sqs": ("1.0", "AmazonSQS"),
}
# The services that take a form and answer in XML, with the version of their API.
# https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
_QUERY = {"sns": "2010-03-31"}

_ATTEMPTS = 2
ATTEMPT_SECONDS = 1.0
CONNECT_SECONDS = 0.5
_PAUSE_SECONDS = 0.1

# Temporary errors, though their status is 400.
# https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
_THROTTLED = re.compile("Throttl|TooManyRequests|RequestLimitExceeded|ThroughputExceeded")


class AwsError(Exception):
    """A call failed. ``code`` is AWS's name of the error, or ``Unreachable`` when there was no answer."""

    def __init__(self, call: str, code: str, message: str) -> None:
        super().__init__(f"{call}: {code}: {message}")
        self.code = code


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """What requests are signed with; ``session_token`` is "" for a user's own keys."""

    region: str
    access_key_id: str
    secret_access_key: str = dataclasses.field(repr=False)
    session_token: str = dataclasses.field(repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.

        Raises SettingsError for a missing one.
        https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
        """
        return cls(
            _setting(environment, "AWS_REGION"),
            _setting(environment, "AWS_ACCESS_KEY_ID"),
            _setting(environment, "AWS_SECRET_ACCESS_KEY"),
            environment.get("AWS_SESSION_TOKEN", ""),
        )


def new_handle(environment: Mapping[str, str] = os.environ) -> pycurl.Curl:
    """A handle that trusts the certificates in AWS_CA_BUNDLE, or else the operating system's."""
    handle = pycurl.Curl()
    # libcurl's own default is where Lambda's operating system keeps its certificates.
    if bundle := environment.get("AWS_CA_BUNDLE"):
        handle.setopt(pycurl.CAINFO, bundle)
    handle.setopt(pycurl.NOSIGNAL, 1)
    return handle


class Client:
    """A service's client with one connection, which stays open; threads that share it take turns."""

    def __init__(self, service: str, environment: Mapping[str, str] = os.environ) -> None:
        """Make the client of ``dynamodb``, ``secretsmanager``, ``sns`` or ``sqs``; nothing is called yet.

        Settings are those of ``Credentials`` and ``new_handle``, and AWS_ENDPOINT_URL; SettingsError for a
        missing one.
        """
        self._service = service
        self._lock = threading.Lock()
        known = Credentials.from_environment(environment)
        self._headers = [f"X-Amz-Security-Token: {known.session_token}"] if known.session_token else []
        self._curl = new_handle(environment)
        self._curl.setopt(
            pycurl.URL,
            environment.get("AWS_ENDPOINT_URL") or f"https://{service}.{known.region}.amazonaws.com",
        )
        self._curl.setopt(pycurl.AWS_SIGV4, f"aws:amz:{known.region}:{service}")
        self._curl.setopt(pycurl.USERNAME, known.access_key_id)
        self._curl.setopt(pycurl.PASSWORD, known.secret_access_key)
        self._curl.setopt(pycurl.CONNECTTIMEOUT_MS, round(CONNECT_SECONDS * 1000))
        self._curl.setopt(pycurl.TIMEOUT_MS, round(ATTEMPT_SECONDS * 1000))

    def call(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call ``action`` with the parameters of the service's API reference; return its answer.

        An answer in XML is not read: the result is ``{}``. After no answer, a 5xx or throttling the call is
        made once more; it takes at most 2.1 s. Raises AwsError.
        """
        headers, body = _request(self._service, action, parameters)
        with self._lock:
            return self._call(action, headers, body)

    def _call(self, action: str, headers: list[str], body: bytes) -> dict[str, Any]:
        self._curl.setopt(pycurl.HTTPHEADER, headers + self._headers)
        self._curl.setopt(pycurl.POSTFIELDS, body)
        for attempt in range(1, _ATTEMPTS + 1):
            status, answer = self._post()
            if status == 200:
                return json.loads(answer) if self._service in _JSON else {}
            code, message = _error(status, answer)
            temporary = status == 0 or status >= 500 or _THROTTLED.search(code)
            if attempt == _ATTEMPTS or not temporary:
                break
            # A random pause, so that functions that failed together do not all return together.
            time.sleep(random.uniform(0, _PAUSE_SECONDS))  # noqa: S311
        raise AwsError(f"{self._service}:{action}", code, message)

    def _post(self) -> tuple[int, bytes]:
        """The status and the body; status 0 and what libcurl says when there was no answer."""
        try:
            answer: bytes = self._curl.perform_rb()
        except pycurl.error:
            return 0, self._curl.errstr().encode()
        return self._curl.getinfo(pycurl.RESPONSE_CODE), answer


def _setting(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise SettingsError(f"The environment variable {name} is not set.")
    return value


def _request(service: str, action: str, parameters: Mapping[str, Any]) -> tuple[list[str], bytes]:
    if service in _JSON:
        version, prefix = _JSON[service]
        headers = [f"Content-Type: application/x-amz-json-{version}", f"X-Amz-Target: {prefix}.{action}"]
        return headers, json.dumps(parameters).encode()
    form = {"Action": action, "Version": _QUERY[service], **parameters}
    return ["Content-Type: application/x-www-form-urlencoded; charset=utf-8"], urlencode(form).encode()


def _error(status: int, answer: bytes) -> tuple[str, str]:
    """AWS's code and message: of ``{"__type": "…#Code", "message"}``, or of ``<Code>`` and ``<Message>``."""
    text = answer.decode(errors="replace")
    if status == 0:
        return "Unreachable", text
    code = re.search(r'"__type"\s*:\s*"(?:[^"]*#)?([^"]+)"|<Code>([^<]+)', text)
    message = re.search(r'"[Mm]essage"\s*:\s*"((?:[^"\\]|\\.)*)|<Message>([^<]+)', text)
    # Only its first line: with a refused signature, the others repeat the signed headers and session token.
    first_line = re.split(r"\\n|\n", message[1] or message[2] or "")[0] if message else ""
    return (code[1] or code[2] if code else f"HTTP {status}"), first_line
