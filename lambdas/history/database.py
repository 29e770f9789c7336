"""The connection to PostgreSQL that a function keeps from one invocation to the next."""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import dict_row

T = TypeVar("T")
Connection = psycopg.Connection[dict[str, Any]]

#: The root of the function's package, and of the repository: both hold ``lambdas/`` and ``sql/``.
ROOT: Final = Path(__file__).parents[2]

#: How long a connection may be idle before the server closes it; the next work opens another.
IDLE_SECONDS: Final = 300

# Connection exceptions, an operator's or a failover's shutdown, and a writer that has become a reader:
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_LOST: Final = ("08", "57P", "25006")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """Where the database is. Without a secret the function signs in with its IAM role."""

    database_host: str
    database_port: int
    database_name: str
    database_user: str
    database_secret_arn: str = ""
    database_ca_file: str = ""
    database_proxy: int = 0
    """1 if it is RDS Proxy: see ``connection_parameters``."""


class DeadlineError(psycopg.OperationalError):
    """The server did not answer in time. The connection cannot be used any more."""


class _Connection(psycopg.Connection[dict[str, Any]]):
    """A connection that waits for the server until its deadline only.

    The server's own time limits do nothing when the server is frozen, or cut off.
    """

    deadline = math.inf
    """In seconds of ``time.monotonic``."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        if timeout is None and self.deadline < math.inf:
            timeout = max(self.deadline - time.monotonic(), 0.001)
        try:
            return super().wait(gen, interval, timeout)
        except psycopg.errors._WaitTimeout as error:
            raise DeadlineError("the server did not answer in time") from error


class Database:
    """One connection, opened when first needed, in autocommit mode, with rows as dicts and times in UTC.

    ``password`` is called at every connect: an IAM token is valid for 15 minutes. With ``deadline_seconds`` a
    piece of work fails after that time, whatever the server does.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        password: Callable[[], str],
        *,
        application_name: str,
        connect_timeout_seconds: int,
        statement_timeout_seconds: int,
        deadline_seconds: float = math.inf,
        read_only: bool = False,
    ) -> None:
        self._parameters = connection_parameters(
            settings,
            application_name=application_name,
            connect_timeout_seconds=connect_timeout_seconds,
            statement_timeout_seconds=statement_timeout_seconds,
            read_only=read_only,
        )
        self._password = password
        self.deadline_seconds = deadline_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._connection: _Connection | None = None

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do ``work``; if the connection turns out to be lost, once more on a fresh one, if there is time.

        The work may therefore happen twice. Raises what the second attempt raises, or DeadlineError.
        """
        deadline = time.monotonic() + self.deadline_seconds
        try:
            return work(self._connected(deadline))
        except (DeadlineError, psycopg.errors.ConnectionTimeout):
            self.close()
            raise
        except psycopg.Error as error:
            if not is_lost(error) or time.monotonic() + self._connect_timeout_seconds > deadline:
                raise
            self.close()
        return work(self._connected(deadline))

    def close(self) -> None:
        """Close the connection; the next work opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self, deadline: float) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = _Connection.connect(
                **self._parameters, password=self._password(), autocommit=True, row_factory=dict_row
            )
        self._connection.deadline = deadline
        return self._connection


def connection_parameters(
    settings: DatabaseSettings,
    *,
    application_name: str,
    connect_timeout_seconds: int,
    statement_timeout_seconds: int,
    read_only: bool,
) -> dict[str, Any]:
    """The parameters of ``psycopg.connect``, the password excepted.

    With a CA file the server's certificate and name are verified. RDS Proxy refuses startup options, and a
    session that prepares or sets something takes a connection out of its pool. There the role's own settings
    hold (``cdk/database_role.sql``), and nothing is prepared.
    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-proxy-pinning.html
    """
    parameters: dict[str, Any] = {
        "host": settings.database_host,
        "port": settings.database_port,
        "dbname": settings.database_name,
        "user": settings.database_user,
        "application_name": application_name,
        "connect_timeout": connect_timeout_seconds,
    }
    if settings.database_proxy:
        parameters["prepare_threshold"] = None
    else:
        options = {
            "statement_timeout": f"{statement_timeout_seconds}s",
            "timezone": "UTC",
            # A function that is ended does not close its connection: that would count against the limit, and
            # keep an idle cluster from pausing.
            "idle_session_timeout": f"{IDLE_SECONDS}s",
        }
        if read_only:
            options["default_transaction_read_only"] = "on"
            # Planned with the span of time that it asks for, a read excludes all other partitions.
            options["plan_cache_mode"] = "force_custom_plan"
        parameters["options"] = " ".join(f"-c {name}={value}" for name, value in options.items())
    if settings.database_ca_file:
        parameters |= {"sslmode": "verify-full", "sslrootcert": str(ROOT / settings.database_ca_file)}
    return parameters


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection failed, so that the work may succeed on another one."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    # A table that was altered: the connection has prepared statements with its former columns. PostgreSQL has
    # no code of its own for that.
    if isinstance(error, psycopg.errors.FeatureNotSupported):
        return "cached plan must not change result type" in str(error)
    return error.sqlstate.startswith(_LOST)
