"""Conduits and their shards, of which only WebSockets are simulated.

https://dev.twitch.tv/docs/api/reference/#create-conduits
"""

import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any

from local.twitch.eventsub import json_object
from local.twitch.responses import RefusedError, Response
from local.twitch.settings import Clock
from local.twitch.state import CONDUIT_DELETED, Conduit, Shard, State

MOST_CONDUITS = 5
MOST_SHARDS = 20_000


class Conduits:
    """The application's conduits."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Response:
        """Answer a request; parameters may be in the query or the body. Raises RefusedError."""
        given: dict[str, Any] = {**query, **(json_object(body) if body else {})}
        match method, path:
            case "GET", "/eventsub/conduits":
                return Response(200, {"data": [*map(_show, self._state.conduits.values())]})
            case "POST", "/eventsub/conduits":
                return self._create(str(given.get("shard_count")))
            case "DELETE", "/eventsub/conduits":
                return self._delete(self._find(given.get("id")))
            case "GET", "/eventsub/conduits/shards":
                shards = self._find(given.get("conduit_id")).shards.values()
                return Response(200, {"data": [*map(dataclasses.asdict, shards)], "pagination": {}})
            case "PATCH", "/eventsub/conduits/shards":
                return self._assign(self._find(given.get("conduit_id")), given.get("shards") or [])
        raise RefusedError(404, f"{method} {path} is not simulated")

    def _create(self, shard_count: str) -> Response:
        if not shard_count.isdigit() or not 1 <= int(shard_count) <= MOST_SHARDS:
            raise RefusedError(400, f"shard_count must be between 1 and {MOST_SHARDS}")
        if len(self._state.conduits) >= MOST_CONDUITS:
            raise RefusedError(429, "conduit limit reached")
        conduit = Conduit(str(uuid.uuid4()), int(shard_count))
        self._state.conduits[conduit.id] = conduit
        return Response(200, {"data": [_show(conduit)]})

    def _delete(self, conduit: Conduit) -> Response:
        del self._state.conduits[conduit.id]
        for subscription in self._state.subscriptions.values():
            if subscription.live and subscription.transport.get("conduit_id") == conduit.id:
                self._state.end(subscription, CONDUIT_DELETED, self._clock())
        return Response(204)

    def _assign(self, conduit: Conduit, wanted: list[dict[str, Any]]) -> Response:
        """Set the sessions of shards. What is wrong with one shard does not concern the others."""
        data, errors = [], []
        for number, transport in ((str(each.get("id")), each.get("transport")) for each in wanted):
            try:
                shard = Shard(number, self._state.session(transport))
            except RefusedError as error:
                errors.append({"id": number, "message": error.message, "code": "invalid_parameter"})
                continue
            if number.isdigit() and int(number) < conduit.shard_count:
                conduit.shards[number] = shard
                data.append(dataclasses.asdict(shard))
            else:
                message = "The shard id is outside the conduit's range"
                errors.append({"id": number, "message": message, "code": "invalid_parameter"})
        return Response(202, {"data": data, "errors": errors})

    def _find(self, conduit_id: Any) -> Conduit:
        conduit = self._state.conduits.get(str(conduit_id))
        if conduit is None:
            raise RefusedError(404, "conduit not found")
        return conduit


def _show(conduit: Conduit) -> dict[str, Any]:
    return {"id": conduit.id, "shard_count": conduit.shard_count}
