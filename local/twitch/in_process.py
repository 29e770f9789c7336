"""The simulator behind urllib3, without a network: for what makes thousands of requests."""

import io
import json
import threading
from typing import Any

import urllib3
from yarl import URL

from local.twitch.simulator import Simulator


class InProcessPool(urllib3.PoolManager):
    """Connections to a simulator in this process.

    It may be used from several threads. Latency does not pass; what would be later than ``read_timeout``
    (seconds) is not waited for, and takes its effect all the same. Requests are not repeated.
    """

    def __init__(self, simulator: Simulator, read_timeout: float = 3.0) -> None:
        super().__init__()
        self._simulator = simulator
        self._read_timeout = read_timeout
        self._lock = threading.Lock()
        self.requests: list[tuple[str, str]] = []
        """Method and path of every request so far."""

    def urlopen(  # type: ignore[override]
        self,
        method: str,
        url: str,
        redirect: bool = True,  # noqa: ARG002
        **options: Any,
    ) -> urllib3.BaseHTTPResponse:
        """Ask the simulator. Raises urllib3's errors for what the faults keep from being answered."""
        target = URL(url)
        body = options.get("body") or b""
        with self._lock:
            self.requests.append((method, target.path))
            trouble = self._simulator.state.trouble(method, target.path)
            if trouble.lost == "request":
                raise urllib3.exceptions.ProtocolError("Connection aborted.")
            if trouble.status is not None:
                answer = self._simulator.refusal(trouble.status)
            else:
                answer = self._simulator.answer(
                    method,
                    target,
                    options.get("headers") or {},
                    body.encode() if isinstance(body, str) else body,
                )
        if trouble.lost is not None:
            raise urllib3.exceptions.ProtocolError("Connection aborted.")
        if trouble.latency > self._read_timeout:
            raise urllib3.exceptions.TimeoutError("Read timed out.")
        return urllib3.HTTPResponse(
            body=io.BytesIO(b"" if answer.body is None else json.dumps(answer.body).encode()),
            headers={"Content-Type": "application/json", **answer.headers},
            status=answer.status,
        )
