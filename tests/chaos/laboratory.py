"""The local cloud with its traffic and its watchers, and the questions that each row of the table asks."""

import dataclasses
import signal
import time
from collections.abc import Callable
from uuid import uuid4

import psycopg
from urllib3.exceptions import HTTPError

from tests.chaos.ledger import Books, Channel, Traffic
from tests.chaos.watchers import Watcher
from tests.e2e.clients import Cloud, Viewer, eventually, request
from tests.e2e.local_cloud import LocalCloud

CHANNELS, WATCHERS = 3, 6
EVENTS_PER_SECOND = 8
#: How long a row waits for what is missing, whatever its limits are.
MOST_SECONDS = 240


@dataclasses.dataclass
class Row:
    """A row of the table."""

    name: str
    tries: int = 0
    accepted: int = 0
    recorded: int = 0
    counted: int = 0
    delivered: int = 0
    """Of the accepted events, how many every watcher has."""
    lost: int = 0
    doubled: int = 0
    recorded_after: float | None = None
    """Seconds from the end of the fault until everything accepted was recorded and counted; None: never."""
    delivered_after: float | None = None
    seconds: float = 0
    problems: list[str] = dataclasses.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was lost or doubled, and all was in time."""
        return not (self.lost or self.doubled or self.problems)

    def judge(self, check: "Check", without_fault: "Row") -> None:
        """Add a problem if something took longer than is promised, on this machine."""
        for what, after, usual, within in (
            ("recorded", self.recorded_after, without_fault.recorded_after, check.recorded_within),
            ("delivered", self.delivered_after, without_fault.delivered_after, check.delivered_within),
        ):
            if after is not None and usual is not None and after > usual + within:
                self.problems.append(f"{what} {after:.0f} s after it, not {within:.0f} s")


@dataclasses.dataclass(frozen=True)
class Check:
    """What is done for a row, and how soon after it everything is right again.

    ``make`` returns when the fault or the attack has ended; the clock of the recovery starts then.
    ``recorded_within`` and ``delivered_within`` are seconds beyond what the same takes without a fault.
    """

    name: str
    make: Callable[["Laboratory"], None]
    recorded_within: float = 30
    delivered_within: float = 10
    short: bool = False
    """Whether it is made in the short form, too."""


class Laboratory:
    """A running local cloud under test."""

    def __init__(self, local: LocalCloud, cloud: Cloud, seconds: int) -> None:
        """``seconds`` is how long a fault lasts."""
        self.local, self.seconds = local, seconds
        self.problems: list[str] = []
        """What a row's fault or attack found wrong."""
        self.tries = 0
        """How many requests a row's attack made, beside the traffic."""
        self._new_channels = 0
        self._begin(cloud, {})

    def _begin(self, cloud: Cloud, accepted: dict[str, Channel]) -> None:
        self.cloud = cloud
        self.viewer = Viewer.sign_in(cloud, "vera_viewer")
        logins = [f"chaos_{number}" for number in range(CHANNELS)]
        channels = []
        for login in logins:
            answer = self.viewer.watch(login)
            assert answer.status == 200, answer.data
            channels.append(Channel(answer.json()["channel"]["id"], login))
            cloud.until_subscribed(login)
        function = cloud.aws("lambda").get_function_configuration(FunctionName="fanfare-local-webhook")
        secret = cloud.aws("secretsmanager").get_secret_value(
            SecretId=function["Environment"]["Variables"]["WEBHOOK_SECRET_ARN"]
        )
        self.traffic = Traffic(cloud, channels, secret["SecretString"], per_second=EVENTS_PER_SECOND)
        self.traffic.accepted.update(accepted)
        self._newcomers = [Viewer.sign_in(cloud, f"newcomer_{number}") for number in range(3)]
        viewers = [Viewer.sign_in(cloud, f"watcher_{number}") for number in range(WATCHERS)]
        self.watchers = [
            (channels[number % CHANNELS], Watcher(cloud, viewer, channels[number % CHANNELS]))
            for number, viewer in enumerate(viewers)
        ]
        eventually("all watchers are connected", lambda: all(each.connections for _, each in self.watchers))

    def wait(self, seconds: float | None = None) -> None:
        """Let the fault last, while traffic goes on."""
        time.sleep(self.seconds if seconds is None else seconds)

    def rest(self) -> None:
        """Stop sending, and wait until everything is recorded."""
        self.traffic.pause(MOST_SECONDS)
        eventually("everything is recorded", lambda: not self._missing()[0], MOST_SECONDS)

    def restart(self) -> None:
        """Kill everything and start it again with the same state folder."""
        accepted = self.traffic.accepted
        self.close()
        self.local.stop(signal.SIGKILL)
        self._begin(self.local.start(), accepted)
        self.traffic.begin()
        self.wait(2)

    def close(self) -> None:
        """End traffic and watchers."""
        self.traffic.end()
        for _, watcher in self.watchers:
            watcher.end()

    def watch_a_new_channel(self) -> None:
        """Watch a channel that nobody has watched: the answer is 200, 429 or 503 with Retry-After."""
        self._new_channels += 1
        newcomer = self._newcomers[self._new_channels % len(self._newcomers)]
        answer = newcomer.watch(f"new_{uuid4().hex[:12]}")
        if answer.status not in (200, 429, 503) or (
            answer.status != 200 and "Retry-After" not in answer.headers
        ):
            self.problems.append(f"watch was answered {answer.status}: {answer.data[:200]!r}")

    def delete_faults(self) -> None:
        """Let the simulated Twitch work again."""
        assert request("DELETE", f"{self.cloud.twitch}/simulator/faults").status == 200

    def run(self, check: Check) -> Row:
        """Make a fault or an attack while events are sent; wait until all accepted ones are everywhere."""
        row = Row(check.name)
        began, self.tries = time.monotonic(), -self.traffic.tries
        self.traffic.begin()
        check.make(self)
        self._measure(row)
        row.tries = self.tries + self.traffic.tries
        row.seconds = time.monotonic() - began
        return row

    def _measure(self, row: Row) -> None:
        ended = time.monotonic()
        self.wait(2)  # some events after the fault
        unfinished = self.traffic.pause(MOST_SECONDS)
        deadline = ended + MOST_SECONDS
        while time.monotonic() < deadline and None in (row.recorded_after, row.delivered_after):
            unrecorded, unseen = self._missing()
            now = time.monotonic() - ended
            if row.recorded_after is None and not unrecorded:
                row.recorded_after = now
            if row.delivered_after is None and not unseen:
                row.delivered_after = now
            time.sleep(0.2)
        self._fill_in(row)
        for what, after in (("recorded", row.recorded_after), ("delivered", row.delivered_after)):
            if after is None:
                row.problems.append(f"not everything was {what} within {MOST_SECONDS} s")
        if unfinished:
            row.problems.append(f"{unfinished} deliveries were never accepted")
        if self.traffic.refused:
            row.problems.append(f"valid deliveries were refused: {dict(self.traffic.refused)}")
            self.traffic.refused.clear()
        row.problems += self.problems
        self.problems.clear()

    def recorded_of(self, channel: Channel) -> int:
        """How many events of a channel the store has."""
        with psycopg.connect(self.cloud.database) as database:
            row = database.execute(
                "select count(*) from events where streamer_id = %s", [channel.id]
            ).fetchone()
        assert row is not None
        return int(row[0])

    def _books(self) -> Books | None:
        """What is recorded and counted; None if it cannot be read now."""
        try:
            return Books.read(self.cloud, self.traffic.channels)
        except (psycopg.Error, HTTPError):
            return None

    def _missing(self) -> tuple[int, int]:
        """How many accepted events are not recorded and counted, and how many not everybody has seen."""
        books = self._books()
        if books is None:
            return len(self.traffic.accepted), self._unseen()
        unrecorded = len(self.traffic.accepted.keys() - books.recorded.keys())
        return unrecorded or int(books.counted != len(books.recorded)), self._unseen()

    def _unseen(self) -> int:
        return sum(
            1
            for id_, channel in list(self.traffic.accepted.items())
            if any(id_ not in watcher.seen for watched, watcher in self.watchers if watched == channel)
        )

    def _fill_in(self, row: Row) -> None:
        books = self._books() or Books.empty()
        accepted = len(self.traffic.accepted)
        row.accepted = accepted
        row.recorded, row.counted = len(books.recorded), books.counted
        row.delivered = accepted - self._unseen()
        row.lost = len(self.traffic.accepted.keys() - books.recorded.keys())
        row.doubled = (
            books.recorded.total() - len(books.recorded) + max(books.counted - len(books.recorded), 0)
        )
