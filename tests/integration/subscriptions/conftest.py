"""Twitch over loopback and the tables in moto."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
import urllib3

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

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TABLES = {
    "channels": ["streamer_id"],
    "tickets": ["ticket_hash"],
    "connections": ["streamer_id", "connection_id"],
}


@pytest.fixture
def pool() -> Iterator[urllib3.PoolManager]:
    """Connections that give up soon and are closed after the test."""
    pool = urllib3.PoolManager(maxsize=8, timeout=urllib3.Timeout(2), retries=False)
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
    return Helix(pool, lambda: Credentials(CLIENT_ID, CLIENT_SECRET), twitch.api_url, twitch.auth_url)


@pytest.fixture
def dynamodb(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator["DynamoDBClient"]:
    """A client with the tables that this capability reads and writes."""
    for variable, value in aws_variables(aws_endpoint).items():
        monkeypatch.setenv(variable, value)
    client = boto3.client("dynamodb")
    for name, keys in TABLES.items():
        client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            KeySchema=[
                {"AttributeName": key, "KeyType": "RANGE" if index else "HASH"}
                for index, key in enumerate(keys)
            ],
        )
    yield client
    client.close()


@pytest.fixture
def channels(dynamodb: "DynamoDBClient") -> ChannelsTable:
    """The channels table, empty."""
    return ChannelsTable(dynamodb, "channels")
