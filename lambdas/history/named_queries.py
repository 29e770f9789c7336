"""The named queries of ``sql/queries``: one statement a file."""

import functools
from collections.abc import Mapping
from typing import Any

from lambdas.history.database import ROOT, Connection


@functools.cache
def query(name: str) -> bytes:
    """The statement in ``sql/queries/<name>.sql``, with psycopg's ``%(name)s`` placeholders."""
    return (ROOT / "sql" / "queries" / f"{name}.sql").read_bytes()


def fetch_one(
    connection: Connection, name: str, parameters: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """The row of a query that always returns one, such as a function's result."""
    row = connection.execute(query(name), parameters).fetchone()
    assert row is not None  # noqa: S101
    return row
