"""AWS by moto as a server, since not every function calls it through boto3."""

from collections.abc import Iterator

import pytest
from moto import mock_aws
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws_endpoint(moto_server: str) -> Iterator[str]:
    """The endpoint of an AWS in which nothing exists yet."""
    with mock_aws():
        yield moto_server
