"""The secret with the credentials of the application at Twitch."""

import json

from cdk.settings import Settings
from ops.account import Account
from ops.checks import Failure


def twitch_secret(account: Account, settings: Settings) -> dict[str, str]:
    """The client's id and secret, as the fields have them. Raises Failure if they are not there."""
    name, manager = settings.twitch_secret_name, account.client("secretsmanager")
    try:
        secret = json.loads(manager.get_secret_value(SecretId=name)["SecretString"])
        return {field: secret[field] for field in ("client_id", "client_secret")}
    except manager.exceptions.ResourceNotFoundException:
        raise _missing(name) from None
    except (ValueError, KeyError, TypeError):
        raise Failure(f'secret {name} must be a JSON object with "client_id" and "client_secret".') from None


def twitch_secret_version(account: Account, settings: Settings) -> str:
    """The id of the secret's current version. Raises Failure if there is no such secret."""
    name = settings.twitch_secret_name
    try:
        return current_version(account, name)
    except account.client("secretsmanager").exceptions.ResourceNotFoundException:
        raise _missing(name) from None


def current_version(account: Account, secret: str) -> str:
    """The id of a secret's current version, by its name or ARN."""
    versions = account.client("secretsmanager").describe_secret(SecretId=secret)["VersionIdsToStages"]
    return next(str(version) for version, labels in versions.items() if "AWSCURRENT" in labels)


def _missing(name: str) -> Failure:
    return Failure(f"there is no secret {name}. docs/deploying.md says how to make it.")
