"""Where the reconciler's next run goes on: the item "reconciler" of the table ``twitch``."""

import dataclasses

from lambdas.common.aws import Client


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """``cursor`` is that of the next page of Twitch's list, None for its beginning.

    ``position`` is the id of the streamer who was reconciled last, "" for none.
    """

    cursor: str | None = None
    position: str = ""


class ProgressItem:
    """The item in the table called ``table``."""

    def __init__(self, client: Client, table: str) -> None:
        self._client = client
        self._table = table
        self._key = {"name": {"S": "reconciler"}}

    def load(self) -> Progress:
        """Where the last run has stopped."""
        request = {"TableName": self._table, "Key": self._key, "ConsistentRead": True}
        item = self._client.call("GetItem", request).get("Item", {})
        return Progress(**{name: item[name]["S"] for name in ("cursor", "position") if name in item})

    def keep(self, progress: Progress) -> None:
        """Store where this run has stopped."""
        item = {**self._key, "position": {"S": progress.position}}
        if progress.cursor is not None:
            item["cursor"] = {"S": progress.cursor}
        self._client.call("PutItem", {"TableName": self._table, "Item": item})
