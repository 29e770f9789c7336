"""The database's password: from a secret, or a token of the function's IAM role."""

import json
from collections.abc import Callable

import boto3

from lambdas.common.settings import SettingsError
from lambdas.history.database import DatabaseSettings


def password_source(settings: DatabaseSettings) -> Callable[[], str]:
    """What to call for the password at every connect.

    Raises SettingsError if an IAM token would be sent to a server that is not verified.
    """
    if settings.database_secret_arn:
        secrets = boto3.client("secretsmanager")

        def from_secret() -> str:
            secret = secrets.get_secret_value(SecretId=settings.database_secret_arn)
            password: str = json.loads(secret["SecretString"])["password"]
            return password

        return from_secret

    if not settings.database_ca_file:
        raise SettingsError("The environment variable DATABASE_CA_FILE is not set: IAM needs verified TLS.")
    rds = boto3.client("rds")

    def from_role() -> str:
        # Signed with the role's credentials, without a request.
        token: str = rds.generate_db_auth_token(
            DBHostname=settings.database_host,
            Port=settings.database_port,
            DBUsername=settings.database_user,
        )
        return token

    return from_role
