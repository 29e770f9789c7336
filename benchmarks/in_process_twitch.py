"""urllib3 connected to a simulator in the same process, for tests and benchmarks with many requests."""

import io
import json
import threading
from typing import Any

import urllib3
from yarl import URL

from local.twitch.responses import Response
from local.twitch.simulator import Simulator


class InProcessPool(urllib3.PoolManager):
    """Sends requests to a simulator in this process, also from several threads.

    It does not wait for latency. A request whose latency exceeds ``read_timeout`` (seconds) is handled, and
    then fails with urllib3's timeout. Requests are not retried.
    """

    def __init__(self, simulator: Simulator, read_timeout: float = 3.0) -> None:
        super().__init__()
        self._simulator = simulator
        self._read_timeout = read_timeout
        self._lock = threading.Lock()
        self.requests: list[tuple[str, str]] = []
        """Method and path of every request."""

    def urlopen(  # type: ignore[override]
        self,
        method: str,
        url: str,
        redirect: bool = True,  # noqa: ARG002
        **options: Any,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request to the simulator. Faults raise urllib3's errors."""
        target = URL(url)
        body = options.get("body") or b""
        with self._lock:
            self.requests.append((method, target.path))
            effect = self._simulator.state.use_faults(method, target.path)
            if effect.lost == "request":
                raise urllib3.exceptions.ProtocolError("Connection aborted.")
            if effect.status is not None:
                answer = self._simulator.refusal(effect.status)
            elif effect.body is not None:
                answer = Response(200)
            else:
                answer = self._simulator.answer(
                    method,
                    target,
                    options.get("headers") or {},
                    body.encode() if isinstance(body, str) else body,
                )
        if effect.lost is not None:
            raise urllib3.exceptions.ProtocolError("Connection aborted.")
        if effect.latency_ms > self._read_timeout * 1000:
            raise urllib3.exceptions.TimeoutError("Read timed out.")
        text = effect.body or ("" if answer.body is None else json.dumps(answer.body))
        return urllib3.HTTPResponse(
            body=io.BytesIO(text.encode()),
            headers={"Content-Type": "application/json", **answer.headers},
            status=answer.status,
        )
