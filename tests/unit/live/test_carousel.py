"""News joins a part's turn anywhere, and leaves it when everybody has been passed once."""

from hypothesis import given
from hypothesis import strategies as st

from lambdas.live.carousel import Carousel
from lambdas.live.news import News
from lambdas.live.parts import Part

PART = Part("1337", 0, 1)
VIEWERS = [f"{number:08x}#viewer" for number in range(12)]


class Turn:
    """A carousel that passes viewers, page by page, and notes what each was told."""

    def __init__(self) -> None:
        self.carousel = Carousel(PART)
        self.told: dict[str, list[str]] = {viewer: [] for viewer in VIEWERS}
        self.round: list[str] = []
        self.riding: set[str] = set()

    def join(self, entry_id: str) -> None:
        self.carousel.join(entry_id, News())
        self.riding.add(entry_id)

    def page(self, limit: int) -> None:
        end = self.carousel.page_end()
        ahead = [viewer for viewer in VIEWERS if self.carousel.place < viewer <= end]
        page = ahead[:limit]
        for viewer in page:
            self.told[viewer] += self.riding
        done = self.carousel.move(page[-1] if len(page) < len(ahead) else end)
        self.round += done
        self.riding.difference_update(done)

    def hand_over(self) -> None:
        self.carousel = Carousel(PART, **self.carousel.handed_over())
        for entry_id in self.riding:
            self.carousel.join(entry_id, News())


steps = st.lists(st.sampled_from(["join", "hand over", 1, 2, 3, 5]), max_size=40)


@given(steps=steps)
def test_everybody_is_told_everything_once_wherever_it_joined(steps: list[str | int]) -> None:
    turn, entries = Turn(), []
    for number, step in enumerate(steps):
        if step == "join":
            entries.append(f"{number:03}")
            turn.join(entries[-1])
        elif step == "hand over":
            turn.hand_over()
        elif isinstance(step, int) and not turn.carousel.is_empty():
            turn.page(step)
    pages = 0
    while not turn.carousel.is_empty():
        turn.page(3)
        pages += 1
        assert pages < 50, "it ends"
    assert sorted(turn.round) == entries
    for told in turn.told.values():
        assert sorted(told) == entries


def test_what_joins_midway_waits_for_nothing_and_rides_one_round() -> None:
    turn = Turn()
    turn.join("1")
    turn.page(6)
    turn.join("2")
    turn.page(6)
    assert turn.round == ["1"]
    turn.page(100)
    assert turn.round == ["1", "2"]
    assert turn.told[VIEWERS[0]] == ["1", "2"]


def test_news_is_told_in_the_order_of_the_entries() -> None:
    carousel = Carousel(PART)
    carousel.join("2", News(missed=True))
    carousel.join("1", News(topics={}))
    assert list(carousel.news()) == [News(topics={}), News(missed=True)]


def test_a_part_without_connections_is_passed_at_once() -> None:
    carousel = Carousel(Part("1337", 1, 2))
    carousel.join("1", News())
    assert carousel.move(carousel.page_end()) == ["1"]
