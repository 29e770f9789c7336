"""Everything that differs between stages, typed and checked before anything is built.

A stage's values are in ``cdk.json`` under ``context.stages.<stage>``; a JSON file given with
``-c settings-file=<path>`` is merged over them (the local cloud passes its ports that way). For the rest the
defaults below apply.
"""

import ipaddress
import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    PositiveInt,
    ValidationError,
    model_validator,
)

DEFAULT_STAGE = "dev"

RECORD_CONCURRENCY: Final = 4
"""Batches recorded at once. More would wait for each other: `make bench` measures with this many."""


TWITCH_SECRET_VERSION: Final = "TwitchCredentialsVersion"  # noqa: S105 -- a parameter
"""The parameter of the app stack with which a deployment passes a renewed Twitch secret on."""

ORIGIN_HEADER_VERSION: Final = "OriginHeaderVersion"
"""The parameter of the app stack with which a deployment passes a renewed origin secret on to CloudFront."""

MOST_PARTITIONS: Final = 1000
"""Partitions of ``events`` that the database's table of locks and its planner bear (docs/history.md)."""

MOST_RECENT_PARTITIONS: Final = 60
"""Partitions that one read of counts by the minute may span, which are those of the last three hours."""

DATABASE_VERSION: Final = "18.4"
"""Aurora PostgreSQL's. Nothing but a deployment changes it: automatic upgrades are off."""


class SettingsError(Exception):
    """A setting is unknown, missing or wrong; the message names each of them."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _http_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or url.endswith("/"):
        raise ValueError("must be an http(s) URL without a slash at its end")
    return url


HttpUrl = Annotated[str, AfterValidator(_http_url)]


def _pattern_with(*names: str) -> AfterValidator:
    def check(pattern: str) -> str:
        used = {name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None}
        if unknown := used - set(names):
            raise ValueError(f"knows {{{'}, {'.join(names)}}}, not {{{'}, {'.join(sorted(unknown))}}}")
        if pattern.endswith("/"):
            raise ValueError("must not end in a slash")
        return pattern

    return AfterValidator(check)


class Aurora(_Settings):
    """Aurora PostgreSQL Serverless v2 in a VPC of its own, reached with IAM authentication."""

    kind: Literal["aurora"] = "aurora"
    min_capacity: float = Field(default=0.5, ge=0, le=256, multiple_of=0.5)
    """Least capacity units. With 0 the cluster pauses, and the first request afterwards waits some 15 s."""
    max_capacity: float = Field(default=4, ge=1, le=256, multiple_of=0.5)
    """Most capacity units, which limits the database's cost."""
    auto_pause_minutes: int = Field(default=30, ge=5, le=1440)
    """Idle minutes after which a cluster whose ``min_capacity`` is 0 pauses."""
    readers: int = Field(default=0, ge=0, le=15)
    """Further instances in other zones; one of them takes over within a minute when the writer fails.

    Each costs as much as the writer. Without one, Aurora starts another writer, which takes minutes. No data
    is lost: Aurora keeps six copies in three zones, and events wait in their queue. Viewers still see events
    live; reads answer 503 with ``Retry-After``.
    """
    backup_days: int = Field(default=7, ge=1, le=35)
    """Days back to which the cluster can be restored."""
    proxy: bool = False
    """Whether recorder and query share connections through RDS Proxy; docs/adr/0007 says when to."""

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.min_capacity > self.max_capacity:
            raise ValueError("min_capacity must not be above max_capacity")
        # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2-auto-pause.html
        if self.proxy and self.min_capacity == 0:
            raise ValueError("behind a proxy the cluster never pauses: min_capacity must be above 0")
        return self

    @property
    def max_connections(self) -> int:
        """The connections that the smallest instance of this range accepts, rounded down.

        189 with one unit and a little more for each further one; the maximum is lower if the capacity may
        fall to half a unit.
        https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.setting-capacity.html
        """
        return min(int(189 * self.max_capacity), 2000 if self.min_capacity <= 0.5 else 5000)


class ExternalDatabase(_Settings):
    """A PostgreSQL that exists already, reached with a password."""

    kind: Literal["external"]
    host: str
    """Host name or address that the functions can reach."""
    port: int = Field(default=5432, ge=1, le=65535)
    """Port that PostgreSQL listens on."""
    name: str = "fanfare"
    """Name of the database."""
    user: str = "fanfare"
    """Role that the functions connect as."""
    secret_name: str
    """Secrets Manager secret that holds ``{"password": …}``; made before the deployment."""
    ca_file: FilePath | None = None
    """PEM file with the authority that signed the server's certificate, which is verified with its name.
    Only a server on this machine needs none."""

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        if self.ca_file is None and not _is_loopback(self.host):
            raise ValueError("ca_file must name a certificate authority: the host is not this machine")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Twitch(_Settings):
    """Where Twitch is and how to speak to it."""

    issuer: HttpUrl = "https://id.twitch.tv/oauth2"
    """OpenID Connect issuer, as Twitch's ID tokens name it."""
    auth_url: HttpUrl = "https://id.twitch.tv/oauth2"
    """Base of ``/authorize``, ``/token``, ``/userinfo`` and ``/keys``."""
    api_url: HttpUrl = "https://api.twitch.tv/helix"
    """Base of the Helix API."""
    player_url: HttpUrl = "https://player.twitch.tv"
    """Base of the embedded player."""
    chat_url: HttpUrl = "https://www.twitch.tv"
    """Base of the embedded chat."""
    image_origins: tuple[HttpUrl, ...] = ("https://static-cdn.jtvnw.net",)
    """Origins that avatars are loaded from."""
    secret_name: str = "fanfare/{stage}/twitch"  # noqa: S105 -- the secret's name
    """Secrets Manager secret with the app's ``{"client_id": …, "client_secret": …}``, made beforehand."""


class ApiOrigin(_Settings):
    """How CloudFront reaches the HTTP API."""

    host: Annotated[str, _pattern_with("api_id", "region")] = "{api_id}.execute-api.{region}.amazonaws.com"
    """Host name; ``{api_id}`` and ``{region}`` are filled in."""
    scheme: Literal["https", "http"] = "https"
    """Protocol between CloudFront and the API."""
    port: int = Field(default=443, ge=1, le=65535)
    """Port on that host."""
    path: Annotated[str, _pattern_with("api_id")] = ""
    """Prefix of every path; ``{api_id}`` is filled in."""


class Addresses(_Settings):
    """Addresses that are known once AWS has made the resource: patterns into which its names are filled."""

    http_api: Annotated[str, _pattern_with("api_id", "region")] = (
        "https://{api_id}.execute-api.{region}.amazonaws.com"
    )
    """Base of the HTTP API, where Twitch delivers."""
    websocket: Annotated[str, _pattern_with("api_id", "region", "stage")] = (
        "wss://{api_id}.execute-api.{region}.amazonaws.com/{stage}"
    )
    """What browsers open."""
    connections: Annotated[str, _pattern_with("api_id", "region", "stage")] = (
        "https://{api_id}.execute-api.{region}.amazonaws.com/{stage}"
    )
    """Endpoint of the ``@connections`` calls."""
    site: Annotated[str, _pattern_with("domain", "label")] = "https://{domain}"
    """Origin of the site; ``{label}`` is the first label of the distribution's ``{domain}``."""
    identity: Annotated[str, _pattern_with("prefix", "region")] = (
        "https://{prefix}.auth.{region}.amazoncognito.com"
    )
    """Base of the user pool's sign-in pages and of its token endpoint."""
    jwt_issuer: Annotated[str, _pattern_with("pool_id", "region")] = (
        "https://cognito-idp.{region}.amazonaws.com/{pool_id}"
    )
    """Issuer of the viewers' tokens."""
    api_origin: ApiOrigin = ApiOrigin()
    """How CloudFront reaches the HTTP API."""


class HostedZone(_Settings):
    """A public hosted zone in Route 53; with both values nothing has to be looked up."""

    id: str = Field(pattern=r"^Z[A-Z0-9]+$")
    """The zone's id, e.g. ``Z0123456789ABCDEFGHIJ``."""
    name: str
    """The zone's domain, e.g. ``example.com``."""


class Domain(_Settings):
    """A domain of one's own for the site, with a certificate of one's own or one made for it."""

    name: str
    """Host name, e.g. ``fanfare.example.com``."""
    hosted_zone: HostedZone | None = None
    """Where the site's DNS records are made; without it the operator makes them."""
    certificate_arn: str | None = Field(
        default=None, pattern=r"^arn:aws[a-z-]*:acm:us-east-1:\d{12}:certificate/.+$"
    )
    """Its certificate in ACM, in us-east-1. Without it one is made, which needs the hosted zone."""

    @model_validator(mode="after")
    def _proven(self) -> Self:
        zone = self.hosted_zone
        if zone and self.name != zone.name and not self.name.endswith(f".{zone.name}"):
            raise ValueError(f"{self.name} is not in the hosted zone {zone.name}")
        if not zone and not self.certificate_arn:
            raise ValueError("needs hosted_zone, certificate_arn or both")
        return self


class Waf(_Settings):
    """A web application firewall before CloudFront: AWS's managed rules and a limit of requests."""

    requests_per_five_minutes: int = Field(default=3000, ge=100, le=2_000_000_000)
    """Requests that one IP address may make in five minutes; households and offices share one."""


class ViewerLimits(_Settings):
    """What one viewer may have at once. Their overlays together may have the same once more."""

    channels: int = Field(default=20, ge=1, le=100)
    """Channels followed. Above, a watch is answered 429. A channel counts while it is connected, and for
    ``grace_period_seconds`` after each watch."""
    connections: int = Field(default=50, ge=1, le=500)
    """Connections. Above, the oldest is closed for a new one, and its page says why."""
    connections_per_channel: int = Field(default=5, ge=1, le=500)
    """Connections to one channel, for instance of tabs and devices; above, as for ``connections``."""


class Throttle(_Settings):
    """Requests that an API's stage admits."""

    rate: PositiveInt
    """Requests per second over time."""
    burst: PositiveInt
    """Requests at one moment."""


class Settings(_Settings):
    """The settings of one stage."""

    stage: str = Field(pattern=r"^[a-z][a-z0-9]{1,11}$")
    """Name of the stage, a part of every name in AWS."""
    account: str | None = Field(default=None, pattern=r"^\d{12}$")
    """Account that the stage belongs to; a deployment to another one is refused."""
    region: str | None = Field(default=None, pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")
    """Region that the stage is deployed to; that of the credentials if not set."""
    retain_data: bool = False
    """Whether tables and database outlive the stack, protected from deletion and restorable."""
    gradual_rollout: bool = False
    """Whether a new version gets a tenth of the requests for five minutes, and none again if it fails."""
    alarm_email: str | None = Field(default=None, pattern=r"^[^@\s]+@[^@\s]+$")
    """Who gets a mail for each alarm, after confirming it. Others can subscribe to the alarms' topic."""
    waf: Waf | None = None
    """A web application firewall before the site: $8 a month, $0.60 a million requests; none if not set."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severity that the functions log."""
    log_retention_days: Literal[1, 7, 14, 30, 90, 365] = 14
    """Days that logs are kept."""
    packages: Literal["lambda", "host"] = "lambda"
    """What function packages are built for: AWS Lambda on arm64, or this machine."""
    deploy_with: Literal["bootstrap-roles", "cli-credentials"] = "bootstrap-roles"
    """Whose permissions a deployment uses: the bootstrap stack's roles, or the caller's."""
    bootstrap_qualifier: str = Field(default="hnb659fds", pattern=r"^[a-z0-9]{1,10}$")
    """Names the bootstrap stack, and the roles in it, that deploy the stage; CDK's default if not set.

    With one of its own a stage can share an account, and the role that deploys it cannot deploy the others.
    """
    database: Aurora | ExternalDatabase = Field(discriminator="kind", default=Aurora())
    """Where events are kept."""
    twitch: Twitch = Twitch()
    """Where Twitch is and how to speak to it."""
    addresses: Addresses = Addresses()
    """Patterns of addresses; AWS's by default."""
    domain: Domain | None = None
    """A domain of one's own for the site; CloudFront's without it."""
    sign_in: Literal["cognito", "twitch"] = "cognito"
    """How viewers sign in at Twitch: through Cognito, or by a function of ours, for less than 1 % of the
    price.

    docs/deploying.md says when to choose which. After a change everybody signs in again.
    """
    notice: str = ""
    """A sentence above every page of the site, except in OBS."""
    api_requests: PositiveInt = 10_000
    """API Gateway requests a second that the account may make in the Region (its quota L-8A5B8E43), for HTTP,
    WebSockets and frames to viewers together. Frames to one audience are at most 95 % of them."""
    http_throttle: Throttle = Throttle(rate=500, burst=1000)
    """Requests to each route of the HTTP API but the webhook's."""
    webhook_throttle: Throttle = Throttle(rate=2000, burst=2000)
    """Deliveries by Twitch. Above, they are answered 429, and Twitch sends them again."""
    websocket_throttle: Throttle = Throttle(rate=500, burst=500)
    """Requests to each route of the WebSocket API; pings may be twice as many."""
    broadcast_concurrency: int = Field(default=100, ge=2, le=1000)
    """Batches of events that are broadcast at once, reserved in the account's concurrency."""
    fan_out_concurrency: int = Field(default=100, ge=2, le=1000)
    """Parts of large audiences that are served at once, reserved in the account's concurrency."""
    viewer_limits: ViewerLimits = ViewerLimits()
    """What one viewer may have at once."""
    grace_period_seconds: int = Field(default=600, ge=0)
    """How long a channel stays subscribed after its last viewer left."""
    partition_seconds: int = Field(default=86400, ge=60)
    """Span of one partition of ``events``."""
    retention_seconds: int = Field(default=90 * 86400, ge=60)
    """How long events stay in the database after their partition has ended; then they are exported to S3.

    Counts stay, except those by the minute, which are of the last three hours and read from the events.
    """
    read_concurrency: int = Field(default=40, ge=1, le=1000)
    """Reads answered at once, reserved in the account's concurrency; each may have a database connection."""

    reserve_concurrency: bool = True
    """Whether reads, broadcasts and the database's upkeep have some of the account's concurrency reserved.

    AWS refuses that in a new account, which may run ten functions at once. Without it the account's limit is
    the only one: reads could use up the database's connections, and functions take it from each other.
    """

    @model_validator(mode="after")
    def _connections(self) -> Self:
        if isinstance(self.database, Aurora) and not self.database.proxy:
            # Twice: a release's new functions connect before the old ones are gone. Twenty are for the server
            # itself, Aurora's agents and an administrator.
            accepted = (self.database.max_connections - 20) // 2
            needed = self.read_concurrency + RECORD_CONCURRENCY + 4
            if needed > accepted:
                raise ValueError(
                    f"read_concurrency: all functions may open {needed} connections, but a database with "
                    f"max_capacity {self.database.max_capacity:g} has room for {accepted}: raise it, or turn "
                    "database.proxy on"
                )
        return self

    @model_validator(mode="after")
    def _partitions(self) -> Self:
        kept = self.retention_seconds // self.partition_seconds
        if kept > MOST_PARTITIONS:
            raise ValueError(
                f"retention_seconds: {kept} partitions would be kept, of at most {MOST_PARTITIONS}: "
                "raise partition_seconds"
            )
        if min(kept, 3 * 3600 // self.partition_seconds) > MOST_RECENT_PARTITIONS:
            raise ValueError(
                "partition_seconds: the counts of the last three hours would span more than "
                f"{MOST_RECENT_PARTITIONS} partitions: raise it to {3 * 3600 // MOST_RECENT_PARTITIONS}"
            )
        return self

    @model_validator(mode="after")
    def _region_for_cloudfront(self) -> Self:
        if self.needs_edge and self.region is None:
            raise ValueError(
                "region must be set with waf, or with a domain whose certificate is made here: "
                "both are in us-east-1, and only a stack that knows its Region can refer to them"
            )
        return self

    @property
    def needs_edge(self) -> bool:
        """Whether something has to be in us-east-1 because CloudFront reads it nowhere else."""
        return self.waf is not None or (self.domain is not None and self.domain.certificate_arn is None)

    @property
    def reserved_concurrency(self) -> int:
        """What the stage reserves of the account's: for reads, broadcasts, archiver and both migrators."""
        reserved = self.read_concurrency + self.broadcast_concurrency + self.fan_out_concurrency + 3
        return reserved if self.reserve_concurrency else 0

    @property
    def upkeep_minutes(self) -> int:
        """How often the archiver runs: four times a partition, and at least four times a day.

        Not more often, since each run wakes a paused database. Schedules take whole minutes.
        """
        return max(1, min(self.partition_seconds // 60 // 4, 6 * 60))

    @property
    def twitch_secret_name(self) -> str:
        """Name of the secret with the Twitch app's credentials."""
        return self.twitch.secret_name.format(stage=self.stage)

    def identity_prefix(self, account: str) -> str:
        """Prefix of the sign-in domain; one is taken once per Region, by whichever account comes first."""
        return f"fanfare-{self.stage}-{account}"


def load(context: Mapping[str, Any]) -> Settings:
    """Read the stage that the CDK context names.

    Raises SettingsError, which names the setting, for anything unknown, missing or wrong.
    """
    stage = context.get("stage", DEFAULT_STAGE)
    stages = context.get("stages", {})
    if stage not in stages:
        raise SettingsError(f"no stage {stage!r} in cdk.json; there are {', '.join(sorted(stages))}")
    values = stages[stage]
    if file := context.get("settings-file"):
        values = _merge(values, _read(Path(file)))
    try:
        return Settings.model_validate({**values, "stage": stage})
    except ValidationError as error:
        raise SettingsError(_explain(stage, error)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"settings-file {path}: {error}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"settings-file {path}: must hold a JSON object")
    return values


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _explain(stage: str, error: ValidationError) -> str:
    lines = [f"wrong settings for stage {stage!r}:"]
    for problem in error.errors(include_url=False):
        name = ".".join(str(part) for part in problem["loc"])
        message = "unknown setting" if problem["type"] == "extra_forbidden" else problem["msg"]
        lines.append(f"  {name}: {message}")
    return "\n".join(lines)
