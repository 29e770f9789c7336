"""``make doctor STAGE=…``: can this stage be deployed with these credentials? A failure says what to do."""

import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from botocore.exceptions import BotoCoreError, ClientError

from cdk.github import OIDC_PROVIDER
from cdk.settings import DATABASE_VERSION, DEFAULT_STAGE, Aurora, Domain, HostedZone, Settings, SettingsError
from ops.account import Account
from ops.checks import Check, Failure, run_at_once
from ops.github import API, find_subjects
from ops.stage_settings import EDGE_REGION, regions, session, settings_of
from ops.twitch_secret import twitch_secret

# The templates need 6. From this one on the roles write to buckets of the same account only.
# https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-env.html#bootstrap-template-history
BOOTSTRAP_VERSION = 21
# So many of an account's concurrent functions cannot be reserved.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
UNRESERVED_CONCURRENCY = 100
# With fewer at once, viewers wait for each other; a new account may have 10 at first.
LEAST_CONCURRENCY = 100
MORE_CONCURRENCY = (
    "aws service-quotas request-service-quota-increase --service-code lambda "
    "--quota-code L-B99A9384 --desired-value 1000"
)
# The functions that have some of the account's reserved.
RESERVING = ("query", "broadcaster", "archiver", "migrator", "postmigrator")
LEAST_SIGN_INS = 25
WITHIN_SECONDS = 18.0


class Quota(NamedTuple):
    """A quota of the account in the stage's Region, as Service Quotas names it."""

    service: str
    code: str
    what: str


SIGN_INS = Quota("cognito-idp", "L-BB3E7CCF", "sign-ins")
WEBSOCKET_CONNECTS = Quota("apigateway", "L-9ED1E49A", "new WebSocket connections")
PUBLISHES = Quota("sns", "L-F8E2BA85", "messages published to SNS")


def main(arguments: list[str]) -> int:
    """Check a stage, with a settings file if one is named; returns the number of failures, the exit code."""
    stage, *files = arguments or [DEFAULT_STAGE]
    try:
        settings = settings_of(stage, next(iter(files), None))
    except SettingsError as error:
        print(f"✗ settings: {error}")
        return 1
    print(f"✓ settings of stage {stage!r} are valid")
    try:
        account = Account(session(settings.region))
    except (Failure, BotoCoreError) as error:
        print(f"✗ credentials: {error}")
        return 1
    return run_at_once(Doctor(account, settings).checks(), within=WITHIN_SECONDS)


class Doctor:
    """The checks of one stage, none of which needs another."""

    def __init__(self, account: Account, settings: Settings, *, github: str = API) -> None:
        """``github`` is the address of GitHub's API."""
        self._account, self._settings, self._github = account, settings, github

    def checks(self) -> Iterator[Check]:
        """Those that apply to the stage."""
        yield Check("credentials", self.credentials)
        yield Check("Twitch application", self.twitch_application)
        with_cognito = self._settings.sign_in == "cognito"
        if with_cognito:
            yield Check("Twitch at Cognito", self.providers)
        yield Check("redirect URL", self.redirect_url)
        yield Check("concurrent functions", self.concurrent_functions)
        yield Check("API requests", self.api_requests)
        # The emulator has neither.
        if self._settings.deploy_with == "bootstrap-roles":
            yield Check("bootstrap", self.bootstrap)
            if with_cognito:
                yield Check("sign-ins", self.sign_ins)
            yield Check("WebSocket connections", self.websocket_connections)
            yield Check("published events", self.publishes)
            yield Check("GitHub", self.github)
        if isinstance(self._settings.database, Aurora):
            yield Check("database version", self.database_version)
        if domain := self._settings.domain:
            yield Check("domain", lambda: self.domain(domain))

    # -- the account -----------------------------------------------------------------------------------------

    def credentials(self) -> str:
        """Whose credentials these are, and whether they are for the stage's account."""
        try:
            identity = self._account.identity()
        except (BotoCoreError, ClientError) as error:
            raise Failure(f"{error}. Sign in, e.g. with `aws sso login`, and set AWS_PROFILE.") from error
        wanted = self._settings.account
        if wanted and identity["Account"] != wanted:
            raise Failure(
                f"they are for account {identity['Account']}, but the stage belongs to {wanted}. "
                "Set AWS_PROFILE, or `account` in cdk.json."
            )
        return f"{identity['Arn']} in {self._account.region}"

    def bootstrap(self) -> str:
        """Whether each of the stage's Regions is bootstrapped with the stage's qualifier, and new enough."""
        name = f"/cdk-bootstrap/{self._settings.bootstrap_qualifier}/version"
        again = f"Run `make bootstrap STAGE={self._settings.stage}`."
        versions = []
        for region in regions(self._settings, self._account.region):
            parameters = self._account.client("ssm", region)
            try:
                version = int(parameters.get_parameter(Name=name)["Parameter"]["Value"])
            except parameters.exceptions.ParameterNotFound:
                raise Failure(f"{region} is not bootstrapped for this stage: no {name}. {again}") from None
            if version < BOOTSTRAP_VERSION:
                raise Failure(f"version {version} in {region} is older than {BOOTSTRAP_VERSION}. {again}")
            versions.append(f"version {version} in {region}")
        return f"{', '.join(versions)}, qualifier {self._settings.bootstrap_qualifier}"

    # -- Twitch ----------------------------------------------------------------------------------------------

    def twitch_application(self) -> str:
        """Whether the secret exists and Twitch gives an app access token for the credentials in it."""
        name = self._settings.twitch_secret_name
        form = {**twitch_secret(self._account, self._settings), "grant_type": "client_credentials"}
        url = f"{self._settings.twitch.auth_url}/token"
        try:
            with urlopen(url, urlencode(form).encode(), timeout=10):  # noqa: S310 -- a setting
                pass
        except HTTPError as error:
            raise Failure(
                f"Twitch refused the credentials in {name} (HTTP {error.code}). Renew them."
            ) from None
        except URLError as error:
            raise Failure(f"Twitch cannot be reached: {error.reason}.") from None
        return f"Twitch gives an app access token for the credentials in {name}"

    def providers(self) -> str:
        """Whether Cognito signs viewers in with the credentials that are in the secret now."""
        outputs = self._account.outputs(self._stack("App"))
        if outputs is None or "UserPoolId" not in outputs:
            return "not deployed yet"
        secret = twitch_secret(self._account, self._settings)
        cognito, pool = self._account.client("cognito-idp"), outputs["UserPoolId"]
        names = [
            found["ProviderName"] for found in cognito.list_identity_providers(UserPoolId=pool)["Providers"]
        ]
        for name in names:
            details = cognito.describe_identity_provider(UserPoolId=pool, ProviderName=name)
            given = details["IdentityProvider"]["ProviderDetails"]
            if any(given.get(field) != value for field, value in secret.items()):
                raise Failure(
                    f"the identity provider {name} has other credentials than the secret "
                    f"{self._settings.twitch_secret_name}, so nobody can sign in if Twitch has revoked "
                    f"those. Run `make deploy STAGE={self._settings.stage}`."
                )
        return f"{' and '.join(names)} have the secret's credentials"

    def redirect_url(self) -> str:
        """The URL to register at Twitch, which a person has to compare: Twitch has no API to read it."""
        if self._settings.sign_in == "twitch":
            site = (self._account.outputs(self._stack("App")) or {}).get("SiteUrl", "<SiteUrl>")
            return f"the application at Twitch must list {site}/callback"
        base = self._settings.addresses.identity.format(
            prefix=self._settings.identity_prefix(self._account.identity()["Account"]),
            region=self._account.region,
        )
        return f"the application at Twitch must list {base}/oauth2/idpresponse"

    # -- limits ----------------------------------------------------------------------------------------------

    def concurrent_functions(self) -> str:
        """Whether what the stage reserves fits into the account's, and leaves what has to be left."""
        limits = self._account.client("lambda").get_account_settings()["AccountLimit"]
        most, unreserved = limits["ConcurrentExecutions"], limits["UnreservedConcurrentExecutions"]
        ask = f"Ask for more: {MORE_CONCURRENCY}"
        if not self._settings.reserve_concurrency:
            return f"{most} at once, of which the stage reserves none (reserve_concurrency)" + (
                "" if most >= LEAST_CONCURRENCY else f": enough to try it, not for viewers. {ask}"
            )
        missing = self._settings.reserved_concurrency - self._already_reserved()
        if unreserved - missing < UNRESERVED_CONCURRENCY:
            raise Failure(
                f"the account may run {most} functions at once, of which {unreserved} are not reserved. The "
                f"stage reserves {missing} more, and {UNRESERVED_CONCURRENCY} must stay unreserved, or the "
                f"deployment fails. {ask}. Until then set the stage's `reserve_concurrency` to false."
            )
        return f"{most} at once; with the stage's {missing} more, {unreserved - missing} stay unreserved"

    def _already_reserved(self) -> int:
        functions = self._account.client("lambda")
        found = 0
        for job in RESERVING:
            name = f"fanfare-{self._settings.stage}-{job}"
            try:
                answer = functions.get_function_concurrency(FunctionName=name)
            except functions.exceptions.ResourceNotFoundException:
                continue
            found += answer.get("ReservedConcurrentExecutions", 0)
        return found

    def api_requests(self) -> str:
        """Whether the account's rate limit in the Region is what the stage's settings say.

        HTTP requests, WebSocket messages and @connections calls share it.
        https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
        """
        budget = self._account.client("apigateway").get_account()["throttleSettings"]["rateLimit"]
        wanted = self._settings.api_requests
        if budget < wanted:
            raise Failure(
                f"API Gateway admits {budget:.0f} requests a second here; `api_requests` in cdk.json says "
                f"{wanted}: frames to viewers would use up what deliveries need. Set it to {budget:.0f}, or "
                "ask AWS for more (service-quotas, apigateway, L-8A5B8E43)."
            )
        return f"{budget:.0f} a second; the stage counts on {wanted}"

    def sign_ins(self) -> str:
        """How many viewers may sign in a second: of all limits it is reached first (docs/scaling.md)."""
        return self._enough(SIGN_INS, LEAST_SIGN_INS, "docs/scaling.md says how many viewers that is")

    def websocket_connections(self) -> str:
        """Whether as many connections may be opened as the stage's throttle admits."""
        return self._enough(
            WEBSOCKET_CONNECTS, self._settings.websocket_throttle.rate, "lower `websocket_throttle`"
        )

    def publishes(self) -> str:
        """Whether as many deliveries may be published as their throttle admits."""
        return self._enough(PUBLISHES, self._settings.webhook_throttle.rate, "lower `webhook_throttle`")

    def _enough(self, quota: Quota, least: int, otherwise: str) -> str:
        client = self._account.client("service-quotas")
        names = {"ServiceCode": quota.service, "QuotaCode": quota.code}
        try:
            value = client.get_service_quota(**names)["Quota"]["Value"]
        except client.exceptions.NoSuchResourceException:
            # It was never changed for this account.
            value = client.get_aws_default_service_quota(**names)["Quota"]["Value"]
        if value < least:
            raise Failure(
                f"AWS admits {value:.0f} {quota.what} a second here, fewer than {least}: ask for more, "
                f"aws service-quotas request-service-quota-increase --service-code {quota.service} "
                f"--quota-code {quota.code} --desired-value {least}; or {otherwise}."
            )
        return f"{value:.0f} a second ({quota.service}, {quota.code})"

    # -- what is deployed, and what would be -----------------------------------------------------------------

    def database_version(self) -> str:
        """Whether the Region offers the version of the database, and the deployed one is not newer."""
        databases = self._account.client("rds")
        offered = databases.describe_db_engine_versions(
            Engine="aurora-postgresql", EngineVersion=DATABASE_VERSION
        )["DBEngineVersions"]
        if not offered:
            raise Failure(
                f"{self._account.region} does not offer Aurora PostgreSQL {DATABASE_VERSION}. Set "
                "DATABASE_VERSION in cdk/settings.py to one of `aws rds describe-db-engine-versions "
                '--engine aurora-postgresql --query "DBEngineVersions[].EngineVersion"`.'
            )
        name = self._account.resource(self._stack("Data"), "AWS::RDS::DBCluster")
        if name is None:
            return f"{DATABASE_VERSION} is offered here"
        (cluster,) = databases.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"]
        running = cluster["EngineVersion"]
        if _numbers(running) > _numbers(DATABASE_VERSION):
            raise Failure(
                f"the database runs {running}, newer than {DATABASE_VERSION}: the next change of it would be "
                "refused as a downgrade. Set DATABASE_VERSION in cdk/settings.py to what runs."
            )
        return f"{running} runs, and {DATABASE_VERSION} is deployed"

    def domain(self, domain: Domain) -> str:
        """Whether the domain's zone and certificate are there, and fit it."""
        found = []
        if domain.hosted_zone:
            found.append(self._hosted_zone(domain.hosted_zone))
        if domain.certificate_arn:
            found.append(self._certificate(domain.name, domain.certificate_arn))
        return f"{domain.name}: {', '.join(found)}"

    def _hosted_zone(self, zone: HostedZone) -> str:
        client = self._account.client("route53")
        try:
            there = client.get_hosted_zone(Id=zone.id)["HostedZone"]
        except client.exceptions.NoSuchHostedZone:
            raise Failure(f"there is no hosted zone {zone.id} in this account: `hosted_zone.id`.") from None
        if there["Name"].rstrip(".") != zone.name.rstrip("."):
            raise Failure(f"the hosted zone {zone.id} is of {there['Name']}, not of {zone.name}.")
        if there.get("Config", {}).get("PrivateZone"):
            raise Failure(f"the hosted zone {zone.id} is private: nobody could prove or find the domain.")
        return f"its zone {zone.name} is here"

    def _certificate(self, domain: str, arn: str) -> str:
        client = self._account.client("acm", EDGE_REGION)
        try:
            certificate = client.describe_certificate(CertificateArn=arn)["Certificate"]
        except client.exceptions.ResourceNotFoundException:
            raise Failure(f"there is no certificate {arn}: `certificate_arn`.") from None
        if certificate["Status"] != "ISSUED":
            raise Failure(
                f"the certificate is {certificate['Status']}, not issued yet. ACM's console shows the DNS "
                "records with which you prove that the domain is yours."
            )
        names = {certificate["DomainName"], *certificate.get("SubjectAlternativeNames", ())}
        if not {domain, f"*.{domain.partition('.')[2]}"} & names:
            raise Failure(f"the certificate is for {', '.join(sorted(names))}, not for {domain}.")
        return "its certificate is issued"

    def github(self) -> str:
        """Whether the role that deploys the stage trusts tokens as GitHub makes them for the repository."""
        outputs = self._account.outputs("Fanfare-Pipeline")
        role = (outputs or {}).get(f"{self._settings.stage.capitalize()}RoleArn")
        if role is None:
            return "no workflow may deploy it; `make pipeline` makes the roles"
        found = self._account.client("iam").get_role(RoleName=role.rpartition("/")[2])["Role"]
        trusted = _trusted_subjects(found["AssumeRolePolicyDocument"])
        plain = next((subject for subject in trusted if "@" not in subject), None)
        name = plain.split(":")[1] if plain else "owner/name"
        again = f"Run `make pipeline REPOSITORY={name}` again."
        if not any("@" in subject for subject in trusted):
            raise Failure(
                f"the role trusts {', '.join(trusted)} only. Repositories made, renamed or transferred since "
                f"2026-07-15 have a `sub` with the ids of owner and repository. {again}"
            )
        if plain and os.environ.get("GITHUB_TOKEN"):
            right = find_subjects(name, f"environment:{self._settings.stage}", self._github)
            if not {*right} <= {*trusted}:
                raise Failure(f"GitHub's tokens have {' or '.join(right)}, the role trusts others. {again}")
            return f"the role trusts {' and '.join(right)}, as GitHub says"
        return (
            f"the role trusts {' and '.join(trusted)}: the first if the repository was made, renamed or "
            "transferred since 2026-07-15, else the second (set GITHUB_TOKEN to have GitHub asked)"
        )

    def _stack(self, name: str) -> str:
        return f"Fanfare-{self._settings.stage}-{name}"


def _trusted_subjects(policy: dict[str, Any]) -> list[str]:
    (statement,) = policy["Statement"]
    subjects = statement["Condition"]["StringEquals"][f"{OIDC_PROVIDER}:sub"]
    return [subjects] if isinstance(subjects, str) else list(subjects)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
