"""The named queries of ``sql/queries``: one statement a file."""

import functools

from lambdas.history.database import ROOT


@functools.cache
def query(name: str) -> bytes:
    """The statement in ``sql/queries/<name>.sql``, with psycopg's ``%(name)s`` placeholders."""
    return (ROOT / "sql" / "queries" / f"{name}.sql").read_bytes()
