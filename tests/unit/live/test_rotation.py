"""An update can be added anywhere in a round, and is removed when every connection has got it once."""

from hypothesis import given
from hypothesis import strategies as st

from lambdas.live.parts import Part
from lambdas.live.rotation import Rotation
from lambdas.live.update import Update

PART = Part("1337", 0, 1)
VIEWERS = [f"{number:08x}#viewer" for number in range(12)]


class Audience:
    """Viewers who are served page by page; it notes what each has got."""

    def __init__(self) -> None:
        self.rotation = Rotation(PART)
        self.got: dict[str, list[str]] = {viewer: [] for viewer in VIEWERS}
        self.finished: list[str] = []
        self.unfinished: set[str] = set()

    def add(self, entry_id: str) -> None:
        self.rotation.add(entry_id, Update())
        self.unfinished.add(entry_id)

    def page(self, limit: int) -> None:
        end = self.rotation.page_end()
        ahead = [viewer for viewer in VIEWERS if self.rotation.place < viewer <= end]
        page = ahead[:limit]
        for viewer in page:
            self.got[viewer] += self.unfinished
        done = self.rotation.move(page[-1] if len(page) < len(ahead) else end)
        self.finished += done
        self.unfinished.difference_update(done)

    def hand_over(self) -> None:
        self.rotation = Rotation(PART, **self.rotation.handed_over())
        for entry_id in self.unfinished:
            self.rotation.add(entry_id, Update())


steps = st.lists(st.sampled_from(["add", "hand over", 1, 2, 3, 5]), max_size=40)


@given(steps=steps)
def test_every_viewer_gets_every_update_once_wherever_it_was_added(steps: list[str | int]) -> None:
    audience, entries = Audience(), []
    for number, step in enumerate(steps):
        if step == "add":
            entries.append(f"{number:03}")
            audience.add(entries[-1])
        elif step == "hand over":
            audience.hand_over()
        elif isinstance(step, int) and not audience.rotation.is_empty():
            audience.page(step)
    pages = 0
    while not audience.rotation.is_empty():
        audience.page(3)
        pages += 1
        assert pages < 50, "it ends"
    assert sorted(audience.finished) == entries
    for got in audience.got.values():
        assert sorted(got) == entries


def test_an_update_added_midway_is_sent_from_there_for_one_round() -> None:
    audience = Audience()
    audience.add("1")
    audience.page(6)
    audience.add("2")
    audience.page(6)
    assert audience.finished == ["1"]
    audience.page(100)
    assert audience.finished == ["1", "2"]
    assert audience.got[VIEWERS[0]] == ["1", "2"]


def test_updates_are_in_the_order_of_the_entries() -> None:
    rotation = Rotation(PART)
    rotation.add("2", Update(missed=True))
    rotation.add("1", Update(topics={}))
    assert list(rotation.updates()) == [Update(topics={}), Update(missed=True)]


def test_a_part_without_connections_is_finished_at_once() -> None:
    rotation = Rotation(Part("1337", 1, 2))
    rotation.add("1", Update())
    assert rotation.move(rotation.page_end()) == ["1"]
