"""``make doctor STAGE=…``: can this stage be deployed with these credentials? A failure says what to do."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from cdk.settings import DEFAULT_STAGE, Settings, SettingsError, load
from ops.checks import Check, Failure, run

BOOTSTRAP_PARAMETER = "/cdk-bootstrap/hnb659fds/version"
# A new account may have 10 at first: too few for the queues' consumers and the reads.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LEAST_CONCURRENCY = 100
BOOTSTRAP_VERSION = 21  # the first that works with this version of the CDK


def main(arguments: list[str]) -> int:
    """Check a stage, with a settings file if one is named; returns the number of failures, the exit code."""
    stage, *files = arguments or [DEFAULT_STAGE]
    context = json.loads((Path(__file__).parents[1] / "cdk.json").read_text())["context"]
    try:
        settings = load({**context, "stage": stage, "settings-file": next(iter(files), None)})
    except SettingsError as error:
        print(f"✗ settings: {error}")
        return 1
    print(f"✓ settings of stage {stage!r} are valid")
    return run(checks(settings))


def checks(settings: Settings) -> Iterator[Check]:
    """The checks of a stage, in the order in which they depend on each other."""
    session = boto3.Session()
    yield Check("credentials", lambda: credentials(session))
    if settings.deploy_with == "bootstrap-roles":
        yield Check("bootstrap", lambda: bootstrap(session))
    yield Check("Twitch application", lambda: twitch_application(session, settings))
    yield Check("redirect URL", lambda: redirect_url(session, settings))
    yield Check("concurrent functions", lambda: concurrent_functions(session))
    yield Check("API requests", lambda: api_requests(session, settings))


def credentials(session: Any) -> str:
    """Whether there are credentials and a Region, and which."""
    if session.region_name is None:
        raise Failure("no Region is set. Set AWS_REGION, or `region` in your profile.")
    try:
        identity = session.client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        raise Failure(f"{error}. Sign in, e.g. with `aws sso login`, and set AWS_PROFILE.") from error
    return f"{identity['Arn']} in {session.region_name}"


def bootstrap(session: Any) -> str:
    """Whether the account and Region are bootstrapped for the CDK with a version that is new enough."""
    parameters = session.client("ssm", region_name=session.region_name or "us-east-1")
    try:
        version = int(parameters.get_parameter(Name=BOOTSTRAP_PARAMETER)["Parameter"]["Value"])
    except parameters.exceptions.ParameterNotFound:
        raise Failure("this account and Region are not bootstrapped. Run `npx cdk bootstrap`.") from None
    if version < BOOTSTRAP_VERSION:
        raise Failure(f"version {version} is older than {BOOTSTRAP_VERSION}. Run `npx cdk bootstrap` again.")
    return f"version {version}"


def twitch_application(session: Any, settings: Settings) -> str:
    """Whether the secret exists and Twitch gives an app access token for the credentials in it."""
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


def redirect_url(session: Any, settings: Settings) -> str:
    """The URL to register at Twitch, which a person has to compare: Twitch has no API to read it."""
    account = session.client("sts").get_caller_identity()["Account"]
    base = settings.addresses.identity.format(
        prefix=settings.identity_prefix(account), region=session.region_name
    )
    return f"the application at Twitch must list {base}/oauth2/idpresponse"


def concurrent_functions(session: Any) -> str:
    """Whether the account may run as many functions at once as a busy channel needs."""
    limits = session.client("lambda").get_account_settings()["AccountLimit"]
    most = limits["ConcurrentExecutions"]
    if most < LEAST_CONCURRENCY:
        raise Failure(
            f"the account may run {most} functions at once, fewer than {LEAST_CONCURRENCY}. Ask for more: "
            "aws service-quotas request-service-quota-increase --service-code lambda "
            "--quota-code L-B99A9384 --desired-value 1000"
        )
    return f"{most} at once"


def api_requests(session: Any, settings: Settings) -> str:
    """Whether the account's rate limit in the Region is above the throttles of the stage's two APIs.

    HTTP requests, WebSocket messages and @connections calls share it.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
    """
    budget = session.client("apigateway").get_account()["throttleSettings"]["rateLimit"]
    wanted = settings.http_throttle.rate + settings.websocket_throttle.rate
    if budget < wanted:
        raise Failure(
            f"API Gateway admits {budget:.0f} requests a second here; the stage's throttles allow {wanted}. "
            "Lower `http_throttle` and `websocket_throttle` in cdk.json, or ask AWS for more "
            "(service-quotas, apigateway, L-8A5B8E43)."
        )
    return f"{budget:.0f} a second, of which the stage lets clients use {wanted}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
