"""``make doctor STAGE=…``: can this stage be deployed from here? Every failure says what to do."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from cdk.settings import DEFAULT_STAGE, Settings, SettingsError, load

BOOTSTRAP_PARAMETER = "/cdk-bootstrap/hnb659fds/version"
BOOTSTRAP_VERSION = 21  # the first whose roles work with this release of the CDK


class Failure(Exception):  # noqa: N818 -- a finding, not a fault of the program
    """A check failed; the message says what is wrong and what to do."""


def main(arguments: list[str]) -> int:
    """Run every check and print its finding; returns the number of failures, as the exit code."""
    stage = arguments[0] if arguments else DEFAULT_STAGE
    context = json.loads((Path(__file__).parents[1] / "cdk.json").read_text())["context"]
    try:
        settings = load({**context, "stage": stage})
    except SettingsError as error:
        print(f"✗ settings: {error}")
        return 1
    print(f"✓ settings of stage {stage!r} are valid")
    failures = 0
    for name, check in checks(settings):
        try:
            print(f"✓ {name}: {check()}")
        except Failure as failure:
            failures += 1
            print(f"✗ {name}: {failure}")
        except (BotoCoreError, ClientError) as error:
            failures += 1
            print(f"✗ {name}: {error}")
    return failures


def checks(settings: Settings) -> Iterator[tuple[str, Callable[[], str]]]:
    """The checks of a stage, in the order in which they depend on each other."""
    session = boto3.Session()
    yield "credentials", lambda: credentials(session)
    yield "bootstrap", lambda: bootstrap(session)
    yield "Twitch application", lambda: twitch_application(session, settings)


def credentials(session: Any) -> str:
    """Whether there are credentials and a Region, and whose they are."""
    if session.region_name is None:
        raise Failure("no Region is set. Set AWS_REGION, or `region` in your profile.")
    try:
        identity = session.client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        raise Failure(f"{error}. Sign in, e.g. with `aws sso login`, and set AWS_PROFILE.") from error
    return f"{identity['Arn']} in {session.region_name}"


def bootstrap(session: Any) -> str:
    """Whether the account and Region are bootstrapped for the CDK, recently enough."""
    parameters = session.client("ssm", region_name=session.region_name or "us-east-1")
    try:
        version = int(parameters.get_parameter(Name=BOOTSTRAP_PARAMETER)["Parameter"]["Value"])
    except parameters.exceptions.ParameterNotFound:
        raise Failure("this account and Region are not bootstrapped. Run `npx cdk bootstrap`.") from None
    if version < BOOTSTRAP_VERSION:
        raise Failure(f"version {version} is older than {BOOTSTRAP_VERSION}. Run `npx cdk bootstrap` again.")
    return f"version {version}"


def twitch_application(session: Any, settings: Settings) -> str:
    """Whether the Twitch secret is there and its client id and secret really get an app access token."""
    name = settings.twitch_secret_name
    manager = session.client("secretsmanager", region_name=session.region_name or "us-east-1")
    try:
        secret = json.loads(manager.get_secret_value(SecretId=name)["SecretString"])
        client_id, client_secret = secret["client_id"], secret["client_secret"]
    except manager.exceptions.ResourceNotFoundException:
        raise Failure(f"there is no secret {name}. docs/deploying.md says how to make it.") from None
    except (ValueError, KeyError, TypeError):
        raise Failure(f'secret {name} must be a JSON object with "client_id" and "client_secret".') from None
    form = {"client_id": client_id, "client_secret": client_secret, "grant_type": "client_credentials"}
    try:
        with urlopen(f"{settings.twitch.auth_url}/token", urlencode(form).encode(), timeout=10):  # noqa: S310
            pass
    except HTTPError as error:
        raise Failure(f"Twitch refused the credentials in {name} (HTTP {error.code}). Renew them.") from None
    except URLError as error:
        raise Failure(f"Twitch cannot be reached: {error.reason}.") from None
    return f"Twitch gives an app access token for the credentials in {name}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
