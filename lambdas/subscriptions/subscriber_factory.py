"""What the functions that call Twitch use, built from their environment variables."""

import dataclasses
import random
import time
from concurrent.futures import ThreadPoolExecutor

from lambdas.common.aws import Client
from lambdas.common.rotated_secret import RotatedSecretSource
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.helix import Credentials, Helix, connection_pool
from lambdas.subscriptions.points import Points
from lambdas.subscriptions.requests import Requests
from lambdas.subscriptions.subscriber import Subscriber
from lambdas.subscriptions.subscription_status import StatusUpdater, count_status
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES

# A webhook secret that was rotated less than this ago may still be used: the reconciler replaces the
# subscriptions that it signs.
SECRET_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class TwitchSettings:
    """The environment variables, with what the infrastructure calls them in capitals."""

    twitch_table: str
    twitch_secret_arn: str
    twitch_api_url: str
    twitch_auth_url: str


@dataclasses.dataclass(frozen=True)
class SubscriberSettings(TwitchSettings):
    """The environment variables of those that subscribe."""

    channels_table: str
    grants_table: str
    broadcast_queue_url: str
    subscribe_queue_url: str
    webhook_secret_arn: str
    webhook_url: str


def make_helix(settings: TwitchSettings, dynamodb: Client) -> Helix:
    """A client of Helix with these settings; nothing is called yet."""
    secrets = Client("secretsmanager")

    def load_credentials() -> Credentials:
        answer = secrets.call("GetSecretValue", {"SecretId": settings.twitch_secret_arn})
        return Credentials.from_json(answer["SecretString"])

    points = Points(dynamodb, settings.twitch_table)
    return Helix(
        connection_pool(),
        load_credentials,
        settings.twitch_api_url,
        settings.twitch_auth_url,
        take_point=points.take,
    )


def make_subscriber(settings: SubscriberSettings, dynamodb: Client, sqs: Client) -> Subscriber:
    """A subscriber with these settings; nothing is called yet."""
    table = ChannelsTable(dynamodb, settings.channels_table)
    webhook_secret = RotatedSecretSource(Client("secretsmanager"), settings.webhook_secret_arn)
    return Subscriber(
        make_helix(settings, dynamodb),
        StatusUpdater(table, count_status),
        GrantsTable(dynamodb, settings.grants_table),
        Requests(sqs, settings.subscribe_queue_url, table),
        settings.webhook_url,
        lambda: webhook_secret.get(SECRET_SECONDS),
        ThreadPoolExecutor(len(SUBSCRIPTION_TYPES)),
        clock=time.time,
        chance=random.random,
    )
