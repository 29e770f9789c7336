"""Twitch over loopback and the tables in moto."""

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import urllib3
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber

from lambdas.common.aws import Client
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.helix import Credentials, Helix
from tests.integration.functions import aws_variables
from tests.integration.subscriptions.servers import (
    CLIENT_ID,
    CLIENT_SECRET,
    Server,
    Twitch,
    answer_challenge,
    serve,
    simulated_twitch,
)
from tests.integration.subscriptions.tables import create_tables, empty_tables
from tests.integration.subscriptions.world import World

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@pytest.fixture
def pool() -> Iterator[urllib3.PoolManager]:
    """Connections that are closed after the test; no request is repeated."""
    pool = urllib3.PoolManager(maxsize=8, timeout=urllib3.Timeout(60), retries=False)
    yield pool
    pool.clear()


@pytest.fixture
def webhook() -> Iterator[Server]:
    """The callback that Twitch is to deliver to."""
    with serve(answer_challenge) as server:
        yield server


@pytest.fixture
def twitch() -> Iterator[Twitch]:
    """A simulated Twitch where nothing is subscribed yet."""
    with simulated_twitch() as simulator:
        yield simulator


@pytest.fixture
def helix(twitch: Twitch, pool: urllib3.PoolManager) -> Helix:
    """A client of the simulated Twitch."""
    return Helix(
        pool,
        lambda: Credentials(CLIENT_ID, CLIENT_SECRET),
        twitch.api_url,
        twitch.auth_url,
        take_point=lambda _urgent: True,
    )


@pytest.fixture
def dynamodb(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator["DynamoDBClient"]:
    """A client with the tables that this capability reads and writes."""
    for variable, value in aws_variables(aws_endpoint).items():
        monkeypatch.setenv(variable, value)
    client = boto3.client("dynamodb")
    create_tables(client)
    yield client
    client.close()


@pytest.fixture(scope="module")
def tables() -> Iterator["DynamoDBClient"]:
    """A client with the same tables for a whole module: they are emptied, not made anew, for each test."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for variable, value in aws_variables("").items():
            monkeypatch.setenv(variable, value)
        # DynamoDB serialises the writes of an item; moto, when threads call it, does not.
        process, one_at_a_time = BotocoreStubber.process_request, threading.Lock()

        def process_alone(stubber: BotocoreStubber, request: Any) -> Any:
            with one_at_a_time:
                return process(stubber, request)

        monkeypatch.setattr(BotocoreStubber, "process_request", process_alone)
        with mock_aws():
            client = boto3.client("dynamodb")
            create_tables(client)
            yield client
            client.close()


@pytest.fixture
def world(tables: "DynamoDBClient") -> World:
    """Twitch in this process, the tables, and a clock to be moved."""
    empty_tables(tables)
    return World(tables)


@pytest.fixture
def channels(dynamodb: "DynamoDBClient") -> ChannelsTable:
    """The channels table, empty."""
    return ChannelsTable(Client("dynamodb"), "channels")
