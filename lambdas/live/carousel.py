"""A part's turn, page after page of its connections: who gets which news, and what everybody has got.

News may join before any page. It rides until the page before which it joined comes round, so that everybody
has been passed once.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from lambdas.live.news import News
from lambdas.live.parts import Part


@dataclasses.dataclass(slots=True)
class _Rider:
    """News that joined in a round, before the page after a place."""

    news: News
    round: int
    place: str


class Carousel:
    """Where a part's turn is, and what rides. Entries of the inbox are known by their ids."""

    def __init__(self, part: Part, place: str = "", joined: Mapping[str, Any] | None = None) -> None:
        """Begin at the place (at the part's beginning without one).

        ``joined`` says of entries that rode before, by ``handed_over``, where they joined.
        """
        self.part = part
        self.place = place or part.begin
        self._round = 0
        self._joined = dict(joined or {})
        self._riders: dict[str, _Rider] = {}

    def join(self, entry_id: str, news: News) -> None:
        """The news rides from here on, or, if it rode before, from where it joined."""
        round_, place = self._joined.pop(entry_id, (self._round, self.place))
        self._riders[entry_id] = _Rider(news, round_, place)

    def rides(self, entry_id: str) -> bool:
        """Whether the entry has joined."""
        return entry_id in self._riders

    def is_empty(self) -> bool:
        """Whether nothing rides."""
        return not self._riders

    def news(self) -> Iterator[News]:
        """What the next page of connections is to be told, the oldest entry first."""
        return (self._riders[entry_id].news for entry_id in sorted(self._riders))

    def page_end(self) -> str:
        """Where the next page ends at the latest: where something joined a round ago, or at the end."""
        places = (rider.place for rider in self._riders.values() if rider.round < self._round)
        return min((place for place in places if place > self.place), default=self.part.end)

    def move(self, place: str) -> list[str]:
        """The connections up to the place have been passed; returns the ids of what has been round."""
        self.place = place
        if place == self.part.end:
            self._round, self.place = self._round + 1, self.part.begin
        here = self._round - 1, self.place
        round_ = [id_ for id_, rider in self._riders.items() if (rider.round, rider.place) <= here]
        for entry_id in round_:
            del self._riders[entry_id]
        return round_

    def handed_over(self) -> dict[str, Any]:
        """Where it is and where everything joined, for whoever goes on."""
        joined = {id_: (rider.round - self._round, rider.place) for id_, rider in self._riders.items()}
        return {"place": self.place, "joined": joined}
