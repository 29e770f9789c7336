"""The subscriber that ``watch`` and ``reconciler`` use, built from their environment variables."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

from lambdas.common.aws import Client
from lambdas.common.rotated_secret import RotatedSecretSource
from lambdas.subscriptions.channels import ChannelsTable
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.helix import Credentials, Helix, connection_pool
from lambdas.subscriptions.subscriber import Subscriber
from lambdas.subscriptions.subscription_status import StatusUpdater, count_status
from lambdas.subscriptions.subscription_types import SUBSCRIPTION_TYPES

# A webhook secret that was rotated less than this ago may still be used: the reconciler replaces the
# subscriptions that it signs.
SECRET_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class SubscriberSettings:
    """The environment variables, with what the infrastructure calls them in capitals."""

    channels_table: str
    grants_table: str
    broadcast_queue_url: str
    twitch_secret_arn: str
    webhook_secret_arn: str
    webhook_url: str
    twitch_api_url: str
    twitch_auth_url: str


def make_subscriber(settings: SubscriberSettings, dynamodb: Client) -> Subscriber:
    """A subscriber with these settings; nothing is called yet."""
    secrets = Client("secretsmanager")
    webhook_secret = RotatedSecretSource(secrets, settings.webhook_secret_arn)

    def load_credentials() -> Credentials:
        answer = secrets.call("GetSecretValue", {"SecretId": settings.twitch_secret_arn})
        return Credentials.from_json(answer["SecretString"])

    return Subscriber(
        Helix(connection_pool(), load_credentials, settings.twitch_api_url, settings.twitch_auth_url),
        StatusUpdater(ChannelsTable(dynamodb, settings.channels_table), count_status),
        GrantsTable(dynamodb, settings.grants_table),
        settings.webhook_url,
        lambda: webhook_secret.get(SECRET_SECONDS),
        ThreadPoolExecutor(len(SUBSCRIPTION_TYPES)),
    )
