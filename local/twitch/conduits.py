"""Conduits and their shards, of which only WebSockets are simulated.

https://dev.twitch.tv/docs/api/reference/#create-conduits
"""

import dataclasses
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from local.twitch.eventsub import json_object
from local.twitch.responses import RefusedError, Response
from local.twitch.settings import Clock
from local.twitch.state import CONDUIT_DELETED, Conduit, Shard, State

MOST_CONDUITS = 5
MOST_SHARDS = 20_000
OUT_OF_RANGE = "The shard id is outside the conduit's range"


class Conduits:
    """The application's conduits."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Response:
        """Answer a request; parameters may be in the query or the body. Raises RefusedError."""
        given: dict[str, Any] = {**query, **(json_object(body) if body else {})}
        match method, path.removeprefix("/eventsub/conduits"):
            case "GET", "":
                return _show(*self._state.conduits.values())
            case "POST", "":
                return self._create(str(given.get("shard_count")))
            case "DELETE", "":
                return self._delete(self._find(given.get("id")))
            case "GET", "/shards":
                shards = self._find(given.get("conduit_id")).shards.values()
                return Response(200, {"data": [*map(dataclasses.asdict, shards)], "pagination": {}})
            case "PATCH", "/shards":
                return self._assign(self._find(given.get("conduit_id")), given.get("shards") or ())
        raise RefusedError(404, f"{method} {path} is not simulated")

    def _find(self, conduit_id: Any) -> Conduit:
        if conduit_id not in self._state.conduits:
            raise RefusedError(404, "conduit not found")
        return self._state.conduits[conduit_id]

    def _create(self, shard_count: str) -> Response:
        if not shard_count.isdigit() or not 1 <= int(shard_count) <= MOST_SHARDS:
            raise RefusedError(400, f"shard_count must be between 1 and {MOST_SHARDS}")
        if len(self._state.conduits) >= MOST_CONDUITS:
            raise RefusedError(429, "conduit limit reached")
        conduit = Conduit(str(uuid.uuid4()), int(shard_count))
        self._state.conduits[conduit.id] = conduit
        return _show(conduit)

    def _delete(self, conduit: Conduit) -> Response:
        del self._state.conduits[conduit.id]
        for each in self._state.subscriptions.values():
            if each.live and each.transport.get("conduit_id") == conduit.id:
                self._state.end(each, CONDUIT_DELETED, self._clock())
        return Response(204)

    def _assign(self, conduit: Conduit, wanted: Iterable[dict[str, Any]]) -> Response:
        """Set the sessions of shards. What is wrong with one shard does not concern the others."""
        data, errors = [], []
        for each in wanted:
            try:
                shard = Shard(str(each.get("id")), self._state.session(each.get("transport")))
                message = "" if shard.id in map(str, range(conduit.shard_count)) else OUT_OF_RANGE
            except RefusedError as error:
                message = error.message
            if message:
                errors.append({"id": str(each.get("id")), "message": message, "code": "invalid_parameter"})
            else:
                conduit.shards[shard.id] = shard
                data.append(dataclasses.asdict(shard))
        return Response(202, {"data": data, "errors": errors})


def _show(*conduits: Conduit) -> Response:
    return Response(200, {"data": [{"id": each.id, "shard_count": each.shard_count} for each in conduits]})
