"""Servers on loopback in place of those that operators' commands ask."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Answer = tuple[int, dict[str, str], Any]
"""Status, headers and body; a body that is not bytes is sent as JSON."""
Serve = Callable[[Callable[[str, str, dict[str, str]], Answer]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server that answers as a function of method, path and headers says; returns its address."""
    servers = []

    def start(answer: Callable[[str, str, dict[str, str]], Answer]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def _do(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, body = answer(self.command, self.path, dict(self.headers))
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _do  # noqa: N815 -- the names that the server looks for

            def log_message(self, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()
