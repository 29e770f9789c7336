"""AWS by moto as a server, since most functions call it without boto3."""

from collections.abc import Iterator

import pytest
from moto import mock_aws
from moto.server import ThreadedMotoServer

from lambdas.common import aws


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
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
