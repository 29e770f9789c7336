"""AWS by moto as a server, since most functions call it without boto3."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import ThreadedMotoServer

from lambdas.common import aws


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    serve, turn = DomainDispatcherApplication.__call__, threading.Lock()

    def serve_in_turn(*request: Any) -> Any:
        with turn:
            return serve(*request)

    with pytest.MonkeyPatch.context() as patch:
        # Of two conditional writes at once, moto would let both succeed.
        patch.setattr(DomainDispatcherApplication, "__call__", serve_in_turn)
        server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def aws_endpoint(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The endpoint of an AWS in which nothing exists yet."""
    # The machine may be busy: no call ends because moto is slow.
    for limit in ("CONNECT_SECONDS", "ATTEMPT_SECONDS"):
        monkeypatch.setattr(aws, limit, 60)
    with mock_aws():
        yield moto_server
