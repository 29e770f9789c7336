"""How far a part is served: which updates its next page of connections gets, and which all have got.

The connections of a part are served page by page, from the first place to the last and then from the first
again; one such pass is a round. An update can be added before any page. The pages that follow get it until
the place where it was added is reached again: then every connection has got it once, and it is removed.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from lambdas.live.parts import Part
from lambdas.live.update import Update


@dataclasses.dataclass(slots=True)
class _Waiting:
    """An update that some connections have not got: it was added in this round, at this place."""

    update: Update
    round: int
    place: str


class Rotation:
    """The current place in a part, and the updates that are being sent. Updates are known by entry ids."""

    def __init__(self, part: Part, place: str = "", added: Mapping[str, Any] | None = None) -> None:
        """Begin at the place, or at the part's beginning if it is empty.

        To continue for another invocation, pass what its ``handed_over`` returned: ``added`` says in which
        round and at which place the updates were added.
        """
        self.part = part
        self.place = place or part.begin
        self._round = 0
        self._added = dict(added or {})
        self._waiting: dict[str, _Waiting] = {}

    def add(self, entry_id: str, update: Update) -> None:
        """Send the update from here on; one that was handed over keeps the place where it was added."""
        round_, place = self._added.pop(entry_id, (self._round, self.place))
        self._waiting[entry_id] = _Waiting(update, round_, place)

    def is_empty(self) -> bool:
        """Whether every connection has got every update."""
        return not self._waiting

    def updates(self) -> Iterator[Update]:
        """What the next page of connections gets, the oldest entry first."""
        return (self._waiting[entry_id].update for entry_id in sorted(self._waiting))

    def page_end(self) -> str:
        """Where the next page must end: where an update was added in the last round, or at the part's end."""
        places = (each.place for each in self._waiting.values() if each.round < self._round)
        return min((place for place in places if place > self.place), default=self.part.end)

    def move(self, place: str) -> list[str]:
        """Note that the page up to ``place`` was served; return the ids of the updates that all have got."""
        self.place = place
        if place == self.part.end:
            self._round, self.place = self._round + 1, self.part.begin
        here = self._round - 1, self.place
        done = [id_ for id_, each in self._waiting.items() if (each.round, each.place) <= here]
        for entry_id in done:
            del self._waiting[entry_id]
        return done

    def handed_over(self) -> dict[str, Any]:
        """The arguments with which another invocation continues from here."""
        added = {id_: (each.round - self._round, each.place) for id_, each in self._waiting.items()}
        return {"place": self.place, "added": added}
