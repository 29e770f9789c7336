"""Signature Version 4 for many posts that differ in little more than their path.

libcurl can sign by itself, but begins with nothing for every request: that was a third of the broadcaster's
CPU time. What stays the same from post to post is made once a second here.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import time
from urllib.parse import quote

from lambdas.common.aws import Credentials

SERVICE = "execute-api"
# What a path consists of, encoded: faster than ``quote``.
QUOTED = {code: quote(chr(code), safe="/~") for code in range(128)}


class Signer:
    """Signs requests to one host."""

    def __init__(self, host: str, credentials: Credentials) -> None:
        """``host`` is what stands in the header Host, the port included unless it is the protocol's own."""
        self._host = host
        self._credentials = credentials
        self._second = 0

    def headers(self, method: str, path: str, sha256: str, now: float) -> list[bytes]:
        """The headers that sign a request to ``path`` (as it is sent) whose body has this SHA-256 (hex)."""
        if int(now) != self._second:
            self._prepare(int(now))
        # The path is encoded once more than it is when it is sent.
        canonical = f"{method}\n{path.translate(QUOTED)}\n\n{self._canonical_headers}{sha256}"
        to_sign = self._to_sign + hashlib.sha256(canonical.encode()).hexdigest()
        return [f"{self._authorization}{self._hmac(to_sign)}".encode(), *self._others]

    def _hmac(self, message: str) -> str:
        """HMAC-SHA256 in hexadecimal digits; begun with the key once, it takes half of the time."""
        begun = self._begun.copy()
        begun.update(message.encode())
        return begun.hexdigest()

    def _prepare(self, second: int) -> None:
        """Make what all requests of this second (Unix time) have in common."""
        self._second = second
        known = self._credentials
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        scope = f"{at[:8]}/{known.region}/{SERVICE}/aws4_request"
        headers = {"host": self._host, "x-amz-date": at}
        if known.session_token:
            headers["x-amz-security-token"] = known.session_token
        signed = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        self._canonical_headers = f"{lines}\n{signed}\n"
        self._to_sign = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n"
        key = f"AWS4{known.secret_access_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._begun = hmac.new(key, digestmod="sha256")
        self._authorization = (
            f"Authorization: AWS4-HMAC-SHA256 Credential={known.access_key_id}/{scope}, "
            f"SignedHeaders={signed}, Signature="
        )
        self._others = [f"{name}: {value}".encode() for name, value in headers.items() if name != "host"]
